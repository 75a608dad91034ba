"""Deployed networks on a GPU, with and without CUDA graphs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from cost_models.lowering.pipeline import compile_lowered, export, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.tvm_import import relax, tvm
from search.architecture import load_architecture
from targets import Target
from targets.toolchain.tools import find_tools

pytestmark = pytest.mark.gpu
SMALL, SHAPE = (1, 32, 64, 3), (1, 64, 128, 3)  # an emulated GPU is slow
SAME = {"float32": 0.99, "float16": 0.95}  # of all pixels: near a tie a rounding decides
NETWORKS = [
    ("squeezenas-lat-small", "float32"),
    pytest.param("squeezenas-lat-small", "float16", marks=pytest.mark.slow),
    pytest.param("mobilenetv3-small-seg", "float32", marks=pytest.mark.slow),
    ("mobilenetv3-small-seg", "float16"),
]


@pytest.mark.parametrize(("name", "dtype"), NETWORKS)
def test_deployed_network(gpu: Target, name: str, dtype: str, tmp_path: Path) -> None:
    shape = SMALL if gpu.emulated else SHAPE
    model = to_onnx(load_architecture(name).camera_network(), {"frame": shape}, name="net", dtype=dtype)
    reference = onnxruntime.InferenceSession(model.SerializeToString())
    lowered = lower(model, gpu.tvm_target())
    frames = [np.random.default_rng(seed).integers(0, 256, shape).astype("uint8") for seed in range(2)]
    labels: dict[bool, list[Any]] = {}
    for graphs in (False, True):
        compiled = compile_lowered(lowered, gpu.tvm_target(), {}, cuda_graphs=graphs)
        path = tmp_path / f"{graphs}.so"
        export(compiled.executable, path, find_tools(gpu, dtype))
        machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cuda(0))
        # again: the first run records what later ones replay, which must see the new frame
        labels[graphs] = [
            machine["main"](tvm.runtime.tensor(frame, tvm.cuda(0))).numpy() for frame in (*frames, frames[0])
        ]
    for frame, without, recorded in zip((*frames, frames[0]), labels[False], labels[True], strict=True):
        expected = reference.run(None, {"frame": frame})[0]
        assert without.shape == expected.shape
        assert (without == expected).mean() >= SAME[dtype]
        np.testing.assert_array_equal(recorded, without)
