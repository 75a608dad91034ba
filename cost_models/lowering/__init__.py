"""From ONNX to compiled modules, kernel by kernel."""

from cost_models.lowering.pipeline import compile_lowered as compile_lowered
from cost_models.lowering.pipeline import lower as lower
