"""What ``predict`` does, without its arguments."""
