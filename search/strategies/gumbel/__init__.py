"""Gumbel-softmax over a supernet (SqueezeNAS, arXiv:1908.01748)."""
