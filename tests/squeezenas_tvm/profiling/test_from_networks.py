"""A device from a few measured networks: from the choice of networks to predictions of all others.

Devices are simulated: a hidden physical model, and noise of 2 % on every latency. The eight published
latencies of the Jetson AGX Xavier are real.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import squeezenas_tvm as st
from cost_models.device_models.fitted_device import FILE, FittedDevice
from cost_models.device_models.prior import Prior
from cost_models.errors import IncompatiblePrior
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.accuracy import spearman
from cost_models.lookup import cost_model, other_devices
from search.architecture import Architecture, architecture_of, list_architectures, load_architecture
from search.costs.kernel_table import network_kernels
from search.data.classes import unnamed
from search.resolution import Resolution
from search.spaces.registry import get_space
from squeezenas_tvm.predict import main as predict
from squeezenas_tvm.profile import main as profile
from squeezenas_tvm.profiling.choose_networks import choose_architectures, draw
from targets import load_target

from ..helpers import refused_by
from ..profiled import profiled

SIZE, SMALL = Resolution(256, 512), Resolution(64, 128)
SPACE = get_space("small")
TARGET = "raspberry-pi-4"
NOISE = 0.02
Device = Callable[[Sequence[Kernel]], float]


def simulated(seed: int) -> Device:
    """Seconds of a network on a device with rates of its own, without noise."""
    random = np.random.default_rng(seed)
    dense = 10 ** random.uniform(10, 12)
    rates = Prior(
        target="hidden",
        macs_per_s={
            "dense": dense,
            "depthwise": dense * random.uniform(0.03, 0.5),
            "grouped": dense * random.uniform(0.1, 0.8),
        },
        bytes_per_s=10 ** random.uniform(9.7, 11.3),
        overhead_s=10 ** random.uniform(-6, -4),
        channel_steps=((1, 1), (32, 1), (1, 8), (16, 16))[seed % 4],
        origin="hidden",
    )
    once_s = 10 ** random.uniform(-5, -3)
    return lambda kernels: once_s + sum(map(rates.predict_s, kernels))


def noisy(seconds: float, random: np.random.Generator) -> float:
    return float(seconds * np.exp(NOISE * random.normal()))


def others(count: int) -> list[Architecture]:
    """Networks that are not among the chosen ones, which are drawn with another seed."""
    return [architecture_of(SPACE, genotype, unnamed(19)) for genotype in draw(SPACE, count, seed=99)]


@pytest.mark.parametrize("seed", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_ten_networks_of_a_simulated_device_tell_two_hundred_others(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    device, random = simulated(seed), np.random.default_rng(seed)
    target = st.load_target(TARGET)
    chosen = choose_architectures(SPACE, SIZE, 10)
    networks = [(a, SIZE, noisy(device(network_kernels(a, SIZE)), random)) for a in chosen]
    model = st.fit_device(target, networks)
    architectures = others(200)
    kernels = [network_kernels(architecture, SIZE) for architecture in architectures]
    totals = [model.network(network) for network in kernels]
    told = np.array([total.median_s for total in totals])
    measured = np.array([noisy(device(network), random) for network in kernels])
    assert spearman(told, measured) > 0.97
    assert np.abs(told / measured - 1).mean() < 0.04
    inside = [total.low_s <= s <= total.high_s for total, s in zip(totals, measured, strict=True)]
    assert np.mean(inside) >= 0.85
    estimate = st.estimate_latency(architectures[0], target, SIZE, table=model)
    assert estimate.median_s == pytest.approx(told[0])
    assert estimate.shares == {"prior": pytest.approx(1)}


def fill_in(path: Path, device: Device, random: np.random.Generator) -> None:
    """Measure the networks of a template, as a user would."""
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    lines = ["network,resolution,latency_ms,note"]
    for row in rows:
        architecture = load_architecture(path.parent / row["network"])
        seconds = noisy(device(network_kernels(architecture, SIZE)), random)
        lines.append(f"{row['network']},{row['resolution']},{1e3 * seconds:.4f},")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Device]:
    """A folder with the template for ten networks, filled in."""
    folder, device = tmp_path_factory.mktemp("project"), simulated(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        argv = ["--target", TARGET, "--space", "small", "--resolution", str(SIZE), "--choose-networks", "10"]
        assert profile(argv) == 0
    (path,) = folder.glob(f"results/{TARGET}/*/measured.csv")
    fill_in(path, device, np.random.default_rng(2))
    return path, device


def test_from_the_choice_to_the_prediction(
    project: tuple[Path, Device],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path, device = project
    assert profile(["--target", TARGET, "--from-networks", str(path), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert len(document["networks"]) == 10
    assert document["left_out"]["mean"] <= document["left_out"]["worst"]
    assert document["interval_factor"] > 1
    assert "jetson-xavier" in document["others"]
    assert sum(document["weights"].values()) == pytest.approx(1)
    saved = tmp_path / "results" / TARGET / FILE
    assert Path(document["path"]).resolve() == saved

    names = ["squeezenas-lat-small", "squeezenas-mac-small"]
    assert predict([*names, "--target", TARGET, "--resolution", str(SIZE), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)["networks"]
    for name, network in zip(names, told, strict=True):
        true_ms = 1e3 * device(network_kernels(load_architecture(name), SIZE))
        assert network["sources"] == {"prior": pytest.approx(1)}
        assert network["latency_ms"]["median"] == pytest.approx(true_ms, rel=0.1)
        assert network["latency_ms"]["low"] < true_ms < network["latency_ms"]["high"]
    assert predict([names[0], "--target", TARGET, "--resolution", str(SIZE)]) == 0
    captured = capfd.readouterr()
    basis = "prior: a physical model, whole networks measured there, no kernel: fitted to 10 measured"
    assert f"{basis} networks (measured.csv, " in captured.out
    assert document["origin"] in captured.out
    assert "far from" not in captured.err

    for form in ([], ["--json"]):
        assert predict([names[0], "--target", TARGET, "--resolution", "1024x2048", *form]) == 0
        captured = capfd.readouterr()
        assert f"{names[0]}: far from all that was measured: " in captured.err
        assert "measure networks with such kernels too, and fit again: profile --from" in captured.err
    assert json.loads(captured.out)["networks"][0]["unsure"]


def test_text_shows_each_network_as_the_others_tell_it(
    project: tuple[Path, Device],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = project[0].read_text().splitlines()
    few = project[0].with_name("few.csv")
    few.write_text("\n".join([*lines[:6], lines[1].rpartition(",")[0] + "9,"]) + "\n")  # one a second time
    out = tmp_path / "elsewhere"
    assert profile(["--target", TARGET, "--from-networks", str(few), "--out", str(out)]) == 0
    said = capfd.readouterr().out
    assert "told by the others ms" in said
    assert f"squeezenas-small-01.yaml {SIZE}" in said
    assert "Nine of ten networks like them lie within a factor of " in said
    assert (
        "squeezenas-small-01.yaml 256x512 was measured several times (lines 2, 7): the median counts." in said
    )
    assert f"Fitted: {out / FILE}" in said
    model = cost_model(load_target(TARGET), out)
    assert isinstance(model.prior, FittedDevice)
    assert model.table is None


def test_a_changed_table_of_another_device_asks_for_a_new_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = load_target(TARGET)
    profiled(Path("results/my-board"), "my-board")
    board = other_devices(target, "float32")["my-board"]
    architectures = choose_architectures(SPACE, SMALL, 5)
    networks = [(a, SMALL, 3 * board.network(network_kernels(a, SMALL)).median_s) for a in architectures]
    fitted = st.fit_device(target, networks, {"my-board": board}).prior
    assert isinstance(fitted, FittedDevice)
    assert set(fitted.others) == {"my-board"}
    path = Path("results") / TARGET / FILE
    fitted.save(path, made_by="a command")
    architecture = st.load_architecture("squeezenas-lat-small")
    estimate = st.estimate_latency(architecture, target, SMALL)
    assert estimate.median_s == pytest.approx(
        3 * board.network(network_kernels(architecture, SMALL)).median_s, rel=0.05
    )
    table = st.LatencyTable.load("results/my-board")
    kernel, row = next(iter(table.rows.items()))
    slower = replace(row, samples_s=tuple(2 * s for s in row.samples_s))
    replace(table, rows={**table.rows, kernel: slower}).save(Path("results/my-board"), made_by="a test")
    with pytest.raises(IncompatiblePrior, match="my-board, which has changed since; fit it again: a command"):
        cost_model(target)


def published() -> list[str]:
    """Lines of a CSV file with the eight latencies of SqueezeNAS's table 1."""
    found = []
    for name in list_architectures():
        for result in load_architecture(name).results:
            if result.latency_ms is not None and "Xavier" in result.conditions:
                found.append(f"{name},1024x2048,{result.latency_ms}")
                break
    return found


