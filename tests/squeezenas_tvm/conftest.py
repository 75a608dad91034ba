"""A real bundle, tiny: a 1x1 convolution from RGB to 19 classes, compiled by TVM for this machine.

And a store of measurements in which only three kernels of Small are missing.
"""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tvm.relax.frontend.onnx import from_onnx

from cost_models.tvm_import import tvm
from squeezenas_tvm.bundle import Manifest, assemble, seal
from targets import load_target

from .helpers import fill, kernels_of, quick_target
from .profiling import LEFT_OUT

SIZE = 64
WEIGHTS = np.random.default_rng(0).normal(size=(19, 3)).astype(np.float32)


def tiny_network() -> onnx.ModelProto:
    """(1, 64, 64, 3) uint8 -> class index (1, 64, 64) uint8 of (pixel / 255 - 0.5) @ WEIGHTS.T."""
    constants = {
        "scale": np.float32(1 / 255),
        "mean": np.float32(0.5),
        "weights": WEIGHTS.reshape(19, 3, 1, 1),
    }
    nodes = [
        helper.make_node("Cast", ["frame"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "mean"], ["centred"]),
        helper.make_node("Conv", ["centred", "weights"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["index"], axis=1, keepdims=0),
        helper.make_node("Cast", ["index"], ["labels"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, (1, SIZE, SIZE, 3))],
        [helper.make_tensor_value_info("labels", TensorProto.UINT8, (1, SIZE, SIZE))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def expected_labels(image: np.ndarray) -> np.ndarray:
    """What the tiny network says of (H, W, 3) uint8, by numpy."""
    return ((image.astype(np.float32) / 255 - 0.5) @ WEIGHTS.T).argmax(-1).astype(np.uint8)


def tiny_manifest(**changes: object) -> Manifest:
    values = {
        "name": "tiny",
        "architecture": {"space": "none"},
        "target": "local-cpu",
        "device": "cpu",
        "fingerprint": {"device": "test"},
        "height": SIZE,
        "width": SIZE,
        "mean": (0.5, 0.5, 0.5),
        "std": (1.0, 1.0, 1.0),
        "weights_source": None,
        "weights_sha256": None,
        "trained": False,
        "tuned_kernels": 0,
        "default_kernels": 1,
    }
    return Manifest(**{**values, **changes})


@pytest.fixture(scope="session")
def sealed_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle itself; only for tests that do not change it."""
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    network = tiny_network()
    with assemble(out) as folder:
        (folder / "network.onnx").write_bytes(network.SerializeToString())
        module = from_onnx(network, keep_params_in_input=False)
        tvm.compile(module, target="llvm").export_library(str(folder / "model.so"))
        seal(folder, tiny_manifest(), dataset="cityscapes")
    return out


@pytest.fixture
def bundle_copy(sealed_bundle: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(sealed_bundle, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a target that measures a kernel in milliseconds."""
    return quick_target(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="session")
def almost_all(tmp_path_factory: pytest.TempPathFactory, quick: Path) -> Path:
    """A store in which all kernels of Small but three are measured; only to be copied."""
    folder = tmp_path_factory.mktemp("filled")
    return fill(folder, load_target(quick), [k for k in kernels_of() if k not in LEFT_OUT])


@pytest.fixture
def folder(almost_all: Path, tmp_path: Path) -> Path:
    """A folder with a copy of it."""
    (tmp_path / "out").mkdir()
    shutil.copy(almost_all, tmp_path / "out")
    return tmp_path / "out"
