"""What networks cost beyond the sum of their kernels; their energy."""
