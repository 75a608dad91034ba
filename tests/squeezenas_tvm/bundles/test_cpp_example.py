"""The C++ example of a bundle: built as its comment says, it sees what the Python runner sees."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from cost_models.tvm_import import tvm
from squeezenas_tvm.bundles.runner import Bundle
from squeezenas_tvm.deploy import main as deploy

from ..conftest import SIZE


@pytest.fixture(scope="module")
def program(sealed_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """run_bundle, built against the TVM of this Python."""
    if shutil.which("cmake") is None or shutil.which("g++") is None:
        pytest.skip("building the C++ example needs cmake and g++")
    folder = tmp_path_factory.mktemp("cpp") / "build"
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in (
        ["cmake", "-S", sealed_bundle / "cpp", "-B", folder, "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror"],
        ["cmake", "--build", folder],
    ):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run_bundle"


def run(
    program: Path, *arguments: str | Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    line = [program, *map(str, arguments)]
    environ = {**os.environ, **(environ or {})}
    return subprocess.run(line, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "frame.ppm")
    return tmp_path / "frame.ppm"


def test_it_sees_what_the_python_runner_sees(program: Path, sealed_bundle: Path, frame: Path) -> None:
    done = run(program, sealed_bundle, frame, "3")
    assert (done.returncode, done.stderr) == (0, "")
    latency, *found = done.stdout.splitlines()
    assert latency.startswith("latency in ms over 3 runs: min ")
    bundle = Bundle.load(sealed_bundle)
    labels = bundle.segment(np.asarray(Image.open(frame)))
    assert found == [
        f"{entry['name']}: {np.sum(labels == entry['index'])} pixels"
        for entry in bundle.classes
        if np.any(labels == entry["index"])
    ]
    assert len(found) > 5  # or the comparison would say little


def test_without_a_frame_it_sees_gray(program: Path, sealed_bundle: Path) -> None:
    bundle = Bundle.load(sealed_bundle)
    (index,) = np.unique(bundle.segment(np.full((SIZE, SIZE, 3), 128, np.uint8)))
    done = run(program, sealed_bundle)
    assert done.stdout.startswith("latency in ms over 20 runs: ")
    assert done.stdout.endswith(f"\n{bundle.classes[index]['name']}: {SIZE * SIZE} pixels\n")


def test_it_runs_networks_of_arrays(program: Path, tmp_path: Path, frame: Path) -> None:
    """Two inputs, which are zero, and two outputs; a frame is for networks that take one."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["y"]),
        helper.make_node("Add", ["y", "more"], ["z"]),
    ]
    shapes = {"x": (1, 3, 4, 4), "more": (1, 2, 4, 4), "y": (1, 2, 4, 4), "z": (1, 2, 4, 4)}
    infos = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items()}
    weights = {"w": np.ones((2, 3, 1, 1), np.float32), "b": np.array([-1.5, 2.25], np.float32)}
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "net", [infos["x"], infos["more"]], [infos["y"], infos["z"]], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")
    bundle = tmp_path / "bundle"
    assert deploy([str(tmp_path / "net.onnx"), "--target", "local-cpu", "--out", str(bundle)]) == 0
    done = run(program, bundle, "2")
    assert (done.returncode, done.stderr) == (0, "")
    latency, *outputs = done.stdout.splitlines()
    assert latency.startswith("latency in ms over 2 runs: min ")
    assert outputs == ["y: 1 2 4 4, -1.5 to 2.25", "z: 1 2 4 4, -1.5 to 2.25"]
    done = run(program, bundle, frame)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: input x is not one frame; give no image\n"


def test_it_runs_on_a_gpu(program: Path, gpu: Path, gpu_bundle: Path, frame: Path) -> None:
    done = run(program, gpu_bundle, frame, "2", environ={"LD_LIBRARY_PATH": str(gpu)})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"\nroad: {SIZE * SIZE} pixels\n")  # the pretended GPU answers zeros
    done = run(program, gpu_bundle, environ={"LD_LIBRARY_PATH": str(gpu), "PRETEND_LOAD": "209"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "CUDA_ERROR_NO_BINARY_FOR_GPU" in done.stderr


def test_gpu_that_is_not_there(program: Path, gpu_bundle: Path) -> None:
    if tvm.cuda(0).exist:
        pytest.skip("this machine has a GPU")
    done = run(program, gpu_bundle)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("content", ["P6 32 64 255\n", "P5 64 64 255\n", "P6 64 64 255\nshort", ""])
def test_frame_of_another_form_is_refused(
    content: str, program: Path, sealed_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "frame.ppm").write_text(content, encoding="utf-8")
    done = run(program, sealed_bundle, tmp_path / "frame.ppm")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path}/frame.ppm is not a whole PPM that starts with P6 64 64 255\n"


def test_wrong_use_is_explained(program: Path, tmp_path: Path) -> None:
    assert (
        run(program).returncode
        == run(program, "a", "b", "c").returncode
        == run(program, "a", "0").returncode
        == 2
    )
    assert "BUNDLE [FRAME.ppm] [REPEATS=20]" in run(program).stderr
    done = run(program, tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/manifest.json cannot be read; give a bundle made by")


def test_broken_module_fails_without_a_crash(program: Path, bundle_copy: Path) -> None:
    (bundle_copy / "model.so").write_bytes(b"\x7fELF")
    done = run(program, bundle_copy)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
