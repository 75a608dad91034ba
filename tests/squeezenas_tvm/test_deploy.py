"""The deploy command: a bundle that gives the network's own answers, and runs where nothing of ours is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from PIL import Image

from cost_models.database.environment import environment
from cost_models.database.records import Measurement
from cost_models.database.store import MeasurementStore
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.tuning.effort import Effort
from search.architecture import load_architecture
from search.data.scenes.scene import draw_scene
from search.networks.network import Network, build_network
from search.networks.weights import save_weights
from search.resolution import Resolution
from search.spaces.camera import IMAGENET_MEAN, IMAGENET_STD
from squeezenas_tvm.bundles.assemble import FILES, runs_on
from squeezenas_tvm.bundles.images import resize_bilinear
from squeezenas_tvm.bundles.runner import Bundle
from squeezenas_tvm.bundles.values import dataset_ids
from squeezenas_tvm.deploy import KEPT, main
from squeezenas_tvm.profiling.measure import Wanted, measure_kernels
from squeezenas_tvm.run import main as run
from targets import load_target
from targets.support.files import sha256

from .helpers import NAME, ROOT, SIZE, TRIED, command, deploy_arguments, fill, finish

Labels = npt.NDArray[np.uint8]
FRAMES = ("frankfurt_000001_030310", "frankfurt_000001_082087")


def normalised(frame: Labels) -> torch.Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) as networks take it."""
    image = (frame.astype(np.float32) / 255 - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
    return torch.from_numpy(image.transpose(2, 0, 1)[None].copy())


def random_network() -> Network:
    """LAT-Small with random weights; statistics and biases fit the scenes, so that it sees all classes."""
    torch.manual_seed(11)
    network = build_network(load_architecture(NAME))
    batch = torch.cat([normalised(frame) for frame in scenes()])
    with torch.inference_mode():
        for _ in range(50):
            network(batch)
        network.eval()
        network.state_dict()["decoder.classify_high.bias"].sub_(network(batch).mean((0, 2, 3)))
    return network


def labels_of(network: Network, frame: Labels) -> Labels:
    """What PyTorch says of (H, W, 3) uint8: class index (H, W)."""
    with torch.inference_mode():
        return network(normalised(frame)).argmax(1)[0].numpy().astype(np.uint8)


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 by name of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def scene(height: int, width: int, seed: int = 5) -> Labels:
    return draw_scene(height, width, np.random.default_rng(seed))[0]


def scenes() -> Iterator[Labels]:
    return (scene(*SIZE, seed) for seed in range(8))


def agreement(one: Labels, other: Labels) -> float:
    """Share of equal pixels."""
    assert one.shape == other.shape
    return float(np.mean(one == other))


@pytest.fixture(scope="module")
def network() -> Network:
    return random_network()


@pytest.fixture(scope="module")
def weights(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, {name: values.numpy() for name, values in network.state_dict().items()})
    return path


def without_torch(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``squeezenas-tvm ARGV`` in a process that fails if PyTorch was imported."""
    script = (
        "import sys\n"
        "from squeezenas_tvm.__main__ import main\n"
        "code = main(sys.argv[1:])\n"
        "assert sys.modules.get('torch') is None, 'PyTorch was imported'\n"
        "sys.exit(code)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", script, *argv]
    return subprocess.run(line, cwd=cwd, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def deployed(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """A bundle on default schedules, what --json said of it, and what went to stderr."""
    folder = tmp_path_factory.mktemp("deployed")
    given = deploy_arguments(folder / "bundle", "--weights", str(weights), "--trials", "0", "--json")
    done = without_torch("deploy", *given, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "bundle", json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def bundle(deployed: tuple[Path, dict[str, Any], str]) -> Path:
    """Only for tests that do not change it."""
    return deployed[0]


# --- what it makes ---


def test_bundle_is_whole_and_says_what_it_is(
    deployed: tuple[Path, dict[str, Any], str], weights: Path
) -> None:
    bundle, document, said = deployed
    files = sorted([*FILES, "manifest.json"])
    assert files == document["files"]
    assert sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*.*")) == files
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["name"] == NAME
    assert manifest["architecture"]["blocks"] == load_architecture(NAME).blocks
    frame = {"name": "frame", "dtype": "uint8", "shape": [1, *SIZE, 3], "meaning": "frame"}
    assert manifest["inputs"] == [frame]
    classes = {"name": "classes", "dtype": "uint8", "shape": [1, *SIZE], "meaning": "class index"}
    assert manifest["outputs"] == [classes]
    assert manifest["weights"] == {"source": weights.name, "sha256": sha256(weights), "trained": True}
    target = load_target("local-cpu")
    assert manifest["target"] == {
        "name": "local-cpu",
        "device": "cpu",
        "runs_on": runs_on(target),
        "fingerprint": environment(target),
    }
    kernels = document["default_kernels"]
    assert manifest["kernels"] == {"tuned": 0, "default": kernels, "untuned": False}
    assert (document["tuned_kernels"], document["untuned"]) == (0, False)
    assert f"{kernels} of {kernels} kernels run on default schedules: nothing better is on record" in said


def test_each_kernel_of_a_run_is_known_by_its_label(bundle: Path) -> None:
    listed = json.loads((bundle / "kernels.json").read_text(encoding="utf-8"))
    known = {kernel["kernel"]: kernel for kernel in listed["kernels"]}
    loaded = Bundle.load(bundle)
    times = loaded.kernel_times(loaded.frame(scene(*SIZE)), 2, 1)
    assert {own.kernel for own in times.kernels} == known.keys()
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    assert sum(len(own["functions"]) for own in known.values()) == manifest["kernels"]["default"]
    multiplying = [own for own in times.kernels if own.kernel.startswith(("conv", "dw"))]
    assert len(multiplying) > 30
    assert all(own.macs and own.bytes_moved and own.roofline_ms for own in multiplying)


def test_module_says_what_pytorch_says(bundle: Path, network: Network) -> None:
    loaded = Bundle.load(bundle)
    seen = set()
    for frame in scenes():
        labels = loaded.segment(frame)
        assert labels.dtype == np.uint8
        assert agreement(labels, labels_of(network, frame)) >= 0.9999
        seen |= set(np.unique(labels))
    assert len(seen) == 19  # or the comparison would say little


def test_onnx_of_the_bundle_says_the_same(bundle: Path) -> None:
    session = onnxruntime.InferenceSession(bundle / "network.onnx", providers=["CPUExecutionProvider"])
    loaded = Bundle.load(bundle)
    for frame in scenes():
        (labels,) = session.run(None, {"frame": frame[None]})
        assert (labels.dtype, labels.shape) == (np.uint8, (1, *SIZE))
        assert agreement(loaded.segment(frame), labels[0]) >= 0.9999


def test_labels_have_the_size_of_the_image(bundle: Path, network: Network) -> None:
    frame = scene(100, 90)
    labels = Bundle.load(bundle).segment(frame)
    assert labels.shape == (100, 90)
    inner = labels_of(network, resize_bilinear(frame, *SIZE))
    rows = ((np.arange(100) + 0.5) * SIZE.height / 100).astype(int)
    columns = ((np.arange(90) + 0.5) * SIZE.width / 90).astype(int)
    assert agreement(labels, inner[rows[:, None], columns]) >= 0.9999


@pytest.fixture
def smallest(tmp_path: Path) -> str:
    """The file of a network of few kernels."""
    path = tmp_path / "smallest.yaml"
    blocks = ", ".join(["k3e1", "skip", "skip", "skip"] * 5)
    path.write_text(f"space: squeezenas-small\nblocks: [{blocks}]\n", encoding="utf-8")
    return str(path)


def test_pytorch_file_is_deployed_without_pytorch(smallest: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = build_network(load_architecture(smallest)).eval()
    torch.save(network.state_dict(), tmp_path / "random.pth")
    given = deploy_arguments(Path("out"), "--weights", "random.pth")
    done = without_torch("deploy", smallest, *given[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    frame = scene(*SIZE)
    labels = labels_of(network, frame)
    assert len(np.unique(labels)) > 1
    assert agreement(Bundle.load(tmp_path / "out").segment(frame), labels) >= 0.9999


def test_random_weights_are_said_to_be_random(
    smallest: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = [smallest, *deploy_arguments(tmp_path / "out")[1:], "--measurements", str(tmp_path)]
    assert main(given) == 0
    said = capfd.readouterr()
    assert "weights: random, so its labels mean nothing; give --weights FILE for real ones" in said.out
    assert f"next: squeezenas-tvm run {tmp_path / 'out'} IMAGE --out seen" in said.out
    assert f"kernels run on default schedules: nothing better is on record in {tmp_path}" in said.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["weights"] == {"source": None, "sha256": None, "trained": False}


def deployed_kernels() -> list[Kernel]:
    """Distinct kernels of LAT-Small, from frame to labels."""
    graph = load_architecture(NAME).camera_network()
    return list(dict.fromkeys(split_into_kernels(graph, {"frame": (1, *SIZE, 3)})))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A store in which some kernels of LAT-Small have a tuned schedule that nothing beats; and how many."""
    folder = tmp_path_factory.mktemp("records")
    target = load_target("local-cpu")
    chosen = [kernel for kernel in deployed_kernels() if kernel.kind == "depthwise"][:2]
    measure_kernels(target, Wanted(kernels=chosen, effort=Effort.alone(2)), folder)
    with MeasurementStore.open(folder / "measurements.sqlite") as store:
        where = store.find_environment(environment(target))
        for kernel in chosen:
            trials = store.trials(where, kernel.key)
            worked = next(id_ for id_, trial in trials.items() if trial.error is None)
            fastest = Measurement(kernel=kernel.key, how="tuned", samples_s=(1e-9,))
            store.add_measurement(where, fastest, trial=worked)
    return folder, len(chosen)


def test_records_are_used_and_change_no_answer(
    records: tuple[Path, int], weights: Path, network: Network, tmp_path: Path
) -> None:
    folder, count = records
    given = ["--weights", str(weights), "--measurements", str(folder), "--json"]
    done = without_torch("deploy", *deploy_arguments(tmp_path / "out", *given), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["tuned_kernels"] == count
    loaded = Bundle.load(tmp_path / "out")
    kernels = {"tuned": count, "default": document["default_kernels"], "untuned": False}
    assert loaded.manifest["kernels"] == kernels
    for frame in scenes():
        assert agreement(loaded.segment(frame), labels_of(network, frame)) >= 0.9999


def test_trials_that_are_on_record_are_not_made_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = load_target("local-cpu")
    fill(tmp_path, target, deployed_kernels())
    given = ["--measurements", str(tmp_path), "--trials", str(TRIED)]
    assert main(deploy_arguments(tmp_path / "out", *given)) == 0
    count = len(deployed_kernels())
    assert f"tune {count}/{count}, took " in capfd.readouterr().err
    with MeasurementStore.open(tmp_path / "measurements.sqlite", create=False) as store:
        counts = store.trial_counts(store.find_environment(environment(target)))
        assert counts == {kernel.key: TRIED for kernel in deployed_kernels()}
    header = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert header["made_by"] == f"squeezenas_tvm tune, effort {TRIED} trials"


# --- the bundle at work ---


def test_run_shows_what_the_bundle_sees(bundle: Path, tmp_path: Path) -> None:
    frame = scene(*SIZE)
    Image.fromarray(frame).save(tmp_path / "street.png")
    given = [str(bundle), "street.png", "--out", "seen", "--repeats", "3"]
    code, out, said = finish(command("run", *given, cwd=tmp_path))
    assert code == 0, said
    assert "median" in out
    loaded = Bundle.load(bundle)
    ids = np.asarray(Image.open(tmp_path / "seen" / "street-labels.png"))
    assert np.array_equal(ids, dataset_ids(loaded.segment(frame), loaded.classes))
    assert (tmp_path / "seen" / "street-overlay.png").is_file()


def test_runner_in_the_bundle_runs_alone(bundle: Path, tmp_path: Path) -> None:
    """In a Python whose path has the installed libraries and neither this project nor a link to it."""
    there = Path(shutil.copytree(bundle, tmp_path / "device" / "bundle"))
    frame = scene(*SIZE)
    Image.fromarray(frame).save(tmp_path / "device" / "street.png")
    script = (
        "import runpy, sys\n"
        "sys.path.append(sys.argv[1])\n"
        "sys.argv = sys.argv[2:]\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n"
        "    ours = {'squeezenas_tvm', 'search', 'cost_models', 'targets'} & set(sys.modules)\n"
        "    assert not ours, ours\n"
    )
    libraries = sysconfig.get_path("purelib")
    line = [sys.executable, "-I", "-S", "-c", script, libraries, str(there / "run.py"), "street.png"]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*line, "--repeats", "2"], cwd=there.parent, env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "latency in ms over 2 runs: min " in done.stdout
    loaded = Bundle.load(bundle)
    ids = np.asarray(Image.open(there.parent / "street-labels.png"))
    assert np.array_equal(ids, dataset_ids(loaded.segment(frame), loaded.classes))


# --- published weights on real frames ---


def check_published(shared_data: Path, size: Resolution, tmp_path: Path) -> None:
    weights = shared_data / "squeezenas" / "lat_small.pth"
    given = ["--weights", str(weights), "--measurements", str(tmp_path)]
    done = without_torch("deploy", *deploy_arguments(tmp_path / "out", *given, size=size), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    network = build_network(load_architecture(NAME), weights).eval()
    loaded = Bundle.load(tmp_path / "out")
    for name in FRAMES:
        path = shared_data / "cityscapes-sample" / f"{name}_leftImg8bit.png"
        frame = resize_bilinear(np.asarray(Image.open(path).convert("RGB")), *size)
        assert agreement(loaded.segment(frame), labels_of(network, frame)) >= 0.9999


@pytest.mark.slow
def test_published_weights_at_half_size(shared_data: Path, tmp_path: Path) -> None:
    check_published(shared_data, Resolution(512, 1024), tmp_path)


@pytest.mark.slow
def test_published_weights_at_full_size(shared_data: Path, tmp_path: Path) -> None:
    check_published(shared_data, Resolution(1024, 2048), tmp_path)


# --- what must not be taken for a bundle ---


@pytest.mark.parametrize("after_s", [0.0, 0.8])
def test_ctrl_c_leaves_the_older_bundle_and_nothing_else(
    after_s: float, bundle: Path, weights: Path, tmp_path: Path
) -> None:
    older = Path(shutil.copytree(bundle, tmp_path / "out"))
    before = sums(older)
    given = deploy_arguments(Path("out"), "--weights", str(weights), "--measurements", str(tmp_path))
    process = command("deploy", *given, cwd=tmp_path)
    while not list(tmp_path.glob(".out-*")):  # it has begun
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    code, out, said = finish(process)
    assert (code, out) == (130, ""), said
    assert said.splitlines()[-1] == f"stopped: {KEPT}"
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sums(older) == before


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_one_flipped_byte_is_noticed(
    name: str, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    Image.fromarray(scene(*SIZE)).save(tmp_path / "street.png")
    content = bytearray((broken / name).read_bytes())
    content[len(content) // 2] ^= 0x10
    (broken / name).write_bytes(content)
    assert run([str(broken), str(tmp_path / "street.png"), "--out", str(tmp_path / "seen")]) == 2
    said = capfd.readouterr().err
    assert said == (
        f"error: {broken / name} is not what was deployed; copy the bundle again, or deploy again\n"
    )
    assert not (tmp_path / "seen").exists()


def test_image_that_is_none(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("to do", encoding="utf-8")
    code, out, said = finish(command("run", str(bundle), "notes.png", "--out", "seen", cwd=tmp_path))
    assert (code, out) == (2, "")
    assert said.startswith("error: notes.png: damaged, or no PNG, JPEG, BMP, TIFF or WEBP image")
    assert said.count("\n") == 1
