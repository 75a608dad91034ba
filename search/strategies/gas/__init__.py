"""A search after GAS (arXiv:1909.06793): what cells tell their neighbours, and what latency costs."""
