"""What builds for a target: linkers that keep to its C library, compilers for its GPU."""
