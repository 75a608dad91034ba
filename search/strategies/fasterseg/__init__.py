"""FasterSeg's search (arXiv:1912.10917): a grid of cells whose operations, paths and widths have logits."""
