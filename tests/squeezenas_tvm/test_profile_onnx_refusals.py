"""What the profile command says to ONNX files that it cannot profile: a line, before anything is written."""

from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from squeezenas_tvm import profile

from .helpers import quick_target, refused_by
from .onnx_networks import STEM, node, up, write

refused = partial(refused_by, profile.main)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quick_target(tmp_path_factory.mktemp("target"))


def into(out: Path) -> tuple[str, str]:
    return "--out", str(out)


LOOP = helper.make_node(
    "Loop",
    ["", "on", "r"],
    ["y"],
    name="around",
    body=helper.make_graph(
        [
            node("Relu", ["v"], ["w"]),
            node("ReduceMax", ["w"], ["most"], keepdims=0),
            node("Cast", ["most"], ["again"], to=TensorProto.BOOL),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, ()),
            helper.make_tensor_value_info("go", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
        ],
    ),
)
TRUE = node("Constant", [], ["on"], value=helper.make_tensor("t", TensorProto.BOOL, (), [True]))
SCALE = node("Constant", [], ["s"], value_float=0.1)
QUANTISED = [node("QuantizeLinear", ["m", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["y"])]
PLACES = node("MaxPool", ["m"], ["y", "at"], name="where\x1b[31m\n", kernel_shape=[2, 2])


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([*STEM, SCALE, *QUANTISED], "quantised (QuantizeLinear); latencies are of floating point"),
        ([*STEM, TRUE, LOOP], "Loop around decides while it runs how often what runs"),
        ([*STEM[:2], node("MaxPool", ["r"], ["y", "at"], name="places", kernel_shape=[2, 2])], None),
        ([*STEM, node("LSTM", ["m", "stem", "stem"], ["y"], name="memory", hidden_size=8)], "LSTM memory"),
        ([node("Relu", ["image"], ["y"], name="only")], "has no convolution"),
    ],
)
def test_networks_that_cannot_be_profiled(
    nodes: list[Any], words: str | None, quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outputs = ["y", "at"] if words is None else ["y"]
    path = write_unchecked(tmp_path / "net.onnx", nodes, outputs)
    argv = [str(path), "--target", str(quick), *into(tmp_path / "out")]
    refused(argv, words or "net.onnx: TVM has no MaxPool that tells places (places)", capfd)
    assert not (tmp_path / "out").exists()


def write_unchecked(path: Path, nodes: list[Any], outputs: list[str]) -> Path:
    """As ``write``, where ONNX cannot infer what comes out."""
    write(path, [*STEM], ["m"])
    made = onnx.load_model(path)
    del made.graph.node[:]
    del made.graph.output[:]
    made.graph.node.extend(nodes)
    made.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs)
    onnx.save_model(made, path)
    return path


def test_names_with_control_characters_are_spelled_out(
    quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_unchecked(tmp_path / "net\x1b[31m.onnx", [*STEM, PLACES], ["y"])
    assert profile.main([str(path), "--target", str(quick), *into(tmp_path / "out")]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert "TVM has no MaxPool that tells places (where" in said


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("none.onnx", [], "none.onnx: no such file"),
        ("text.onnx", [], "text.onnx: not an ONNX file"),
        ("net.pth", [], "net.pth: holds weights, not the layers that use them; allowed: "),
        ("script.pt", [], "script.pt: is TorchScript; allowed: "),
        ("empty", [], "empty: a folder without .onnx files"),
        ("squeezenas-lat-small", [], "the kernels of an architecture are those of its space"),
        ("up.onnx", ["--space", "small"], "--space: for spaces; "),
        ("up.onnx", ["--networks", "3"], "--networks: for spaces; "),
        ("up.onnx", ["--resolution", "64x128"], "input image is for images of 16x32, not of 64x128"),
        ("up.onnx", ["--shape", "image=1x3x8x8"], "input image is 1x3x16x32, not 1x3x8x8"),
        ("up.onnx", ["--shape", "imag=1x3x8x8"], "--shape imag: no such input, did you mean image?"),
        ("up.onnx", ["--kernels", "2"], "--kernels 2: too few of "),
    ],
)
def test_wrong_input_is_one_line(
    name: str,
    given: list[str],
    words: str,
    quick: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    up(tmp_path / "up.onnx")
    (tmp_path / "empty").mkdir()
    for text in ("text.onnx", "net.pth"):
        (tmp_path / text).write_text("hello", encoding="utf-8")
    torch.jit.script(torch.nn.Conv2d(3, 4, 1)).save(str(tmp_path / "script.pt"))
    refused([name, "--target", str(quick), *into(tmp_path / "out"), *given], words, capfd)
    assert not (tmp_path / "out").exists()


def test_two_networks_of_one_name(quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").mkdir()
    paths = [str(up(tmp_path / "net.onnx")), str(write(tmp_path / "other" / "net.onnx", STEM, ["m"]))]
    given = ["--target", str(quick), *into(tmp_path / "out")]
    refused([*paths, *given], "two networks of one name; rename one of the files", capfd)
    refused(["--target", str(quick), "--shape", "x=1"], "--shape x: for ONNX files, and none is given", capfd)
