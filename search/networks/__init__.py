"""Graphs as PyTorch modules, and their weights."""
