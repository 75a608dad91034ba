"""The supernet of a chain of cells: every edge the weighted sum of its operations."""
