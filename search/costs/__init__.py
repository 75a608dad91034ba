"""What a space and its networks cost on a target. No device, no TVM."""
