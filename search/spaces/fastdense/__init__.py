"""FastDenseNAS: decoders over an encoder's taps. arXiv:1810.10804 (``fastdense``), arXiv:1904.02365 (templates)."""
