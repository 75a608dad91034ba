"""A bundle for a GPU, run by its own script on a machine that pretends to have one, or not a fitting one."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cost_models.tvm_import import tvm

from ..conftest import run_alone


def run_on(gpu: Path | None, bundle: Path, cwd: Path, **pretended: int) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the bundle's script; ``gpu`` None: as this machine is."""
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(cwd / "street.png")
    environ = {name.upper(): str(value) for name, value in pretended.items()}
    if gpu is not None:
        environ["LD_LIBRARY_PATH"] = f"{gpu}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    done = run_alone(bundle, "street.png", "--repeats", "2", cwd=cwd, environ=environ)
    return done.returncode, done.stdout, done.stderr


def test_frames_go_to_the_gpu_and_labels_come_back(gpu: Path, gpu_bundle: Path, tmp_path: Path) -> None:
    code, out, said = run_on(gpu, gpu_bundle, tmp_path)
    assert (code, said) == (0, "")
    assert "latency in ms over 2 runs: " in out
    assert "the kernels are not tuned (default GPU schedules)" in out
    assert np.unique(np.asarray(Image.open(tmp_path / "street-labels.png"))).tolist() == [7]  # zeros: road


@pytest.mark.parametrize(
    ("pretended", "said"),
    [
        (
            {"pretend_arch": 87},
            "holds machine code for GPUs of architecture sm_72 (jetson-xavier) and this one is sm_87; "
            "deploy for the target that this device is",
        ),
        (
            {"pretend_no_device": 100},
            "needs a cuda device and TVM finds none on this machine: no such device, no driver or too old a ",
        ),
        (
            {"pretend_load": 209},
            "the network does not run: its machine code is for another GPU; deploy for this device [",
        ),
        (
            {"pretend_load": 200},
            "the network does not run: the GPU's driver is too old for code of CUDA 11.4; update the ",
        ),
        (
            {"pretend_load": 222},
            "the network does not run: the GPU's driver is too old for code of CUDA 11.4; update the ",
        ),
        ({"pretend_malloc": 2}, "the GPU has too little free memory; end other programs or deploy a smaller"),
    ],
)
def test_what_goes_wrong_is_one_line(
    pretended: dict[str, int], said: str, gpu: Path, gpu_bundle: Path, tmp_path: Path
) -> None:
    code, out, line = run_on(gpu, gpu_bundle, tmp_path, **pretended)
    assert (code, out) == (2, "")
    *before, line = line.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert all("Warning: " in other for other in before)  # TVM's own, of memory


def test_machine_without_a_gpu_is_refused(gpu_bundle: Path, tmp_path: Path) -> None:
    if tvm.cuda(0).exist:
        pytest.skip("this machine has a GPU")
    code, out, line = run_on(None, gpu_bundle, tmp_path)
    assert (code, out) == (2, "")
    assert line.startswith(f"error: {gpu_bundle} needs a cuda device and TVM finds none on this machine: ")
    assert line.endswith("it was made for jetson-xavier\n")
    assert line.count("\n") == 1
