"""What `board` does."""
