"""How architectures are searched for; recipes load without PyTorch."""