def xavier_file(folder: Path, lines: Sequence[str]) -> Path:
    path = folder / "xavier.csv"
    path.write_text("\n".join(["network,resolution,latency_ms", *lines]) + "\n")
    return path


def test_seven_published_latencies_of_the_xavier_tell_the_eighth(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = xavier_file(tmp_path, published())
    argv = ["--target", "jetson-xavier", "--from-networks", str(path), "--out", str(tmp_path / "out")]
    assert profile([*argv, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert len(document["networks"]) == 8
    assert "jetson-xavier" not in document["others"]  # the shipped prior has seen these eight
    assert document["left_out"]["mean"] < 0.1
    assert document["left_out"]["worst"] < 0.2
    said, measured = (
        np.array([network[key] for network in document["networks"]]) for key in ("left_out_ms", "measured_ms")
    )
    assert spearman(said, measured) > 0.9


def test_four_published_latencies_of_the_xavier_tell_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = [line for line in published() if "small" in line or "lat-xlarge" in line]
    rest = {line.split(",")[0]: float(line.split(",")[2]) for line in published() if line not in given}
    assert (len(given), len(rest)) == (4, 4)
    out = tmp_path / "out"
    argv = ["--target", "jetson-xavier", "--from-networks", str(xavier_file(tmp_path, given))]
    assert profile([*argv, "--out", str(out)]) == 0
    capfd.readouterr()
    assert predict([*rest, "--target", "jetson-xavier", "--table", str(out), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)["networks"]
    errors = [abs(network["latency_ms"]["median"] / rest[network["name"]] - 1) for network in told]
    assert np.mean(errors) < 0.15
    assert max(errors) < 0.3


def test_wrong_files_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "few.csv"
    path.write_text("\n".join(["network,resolution,latency_ms", *published()[:3], "nobody,1x1,x"]) + "\n")
    argv = ["--target", "jetson-xavier", "--from-networks", str(path), "--out", str(tmp_path / "out")]
    refused_by(profile, argv, f"{path}: line 5: latency_ms is 'x'", capfd)
    path.write_text("\n".join(["network,resolution,latency_ms", *published()[:3]]) + "\n")
    refused_by(profile, argv, "3 different networks are too few; measure at least 4", capfd)
    refused_by(profile, [*argv[:3], str(tmp_path / "none.csv")], "none.csv: cannot be read", capfd)
    assert not (tmp_path / "out").exists()


def test_a_damaged_fit_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / TARGET
    folder.mkdir(parents=True)
    (folder / FILE).write_text("{}")
    refused_by(predict, ["squeezenas-lat-small", "--target", TARGET], "target: missing; ", capfd)


def test_a_file_that_is_no_fit_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fitted.json").write_text('{"name": "my suit"}')
    given = ["--target", "jetson-orin", "--from-networks", str(tmp_path / "none.csv"), "--out", str(tmp_path)]
    refused_by(profile, given, "fitted.json: there already, and would be overwritten; move it away", capfd)
    assert (tmp_path / "fitted.json").read_text() == '{"name": "my suit"}'
