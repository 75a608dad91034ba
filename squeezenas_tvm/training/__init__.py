"""What ``train`` does, without its arguments."""
