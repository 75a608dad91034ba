"""The search for fast schedules: many kernels at once, lent and adapted ones."""
