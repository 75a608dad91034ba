"""A real bundle, tiny: a 1x1 convolution from RGB to 19 classes, compiled by TVM for this machine.

And a store of measurements in which only three kernels of Small are missing.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cost_models.lowering.pipeline import compile_lowered, lower
from cost_models.tvm_import import tvm, tvm_ffi
from search.data.classes import CLASSES
from squeezenas_tvm.bundles.assemble import Manifest, assemble, seal
from squeezenas_tvm.bundles.machine import processor
from squeezenas_tvm.bundles.manifest import manifest_sum
from targets import load_target

from .helpers import fill, kernels_of, quick_target
from .measuring import LEFT_OUT
from .pretend_gpu import build_pretend_gpu

SIZE = 64
WEIGHTS = np.random.default_rng(0).normal(size=(19, 3)).astype(np.float32)

GPU_TARGET = {
    "kind": "cuda",
    "arch": "sm_72",
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 49152,
    "thread_warp_size": 32,
    "host": {"kind": "llvm"},
}


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
    """That of the tiny bundle, but for ``changes``."""
    values = {
        "name": "tiny",
        "architecture": {"space": "none"},
        "target": "local-cpu",
        "device": "cpu",
        "runs_on": {"machine": processor()},
        "fingerprint": {"device": "test"},
        "inputs": [{"name": "frame", "dtype": "uint8", "shape": [1, SIZE, SIZE, 3], "meaning": "frame"}],
        "outputs": [
            {"name": "classes", "dtype": "uint8", "shape": [1, SIZE, SIZE], "meaning": "class index"}
        ],
        "mean": (0.5, 0.5, 0.5),
        "std": (1.0, 1.0, 1.0),
        "weights_source": None,
        "weights_sha256": None,
        "trained": False,
        "tuned_kernels": 0,
        "default_kernels": 1,
        "untuned": False,
    }
    return Manifest(**{**values, **changes})


@pytest.fixture(scope="session")
def sealed_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle itself; only for tests that do not change it."""
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    network = tiny_network()
    with assemble(out) as folder:
        (folder / "network.onnx").write_bytes(network.SerializeToString())
        frontend = importlib.import_module("tvm.relax.frontend.onnx")
        module = frontend.from_onnx(network, keep_params_in_input=False)
        tvm.compile(module, target="llvm").export_library(str(folder / "model.so"))
        seal(folder, tiny_manifest(), classes=CLASSES["cityscapes"], dataset="cityscapes")
    return out


@pytest.fixture(scope="session")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for LD_LIBRARY_PATH: what is started with it sees a GPU of architecture sm_72."""
    if tvm.get_global_func("ffi.Module.create.cuda", allow_missing=True) is None:
        pytest.skip("TVM's CUDA runtime is not loaded: see `squeezenas-tvm targets check jetson-xavier`")
    folder = tmp_path_factory.mktemp("gpu")
    build_pretend_gpu(folder, Path(tvm.__file__).parent / "lib" / "libtvm_runtime_cuda.so")
    return folder


@pytest.fixture(scope="session")
def gpu_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network for that GPU; its machine code is none, which only a real GPU would notice."""
    tvm_ffi.register_global_func("tvm_callback_cuda_compile", lambda source: b"\x7fELF", override=True)
    out, target = tmp_path_factory.mktemp("bundles") / "tiny", tvm.target.Target(GPU_TARGET)
    with assemble(out) as folder:
        (folder / "network.onnx").write_bytes(tiny_network().SerializeToString())
        compiled = compile_lowered(lower(tiny_network(), target), target, {})
        compiled.executable.export_library(str(folder / "model.so"))
        needs = {"machine": processor(), "cuda_arch": "sm_72", "cuda": "11.4"}
        manifest = tiny_manifest(target="jetson-xavier", device="cuda", runs_on=needs, untuned=True)
        seal(folder, manifest, classes=CLASSES["cityscapes"], dataset="cityscapes")
    return out


@pytest.fixture
def bundle_copy(sealed_bundle: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(sealed_bundle, tmp_path / "tiny"))


def unusable_bundle(out: Path, **changes: object) -> Path:
    """One that must be refused before its module is loaded: there is none in it."""
    with assemble(out) as folder:
        (folder / "model.so").write_bytes(b"\x7fELF of another machine")
        (folder / "network.onnx").touch()
        seal(folder, tiny_manifest(**changes), classes=CLASSES["cityscapes"], dataset="cityscapes")
    return out


def run_alone(
    bundle: Path, *argv: str, cwd: Path, environ: Mapping[str, str] | None = None, without: str = ""
) -> subprocess.CompletedProcess[str]:
    """``python run.py ARGV`` where numpy, TVM and what they require is all that can be imported.

    Args:
        without: leave out this one of them.
    """
    site = cwd / "site"
    site.mkdir(exist_ok=True)
    for name in ("numpy*", "tvm", "tvm_ffi", "apache_tvm*", "ml_dtypes*", "typing_extensions*"):
        for path in Path(sysconfig.get_path("purelib")).glob(name):
            if name != without and not (site / path.name).exists():
                (site / path.name).symlink_to(path)
    script = (
        "import runpy, sys\n"
        "sys.path.append(sys.argv[1])\n"
        "sys.argv = sys.argv[2:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    line = [sys.executable, "-I", "-S", "-B", "-c", script, str(site), str(bundle / "run.py"), *argv]
    return subprocess.run(
        line,
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def rewrite_manifest(bundle: Path, document: Mapping[str, Any]) -> None:
    """Another manifest.json in place of a bundle's, with the right sum of itself."""
    blank = "0" * 64
    text = json.dumps({**document, "manifest_sha256": blank})
    text = text.replace(blank, manifest_sum(text.encode(), blank))
    (bundle / "manifest.json").write_text(text, encoding="utf-8")


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
def no_hold_outs(monkeypatch: pytest.MonkeyPatch) -> None:
    """``profile`` fits its predictor, but does not fit it twenty times more to see how good it is."""
    monkeypatch.setattr("squeezenas_tvm.profiling.measure.try_predictor", lambda *_: {})


@pytest.fixture
def folder(almost_all: Path, tmp_path: Path) -> Path:
    """A folder with a copy of it."""
    (tmp_path / "out").mkdir()
    shutil.copy(almost_all, tmp_path / "out")
    return tmp_path / "out"
