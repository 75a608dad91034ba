"""The supernet's positions as one convolution a kernel size: the same numbers, in less time."""
