"""One HTML page of a profile, a search or a training."""
