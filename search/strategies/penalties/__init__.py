"""What a search pays for costs."""
