"""One `profile`: defaults, searches, careful timings, blocks and networks as a whole."""
