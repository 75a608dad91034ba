"""What `profile` does."""
