"""Estimates in Python: from tables, folders, priors, and what nothing tells."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import squeezenas_tvm as st
from cost_models.cost_model import CostModel
from cost_models.errors import IncompatibleTable, InvalidGraph, MissingEntry
from cost_models.lookup import cost_model
from cost_models.tuning.effort import Effort
from search.costs.kernel_table import network_graph
from search.errors import InvalidResolution
from search.resolution import Resolution
from squeezenas_tvm.networks import _describe
from squeezenas_tvm.profiling.measure import Wanted, measure_kernels

from ..helpers import ROOT, SIZE, fill, kernels_of

NAME = "squeezenas-lat-small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with results/local-cpu: all kernels of Small at 64x128, by a formula."""
    folder = tmp_path_factory.mktemp("project")
    target = st.load_target("local-cpu")
    fill(folder / "results" / "local-cpu", target, kernels_of())
    measure_kernels(target, Wanted(kernels=[], effort=Effort.alone(0)), folder / "results" / "local-cpu")
    return folder


def python(script: str, cwd: Path) -> str:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_five_lines(folder: Path) -> None:
    said = python(
        "import squeezenas_tvm as st\n"
        "target = st.load_target('local-cpu')\n"
        f"arch = st.load_architecture('{NAME}')\n"
        "table = st.LatencyTable.load('results/local-cpu')\n"
        "by_table = st.estimate_latency(arch, target, resolution=(64, 128), table=table)\n"
        "by_folder = st.estimate_latency(arch, target, resolution=(64, 128), table='results/local-cpu')\n"
        "seconds = st.estimate_latency(arch, target, resolution=(64, 128))\n"
        "assert seconds == by_table == by_folder\n"
        "print(seconds)\n",
        cwd=folder,
    )
    assert said.startswith("NetworkEstimate(median_s=0.0")
    assert "shares={'measured': 1.0}, unsure=(), calibrated=False" in said


def test_estimate_is_the_number_that_networks_shows(folder: Path) -> None:
    target, architecture = st.load_target("local-cpu"), st.load_architecture(NAME)
    table = st.LatencyTable.load(folder / "results" / "local-cpu")
    estimate = st.estimate_latency(architecture, target, SIZE, table=table)
    model = CostModel("local-cpu", table)
    shown = _describe(architecture, SIZE, model)["estimated_latency_ms"]
    assert (shown["median"], shown["low"], shown["high"]) == pytest.approx(
        (estimate.median_s * 1e3, estimate.low_s * 1e3, estimate.high_s * 1e3)
    )
    assert estimate.low_s < estimate.median_s < estimate.high_s
    assert estimate.median_s == model.network(network_graph(architecture, SIZE)).median_s
    assert st.estimate_latency(architecture, target, SIZE, table=model) == estimate


def test_what_was_not_measured_is_predicted_and_says_so(folder: Path) -> None:
    target, architecture = st.load_target("local-cpu"), st.load_architecture(NAME)
    small, large = (
        st.estimate_latency(architecture, target, size, table=folder / "results" / "local-cpu")
        for size in ((64, 128), (128, 256))
    )
    assert small.shares == {"measured": pytest.approx(1)}
    assert large.shares["predicted"] > 0.85
    rows = st.LatencyTable.load(folder / "results" / "local-cpu").rows
    kernels = network_graph(architecture, Resolution(128, 256)).kernels
    told = cost_model(target, folder / "results" / "local-cpu").estimates(kernels)
    sources = ["measured" if kernel.key in rows else "predicted" for kernel in kernels]
    assert [estimate.source for estimate in told] == sources
    assert 0 < sources.count("measured") < len(kernels) / 3
    assert sum(large.shares.values()) == pytest.approx(1)
    assert large.median_s > small.median_s
    assert not large.calibrated


def test_a_device_nobody_has_attached_is_told_by_its_prior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    estimate = st.estimate_latency(st.load_architecture(NAME), st.load_target("jetson-xavier"))
    assert estimate.shares == {"prior": pytest.approx(1)}


def test_what_nothing_tells_is_an_error(folder: Path, tmp_path: Path) -> None:
    target, architecture = st.load_target("local-cpu"), st.load_architecture(NAME)
    table = st.LatencyTable.load(folder / "results" / "local-cpu")
    with pytest.raises(MissingEntry, match="not measured on local-cpu; measure it with: squeezenas-tvm"):
        st.estimate_latency(architecture, target, (128, 128), table=table)
    with pytest.raises(InvalidResolution, match="the nearest that works is 64x64"):
        st.estimate_latency(architecture, target, (7, 7), table=table)
    with pytest.raises(IncompatibleTable, match="a latency table cannot be read"):
        st.estimate_latency(architecture, target, table=tmp_path)
    with pytest.raises(IncompatibleTable, match="is a table of local-cpu, not of jetson-xavier"):
        st.estimate_latency(
            architecture, st.load_target("jetson-xavier"), table=folder / "results" / "local-cpu"
        )


def test_predicting_says_the_same_and_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    target, architecture = st.load_target("local-cpu"), st.load_architecture(NAME)
    estimate = st.estimate_latency(architecture, target, SIZE)
    predicted = st.predict_network(architecture, target, (64, 128))
    assert (predicted.name, predicted.resolution, predicted.sources) == (NAME, "64x128", estimate.shares)
    assert (predicted.median_s, predicted.low_s) == (estimate.median_s, estimate.low_s)
    macs = architecture.network().macs({"x": (1, 3, *SIZE)})
    assert (predicted.macs, predicted.energy_j, predicted.outside) == (macs, None, ())
    with pytest.raises(InvalidGraph, match=r"no\.onnx"):
        st.predict_network("no.onnx", target)


def test_a_device_is_fitted_to_the_networks_chosen_for_it() -> None:
    target, size = st.load_target("jetson-orin"), (64, 128)
    few = st.choose_architectures(st.get_space("small"), 5, size)
    assert len({tuple(architecture.blocks) for architecture in few}) == 5
    seconds = [1e-3 + 1e-11 * a.network().macs({"x": (1, 3, *size)}) for a in few]
    fitted = st.fit_device(target, [(a, size, s) for a, s in zip(few, seconds, strict=True)], others={})
    estimate = st.estimate_latency(few[0], target, size, table=fitted)
    assert estimate.shares == {"prior": pytest.approx(1)}
    assert estimate.median_s == pytest.approx(seconds[0], rel=0.5)
