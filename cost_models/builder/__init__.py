"""Processes that load TVM once and build kernels."""
