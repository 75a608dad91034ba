"""Layers, graphs of them, and the kernels that they become."""
