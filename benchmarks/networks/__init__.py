"""Real-time segmentation networks of other people, built from their papers, with random weights."""
