"""Finds an architecture for a target and a budget."""
