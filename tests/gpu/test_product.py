"""The commands on a GPU, real or emulated, as a user gives them: profile, deploy, run, evaluate."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from squeezenas_tvm.bundles.values import dataset_ids
from targets import Target
from targets.emulated_cuda.libraries import VARIABLE

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]
NAME, SIZE = "mobilenetv3-small-seg", (64, 64)
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
EMULATED = "is emulated: its timings mean nothing"
SAME = 0.98  # of all pixels: near a tie a rounding decides

# The command, for a space of two kernels.
FEW = """
import sys
from search.costs import kernel_table
from squeezenas_tvm.__main__ import main
from squeezenas_tvm.cli import leave
all_of = kernel_table.space_kernels
kernel_table.space_kernels = lambda *given: [k for k in all_of(*given) if k.kind == "depthwise"][:2]
import squeezenas_tvm.profiling.measure, squeezenas_tvm.profiling.profile_space
squeezenas_tvm.profiling.measure.try_predictor = lambda *given: {}
squeezenas_tvm.profiling.profile_space.sample_blocks = lambda *given, **named: []
leave(main(sys.argv[1:]))
"""


def command(folder: Path, *given: object, program: str = "", fails: int = 0) -> tuple[str, str]:
    """What a command writes to stdout and stderr."""
    start = ["-c", program] if program else ["-m", "squeezenas_tvm"]
    done = subprocess.run(
        [sys.executable, *start, *map(str, given)],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == fails, done.stderr
    return done.stdout, done.stderr


def _environment() -> dict[str, str]:
    """As a user has it: nothing says that the GPU is emulated but the target."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE} | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def bundle(gpu: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    size = f"{SIZE[0]}x{SIZE[1]}"
    said, _ = command(
        out.parent, "deploy", NAME, "--target", gpu.argument, "--resolution", size, "--out", out
    )
    assert (EMULATED in said) == gpu.emulated
    return out


def test_everything_is_there(gpu: Target, tmp_path: Path) -> None:
    said, _ = command(tmp_path, "targets", "check", gpu.argument)
    assert f"{gpu.name}: all there" in said
    assert (EMULATED in said) == gpu.emulated


def test_run_sees_what_onnxruntime_sees(gpu: Target, bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "image.png")
    given = (bundle, "image.png", "--out", "seen", "--repeats", 1, "--warmup", 1)
    said, _ = command(tmp_path, "run", *given)
    assert (EMULATED in said) == gpu.emulated
    session = onnxruntime.InferenceSession((bundle / "network.onnx").read_bytes())
    wanted = session.run(None, {"frame": IMAGE[None]})[0][0]
    classes: list[dict[str, Any]] = json.loads((bundle / "labels.json").read_text())["classes"]
    seen = np.asarray(Image.open(tmp_path / "seen" / "image-labels.png"))
    assert (seen == dataset_ids(wanted, classes)).mean() >= SAME


def test_evaluate(bundle: Path, tmp_path: Path) -> None:
    said, _ = command(tmp_path, "evaluate", bundle, "--data", "synthetic:10:96x160", "--json")
    assert json.loads(said)["frames"] == 2


def test_profile_searches_and_times_kernels(gpu: Target, tmp_path: Path) -> None:
    given = ("--target", gpu.argument, "--space", "small", "--resolution", "64x128", "--trials", 2)
    said, _ = command(
        tmp_path, "profile", *given, "--networks", 0, program=FEW, fails=1
    )  # holes: other kernels
    assert (EMULATED in said) == gpu.emulated
    (header,) = tmp_path.glob(f"results/{gpu.name}/table.json")
    assert json.loads(header.read_text())["target"] == gpu.name


def test_a_bundles_own_script_has_no_emulated_gpu(gpu: Target, bundle: Path, tmp_path: Path) -> None:
    if not gpu.emulated:
        pytest.skip("this machine has a GPU")
    Image.fromarray(IMAGE).save(tmp_path / "image.png")
    done = subprocess.run(
        [sys.executable, str(bundle / "run.py"), "image.png"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "a GPU that squeezenas-tvm emulates" in done.stderr
