"""Progress on a terminal and in logs."""
