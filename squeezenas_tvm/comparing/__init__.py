"""What ``compare`` does, without its arguments."""
