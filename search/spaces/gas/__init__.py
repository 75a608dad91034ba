"""Spaces after GAS (arXiv:1909.06793): a chain of independent cells, each a small graph of operations.

There is no code of the authors: what their paper leaves open was chosen here.
"""
