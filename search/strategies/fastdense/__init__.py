"""FastDenseNAS (arXiv:1810.10804): networks drawn by a controller that learns from their rewards."""
