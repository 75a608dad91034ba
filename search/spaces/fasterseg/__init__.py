"""FasterSeg (arXiv:1912.10917): branches of several resolutions through a grid, with searched widths."""
