"""Devices that nobody profiled: by data sheet, by published numbers, by a few measured networks."""
