"""Models that fit no message of protobuf: here one of some kilobytes, where the limit is lowered to that."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cost_models.errors import InvalidGraph
from cost_models.lowering.import_check import model_fault
from cost_models.lowering.pipeline import kernels, lower
from cost_models.onnx_io import saving
from cost_models.onnx_io.importer import read_onnx
from cost_models.onnx_io.saving import is_small, save_model
from cost_models.onnx_io.whole_model import read_whole
from targets import load_target

from ..onnx_models import CONV, WEIGHTS, model, node

FEW = np.arange(8, dtype=np.float32).reshape(8, 1, 1)
NODES = [CONV, node("Add", ["c", "bias"], ["a"]), node("Relu", ["a"], ["y"])]


@pytest.fixture
def made() -> onnx.ModelProto:
    return model(NODES, WEIGHTS | {"bias": FEW})


@pytest.fixture
def large(made: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> onnx.ModelProto:
    """A model that may not be written as one message, nor be checked, which writes it."""
    monkeypatch.setattr(saving, "LARGEST_MESSAGE", saving._REST + 2000)

    def refuse(*given: object) -> None:
        raise ValueError("the whole model was written")

    monkeypatch.setattr("cost_models.lowering.pipeline.onnx.checker.check_model", refuse)
    return made


def test_what_fits_one_message_is_one_file(made: onnx.ModelProto, tmp_path: Path) -> None:
    assert is_small(made)
    save_model(made, tmp_path / "net.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert onnx.load_model(tmp_path / "net.onnx") == made


def test_larger_ones_have_their_weights_beside_them(large: onnx.ModelProto, tmp_path: Path) -> None:
    before = onnx.ModelProto()
    before.CopyFrom(large)
    assert not is_small(large)
    save_model(large, tmp_path / "net.onnx")
    assert large == before
    weights = tmp_path / "net.onnx.data"
    assert weights.stat().st_size == WEIGHTS["w"].nbytes
    read = onnx.load_model(tmp_path / "net.onnx")
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in read.graph.initializer}
    assert np.array_equal(arrays["w"], WEIGHTS["w"])
    assert np.array_equal(arrays["bias"], FEW)


def test_weights_that_no_message_holds_are_refused(
    made: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(made, tmp_path / "net.onnx")
    monkeypatch.setattr(saving, "LARGEST_MESSAGE", saving._NAME + 2000)
    with pytest.raises(InvalidGraph, match=r"^net.onnx: weights w take more than 2 GiB alone"):
        read_whole(tmp_path / "net.onnx")


def test_they_are_read_and_lowered_unwritten(
    large: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    save_model(large, path)
    monkeypatch.undo()
    monkeypatch.setattr(saving, "LARGEST_MESSAGE", saving._REST + 2000)
    assert read_onnx(path).graph.macs({"x": (1, 8, 16, 32)}) == 8 * 8 * 9 * 16 * 32
    whole = read_whole(path)
    assert not is_small(whole.proto)
    target = load_target("local-cpu")
    (kernel,) = kernels(lower(whole.proto, target.tvm_target())).values()
    assert kernel.calls == 1
    assert model_fault(whole.proto, "net.onnx", target, tmp_path) is None
