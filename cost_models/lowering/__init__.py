"""From ONNX to compiled modules, kernel by kernel."""
