"""ONNX files as others write them, through ``deploy``: old, scripted, quantised, larger than a message."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quant_pre_process, quantize_static
from torch import Tensor, nn
from torch.nn import functional

from squeezenas_tvm.bundles.runner import Bundle
from squeezenas_tvm.deploy import main as deploy
from squeezenas_tvm.predict import main as predict

from .helpers import refused_by

node = helper.make_node
TARGET = ("--target", "local-cpu")
H, W = 16, 24
COMMANDS = {
    "deploy": partial(refused_by, deploy),
    "predict --check": lambda argv, *more: refused_by(predict, [*argv, "--check"], *more),
}


def outputs(path: Path, out: Path, *arrays: np.ndarray) -> list[np.ndarray]:
    """What a file gives when it is deployed as it is."""
    assert deploy([str(path), *TARGET, "--out", str(out)]) == 0
    return Bundle.load(out).run(arrays)


# --- old files


def test_a_file_of_opset_6_gives_what_it_meant(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    of_channels = dict.fromkeys("sbmva", (8,))
    shapes = {"w": (8, 3, 3, 3), **of_channels, "l": (W,)}
    weights = {name: draw.random(shape, np.float32) for name, shape in shapes.items()}
    nodes = [
        node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1] * 4),
        node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"], is_test=1, epsilon=1e-3),
        node("Relu", ["n"], ["r"]),
        node("Dropout", ["r"], ["d"], is_test=1),
        node("Add", ["d", "a"], ["e"], broadcast=1, axis=1),  # of each channel: later opsets align the last
        node("Mul", ["e", "l"], ["y"], broadcast=1, axis=-1),
    ]
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    inputs = [value("x", shape=(1, 3, H, W)), *(value(key, shape=w.shape) for key, w in weights.items())]
    tensors = [numpy_helper.from_array(array, key) for key, array in weights.items()]
    graph = helper.make_graph(nodes, "old", inputs, [value("y", shape=(1, 8, H, W))], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=3)
    onnx.save(made, tmp_path / "old.onnx")
    x = draw.random((1, 3, H, W), np.float32)
    (found,) = outputs(tmp_path / "old.onnx", tmp_path / "bundle", x)
    w, s, b, m, v, a, last = map(torch.from_numpy, weights.values())
    made_by_hand = functional.conv2d(torch.from_numpy(x), w, padding=1)
    made_by_hand = functional.batch_norm(made_by_hand, m, v, s, b, eps=1e-3).relu()
    made_by_hand = (made_by_hand + a[:, None, None]) * last
    assert np.abs(found - made_by_hand.numpy()).max() < 1e-4 * float(made_by_hand.abs().max())


# --- control flow


class BySize(nn.Module):
    """As many rounds as it is told, and the branch that the size of the map chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.relu(self.one(x)) + x
        if x.size(2) > x.size(3):
            return self.one(x)
        return self.other(x)


class ByValue(BySize):
    """The branch that what it sees chooses."""

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.mean() > 0.5):
            return self.one(x)
        return self.other(x)


def scripted(module: nn.Module, path: Path) -> Path:
    """As TorchScript exports it, with its loops and branches; the sizes are open."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "opset_version": 17}
    open_axes = {"x": {2: "height", 3: "width"}}
    example = (torch.zeros(1, 3, H, W),)
    torch.onnx.export(
        torch.jit.script(module.eval()), example, str(path), dynamo=False, dynamic_axes=open_axes, **options
    )
    return path


def test_loops_and_branches_that_sizes_decide_are_deployed(tmp_path: Path) -> None:
    module = BySize()
    path = scripted(module, tmp_path / "by-size.onnx")
    kinds = {one.op_type for one in onnx.load(path).graph.node}
    assert {"If", "Loop"} & kinds
    x = np.random.default_rng(0).random((1, 3, H, W), np.float32)
    argv = [str(path), *TARGET, "--resolution", f"{H}x{W}", "--out", str(tmp_path / "bundle")]
    assert deploy(argv) == 0
    (found,) = Bundle.load(tmp_path / "bundle").run([x])
    assert np.abs(found - module(torch.from_numpy(x)).detach().numpy()).max() < 1e-4


@pytest.mark.parametrize("command", COMMANDS)
def test_a_branch_that_the_image_decides_is_named(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = scripted(ByValue(), tmp_path / "by-value.onnx")
    more = ["--out", str(tmp_path / "bundle")] if command == "deploy" else []
    COMMANDS[command]([str(path), *TARGET, "--resolution", f"{H}x{W}", *more], "If", capfd)
    assert not (tmp_path / "bundle").exists()


# --- quantised


class _Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self._left = [{"x": draw.random((1, 3, H, W), np.float32)} for _ in range(3)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._left.pop() if self._left else None


@pytest.mark.parametrize("command", COMMANDS)
def test_a_quantised_file_says_what_to_export(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    plain, path = tmp_path / "plain.onnx", tmp_path / "quantised.onnx"
    torch.onnx.export(module, (torch.zeros(1, 3, H, W),), str(plain), input_names=["x"], dynamo=False)
    quant_pre_process(str(plain), str(plain))
    quantize_static(str(plain), str(path), _Images())
    more = ["--out", str(tmp_path / "bundle")] if command == "deploy" else []
    said = "quantised (QuantizeLinear); latencies are of floating point: export it before quantisation"
    COMMANDS[command]([str(path), *TARGET, *more], said, capfd)


# --- larger than any message of protobuf


@pytest.mark.slow
def test_weights_of_more_than_2_gib_are_deployed(tmp_path: Path) -> None:
    """Most of them are holes in a file. Takes 14 GiB of memory and 6 of disk."""
    if min(shutil.disk_usage(tmp_path).free, psutil.virtual_memory().available) < 16 << 30:
        pytest.skip("less than 16 GiB of disk or memory are free")
    side, count = 12288, 4  # 576 MiB each
    path, data = tmp_path / "large.onnx", tmp_path / "large.onnx.data"
    tensors, names = [], [f"w{index}" for index in range(count)]
    with data.open("wb") as file:
        for index, name in enumerate(names):
            start = index * side * side * 4
            file.seek(start)
            file.write(np.full(side, 1 + index, np.float32).tobytes())  # a row; the others are zeros
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[side, side])
            tensor.data_location = TensorProto.EXTERNAL
            told = {"location": data.name, "offset": str(start), "length": str(side * side * 4)}
            for key, value in told.items():
                tensor.external_data.add(key=key, value=value)
            tensors.append(tensor)
        file.truncate(count * side * side * 4)
    values = ["x", *(f"v{index}" for index in range(count))]
    nodes = [node("MatMul", [a, w], [b]) for a, w, b in zip(values, names, values[1:], strict=False)]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, side)) for name in (values[0], values[-1])
    ]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    assert data.stat().st_size > 2 << 30
    (found,) = outputs(path, tmp_path / "bundle", np.full((1, side), 0.5, np.float32))
    assert np.array_equal(found, np.full((1, side), 0.5 * 1 * 2 * 3 * 4, np.float32))
