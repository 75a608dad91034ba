"""Timing on a device: kernels, modules, rounds with a reference in between."""
