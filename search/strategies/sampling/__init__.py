"""Strategies that try networks out: random search and regularised evolution."""
