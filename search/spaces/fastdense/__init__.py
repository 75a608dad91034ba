"""FastDenseNAS: decoders over an encoder's taps (arXiv:1810.10804; of templates, arXiv:1904.02365)."""
