"""Search spaces: what may be chosen, and which network a choice is. No PyTorch."""
