"""One description run by onnxruntime and by PyTorch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from cost_models.ir.graph import Graph
from cost_models.ir.ops import Shape
from cost_models.ir.weights import random_weights
from cost_models.onnx_io.exporter import to_onnx
from search.networks.graph_module import GraphModule

Arrays = dict[str, np.ndarray[Any, Any]]


def random_inputs(graph: Graph, shapes: Mapping[str, Shape]) -> Arrays:
    rng = np.random.default_rng(1)
    return {
        name: rng.integers(0, 256, shapes[name], dtype=np.uint8)
        if graph.dtype(name) == "uint8"
        else rng.integers(0, 256, shapes[name])
        if graph.dtype(name) == "int64"
        else rng.standard_normal(shapes[name], dtype=np.float32)
        for name in graph.inputs
    }


def run_onnx(model: onnx.ModelProto, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {value.name: inputs[value.name] for value in session.get_inputs()}))


def run_torch(graph: Graph, inputs: Arrays, dtype: torch.dtype = torch.float32) -> list[np.ndarray[Any, Any]]:
    module = GraphModule(graph).eval()
    weights = {name: torch.from_numpy(values) for name, values in random_weights(graph).items()}
    module.load_state_dict(weights, strict=True)
    given = (torch.from_numpy(inputs[name]) for name in graph.inputs)
    with torch.inference_mode():
        result = module.to(dtype)(*(x.to(dtype) if x.is_floating_point() else x for x in given))
    return [value.numpy() for value in (result if isinstance(result, tuple) else (result,))]


def difference(graph: Graph, shapes: Mapping[str, Shape]) -> float:
    """Largest difference of either runtime from float64, as a fraction of the largest output.

    Not of one from the other: rounding differs from processor to processor, and random networks of many
    layers make more of it.
    """
    inputs = random_inputs(graph, shapes)
    worst = 0.0
    made = run_onnx(to_onnx(graph, shapes, random_weights(graph)), inputs)
    exact = run_torch(graph, inputs, torch.float64)
    for ours, theirs, wanted in zip(made, run_torch(graph, inputs), exact, strict=True):
        assert ours.shape == theirs.shape == wanted.shape
        assert ours.dtype == theirs.dtype
        scale = float(np.abs(wanted).max())
        assert 0 < scale < np.inf
        worst = max(worst, *(float(np.abs(found - wanted).max()) / scale for found in (ours, theirs)))
    return worst
