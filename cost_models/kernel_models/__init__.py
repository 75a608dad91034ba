"""What kernels cost that nobody measured: a physical sum, corrected by boosted trees."""
