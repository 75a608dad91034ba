"""Schedules of TVM: our templates, the default ones, and schedules as text."""
