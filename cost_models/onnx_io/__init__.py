"""ONNX, written and read."""
