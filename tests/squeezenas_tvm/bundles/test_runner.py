"""The runner that travels in the bundle: what the module says, what is refused, use without our packages."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezenas_tvm.bundles.machine import check_flags, explain_failure, processor
from squeezenas_tvm.bundles.manifest import BundleError
from squeezenas_tvm.bundles.runner import Bundle, main
from squeezenas_tvm.bundles.values import dataset_ids, statistics_ms

from ..conftest import expected_labels, run_alone, unusable_bundle


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)


def test_labels_are_those_of_the_network(sealed_bundle: Path, image: np.ndarray) -> None:
    labels = Bundle.load(sealed_bundle).segment(image)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, expected_labels(image))


def test_other_sizes_are_resized_and_back(sealed_bundle: Path) -> None:
    halves = np.zeros((128, 200, 3), np.uint8)
    halves[:, 100:] = (250, 10, 30)
    labels = Bundle.load(sealed_bundle).segment(halves)
    expected = expected_labels(halves)
    assert labels.shape == (128, 200)
    assert expected[0, 0] != expected[0, -1]
    assert np.mean(labels != expected) < 0.02  # pixels along the edge


def test_times_are_one_a_repeat(sealed_bundle: Path, image: np.ndarray) -> None:
    bundle = Bundle.load(sealed_bundle)
    samples_ms = bundle.time_ms(bundle.frame(image), repeats=5, warmup=2)
    assert len(samples_ms) == 5
    assert min(samples_ms) > 0


def test_dataset_ids_of_classes_and_of_no_class() -> None:
    classes = [{"index": 0, "id": 7}, {"index": 1, "id": 33}]
    assert dataset_ids(np.array([[0, 1, 9]], np.uint8), classes).tolist() == [[7, 33, 0]]


def test_statistics() -> None:
    stats = statistics_ms([4.0, 1.0, 2.0, 3.0, 10.0])
    assert stats["n"] == 5
    assert (stats["min"], stats["median"], stats["mean"]) == (1.0, 3.0, 4.0)
    assert stats["p10"] < stats["median"] < stats["p90"] < stats["p99"] < 10.0


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a bundle's script refuses."""
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


# --- before anything is loaded ---


def test_bundle_for_another_processor_is_refused(tmp_path: Path, image: np.ndarray) -> None:
    there = "x86_64" if processor() == "aarch64" else "aarch64"
    folder = unusable_bundle(tmp_path / "b", target="jetson-xavier", runs_on={"machine": there})
    said = refused(run_alone(folder, "street.png", cwd=tmp_path))
    assert said == (
        f"error: {folder} was made for jetson-xavier ({there}) and this machine is {processor()}; "
        "copy it to the device, or deploy for this machine"
    )


def test_processor_without_the_instructions_is_refused(tmp_path: Path) -> None:
    needs = {"machine": processor(), "cpu_flags": ["avx4096", "sve9"]}
    with pytest.raises(BundleError, match=r"for local-cpu with avx4096, sve9, which this machine has not"):
        Bundle.load(unusable_bundle(tmp_path / "b", runs_on=needs))


@pytest.mark.parametrize(
    ("flags", "absent"),
    [
        ("fp asimd evtstrm crc32 cpuid", "asimddp, fphp"),
        ("Features : fp asimd fphp asimddp", None),
        ("flags : fpu sse2 avx2", None),  # an emulator shows its host's
        ("", None),
    ],
)
def test_arm_processors_without_the_instructions(tmp_path: Path, flags: str, absent: str | None) -> None:
    needs = {"machine": "aarch64", "cpu_flags": ["asimd", "asimddp", "fp", "fphp"]}
    target = {"name": "jetson-orin", "runs_on": needs}
    if absent is None:
        check_flags(tmp_path, target, flags.split(), "board a:1")
        return
    with pytest.raises(BundleError) as caught:
        check_flags(tmp_path, target, flags.split(), "board a:1")
    assert str(caught.value) == (
        f"{tmp_path} was made for jetson-orin with {absent}, which board a:1 has not; "
        "deploy on that machine, or for a target whose mcpu is its processor"
    )


def test_missing_device_is_named(tmp_path: Path) -> None:
    folder = unusable_bundle(tmp_path / "b", target="jetson-xavier", device="vulkan")
    said = refused(run_alone(folder, "street.png", cwd=tmp_path))
    assert f"{folder} needs a vulkan device and TVM finds none on this machine: " in said
    assert said.endswith("it was made for jetson-xavier")


