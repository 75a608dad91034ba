"""What `deploy` makes and `run` runs."""
