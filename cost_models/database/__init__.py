"""Measurements for ever (SQLite), and the tables that are derived from them."""