def test_module_that_does_not_load(tmp_path: Path) -> None:
    folder = unusable_bundle(tmp_path / "b", target="mine")
    with pytest.raises(BundleError, match=r"does not load on this machine \(.*\); it was made for mine"):
        Bundle.load(folder)


def test_python_without_tvm_is_named(sealed_bundle: Path, tmp_path: Path) -> None:
    said = refused(run_alone(sealed_bundle, "street.png", cwd=tmp_path, without="tvm"))
    assert "TVM cannot be imported by " in said
    assert said.endswith("install it: pip install apache-tvm==0.27.0.post1")


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("a\nb\n", "b"),
        ("", "RuntimeError"),
        (
            "CUDAError: cuModuleLoadData: CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
            "the GPU's driver is too old for code of CUDA 11.4; update the driver or JetPack "
            "[CUDAError: cuModuleLoadData: CUDA_ERROR_UNSUPPORTED_PTX_VERSION]",
        ),
    ],
)
def test_failures_are_one_line(raised: str, said: str) -> None:
    assert explain_failure(RuntimeError(raised), {"runs_on": {"cuda": "11.4"}}) == said


# --- the script ---


@pytest.mark.parametrize("tvm", ["0", "1"], ids=["with the compiler", "TVM's runtime alone"])
def test_script_needs_numpy_and_tvm_alone(
    tvm: str, sealed_bundle: Path, tmp_path: Path, image: np.ndarray
) -> None:
    Image.fromarray(image).save(tmp_path / "street.png")
    given = ["street.png", "--out", "seen", "--repeats", "4", "--profile"]
    done = run_alone(sealed_bundle, *given, cwd=tmp_path, environ={"TVM_USE_RUNTIME_LIB": tvm})
    assert (done.returncode, done.stderr) == (0, "")
    assert "All kernels take " in done.stdout
    assert "numpy's matrix product" in done.stdout
    assert "latency in ms over 4 runs: min " in done.stdout
    assert "the weights are not trained" in done.stdout
    assert "not tuned" not in done.stdout
    ids = np.asarray(Image.open(tmp_path / "seen" / "street-labels.png"))
    assert np.array_equal(ids, dataset_ids(expected_labels(image), Bundle.load(sealed_bundle).classes))


def test_script_says_what_other_formats_need(sealed_bundle: Path, tmp_path: Path, image: np.ndarray) -> None:
    Image.fromarray(image).save(tmp_path / "street.jpg")
    said = refused(run_alone(sealed_bundle, "street.jpg", cwd=tmp_path))
    assert said.startswith(
        "error: street.jpg: no 8-bit PNG, PPM/PGM or .npy image; for other formats install"
    )
    assert said.endswith("-m pip install pillow")


def test_script_without_numpy(sealed_bundle: Path, tmp_path: Path) -> None:
    """As where a board's own Python is taken instead of the one that has TVM."""
    said = refused(run_alone(sealed_bundle, "street.png", cwd=tmp_path, without="numpy*"))
    assert said.startswith("error: numpy cannot be imported by ")
    assert said.endswith("-m pip install numpy")


def test_script_with_an_old_python(sealed_bundle: Path) -> None:
    """It is compiled before it can say so: nothing in it may be newer than Python 3.8."""
    script = str(sealed_bundle / "run.py")
    ast.parse(Path(script).read_text(encoding="utf-8"), feature_version=(3, 8))
    code = (
        f"import runpy, sys; sys.version_info = (3, 8, 10); runpy.run_path({script!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    said = refused(done)
    assert said.startswith(f"error: {sys.executable} is Python 3.")
    assert said.endswith("this needs 3.10 or newer; use the Python that has TVM")


def test_script_tells_of_a_shape_that_distorts(sealed_bundle: Path, tmp_path: Path) -> None:
    Image.new("RGB", (256, 64)).save(tmp_path / "wide.png")
    done = run_alone(sealed_bundle, "wide.png", "--repeats", "1", cwd=tmp_path)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("wide.png: squeezed: the network of 64x64 sees everything 4 times narrower")


def test_script_notices_a_broken_bundle(bundle_copy: Path, tmp_path: Path) -> None:
    (bundle_copy / "labels.json").write_text(json.dumps({}), encoding="utf-8")
    assert refused(run_alone(bundle_copy, "street.png", cwd=tmp_path)).endswith(
        "labels.json is not what was deployed; copy the bundle again, or deploy again"
    )


def test_wrong_count_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["street.png", "--repeats", "0"])
    assert stop.value.code == 2
    assert "'0' is not a whole number of 1 or more" in capsys.readouterr().err
