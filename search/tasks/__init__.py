"""What networks are for: heads, losses, metrics."""
