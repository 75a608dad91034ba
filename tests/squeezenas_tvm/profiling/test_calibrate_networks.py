"""Networks of a space drawn, timed whole and calibrated on; every command then estimates with that."""

import json
import math
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

import squeezenas_tvm as st
from cost_models.database.environment import environment
from cost_models.database.history import History
from cost_models.database.network_records import AboutFile
from cost_models.database.profiled_networks import FILE, ProfiledNetwork, ProfiledNetworks
from cost_models.database.records import BlockTiming, Measurement
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.errors import IncompatibleNetworkModel
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.lookup import cost_model
from cost_models.network_models.network_model import MODEL, NETWORKS, NetworkModel, load_networks
from cost_models.profiling.blocks import describe
from cost_models.profiling.networks import ROUNDS, Network
from cost_models.tuning.effort import Effort
from search.architecture import load_architecture
from search.costs.kernel_table import network_graph
from search.spaces.registry import get_space
from squeezenas_tvm.networks import main as networks_main
from squeezenas_tvm.predict import main as predict_main
from squeezenas_tvm.profiling.calibrate_networks import calibrate, draw_networks, fit_network_model, graph_of
from squeezenas_tvm.profiling.measure import Measured, Wanted, measure_kernels
from targets import Target, load_target

from ..helpers import NAME, SIZE, fill, kernels_of, quick_target, seconds

SMALL = get_space("small")
GAP_S, OVERHEAD_S = 2e-5, 3e-4
COUNT = 12
FILES_TAKE = 1.5


def hidden_s(network: Network) -> float:
    """Made up: kernels as in the table, launches and an overhead; those from files take longer."""
    times = FILES_TAKE if isinstance(network.about, AboutFile) else 1.0
    return times * (sum(map(seconds, network.kernels)) + GAP_S * len(network.kernels) + OVERHEAD_S)


def store_timings(store: MeasurementStore, where: str, networks: list[Network]) -> None:
    draw = random.Random(0)
    for network in networks:
        more = {"network": network.about.description}
        key = describe(store, network.name, network.inputs, network.kernels, more)
        sum_s = sum(map(seconds, network.kernels))
        for _ in range(ROUNDS):
            samples_s = tuple(hidden_s(network) * math.exp(draw.gauss(0, 0.01)) for _ in range(3))
            store.add_block_timing(
                where, BlockTiming(block=key, cache="warm", samples_s=samples_s, sum_s=sum_s)
            )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of this machine: kernels and networks of Small at 64x128, all by a formula."""
    folder = tmp_path_factory.mktemp("profile")
    target = load_target("local-cpu")
    with MeasurementStore.open(fill(folder, target, kernels_of())) as store:
        store_timings(store, store.find_environment(environment(target)), draw_networks(SMALL, SIZE, COUNT))
    measure_kernels(target, Wanted(kernels=[], effort=Effort.alone(0)), folder)
    return folder


def model_of(folder: Path) -> NetworkModel:
    return NetworkModel.load(folder, fingerprint=LatencyTable.load(folder).fingerprint)


# --- drawing ---


def test_networks_are_different_from_small_to_large_and_the_same_each_time() -> None:
    networks = draw_networks(SMALL, SIZE, COUNT)
    macs = [sum(kernel.macs for kernel in network.kernels) for network in networks]
    assert len({network.about for network in networks}) == COUNT
    assert macs == sorted(macs)
    assert macs[-1] > 2 * macs[0]
    steps = [after - before for before, after in pairwise(macs)]
    assert max(steps) < 3 * (macs[-1] - macs[0]) / (COUNT - 1)
    assert [n.about for n in draw_networks(SMALL, SIZE, COUNT)] == [n.about for n in networks]
    assert [n.about for n in draw_networks(SMALL, SIZE, COUNT, seed=1)] != [n.about for n in networks]
    assert draw_networks(SMALL, SIZE, 0) == []


def test_a_space_of_one_network_gives_that() -> None:
    (network,) = draw_networks(get_space("mobilenetv3-small"), SIZE, 5, num_classes=11)
    assert (network.about.num_classes, network.about.resolution) == (11, (64, 128))
    assert list(graph_of(network.about).kernels) == list(network.kernels)


# --- calibrating ---


def test_a_profile_calibrates_on_what_is_on_record(folder: Path) -> None:
    model = model_of(folder)
    assert model.gap_s == pytest.approx(GAP_S, rel=0.5)
    assert model.errors is not None
    assert (model.errors.count, len(load_networks(folder))) == (COUNT, COUNT)
    assert model.errors.median < 0.02
    document = json.loads((folder / MODEL).read_text(encoding="utf-8"))
    assert document["made_by"].startswith("squeezenas_tvm profile")
    assert model.origin.startswith(f"{COUNT} networks timed whole on ")


def test_the_table_of_networks_is_enough_to_calibrate_again(folder: Path) -> None:
    model = model_of(folder)
    again = calibrate(load_networks(folder), LatencyTable.load(folder))
    assert again is not None
    assert again[0].gap_s == pytest.approx(model.gap_s, rel=1e-3)
    assert again[0].left_out == pytest.approx(model.left_out, abs=1e-4)


def test_too_few_networks_leave_the_plain_sum(folder: Path) -> None:
    assert calibrate(load_networks(folder)[:4], LatencyTable.load(folder)) is None


@pytest.mark.slow
def test_real_networks_are_built_timed_and_added(tmp_path: Path) -> None:
    target = load_target(quick_target(tmp_path))
    networks = draw_networks(SMALL, SIZE, 5)
    with MeasurementStore.open(fill(tmp_path, target, kernels_of())) as store:
        store_timings(store, store.find_environment(environment(target)), networks[1:])
    done: Measured = measure_kernels(
        target, Wanted(kernels=[], effort=Effort.alone(0), networks=networks), tmp_path
    )
    assert done.network_model == model_of(tmp_path)
    assert {network.about for network in load_networks(tmp_path)} == {network.about for network in networks}
    (real,) = [network for network in load_networks(tmp_path) if network.about == networks[0].about]
    assert 2 <= len(real.rounds_s) <= ROUNDS
    assert real.median_s > 0


def test_networks_with_kernels_that_are_not_measured_are_left_out_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = load_target(quick_target(tmp_path))
    networks = draw_networks(SMALL, SIZE, 2)
    missing = networks[1].kernels[0].key
    fill(tmp_path, target, [kernel for kernel in kernels_of() if kernel.key != missing])
    done = measure_kernels(target, Wanted(kernels=[], effort=Effort.alone(0), networks=networks), tmp_path)
    assert done.network_model is None
    assert "2 networks are not timed: kernels of theirs have no timing" in caplog.text


def test_a_calibration_that_no_longer_holds_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = load_target(quick_target(tmp_path))
    networks = draw_networks(SMALL, SIZE, 6)
    with MeasurementStore.open(fill(tmp_path, target, kernels_of())) as store:
        fingerprint = environment(target)
        where = store.find_environment(fingerprint)
        store_timings(store, where, networks)
        table = LatencyTable.from_history(History.of(store, fingerprint), target.name)
        model = fit_network_model(table, History(store, where), tmp_path, "a test")
        assert model == NetworkModel.load(tmp_path, fingerprint=fingerprint)
        for kernel in kernels_of():
            faster = Measurement(kernel=kernel.key, how="default", samples_s=(seconds(kernel) / 2,))
            store.add_measurement(where, faster)
        table = LatencyTable.from_history(History.of(store, fingerprint), target.name)
        assert fit_network_model(table, History(store, where), tmp_path, "a test") is None
    assert not (tmp_path / MODEL).exists()
    assert "kernels run on other schedules now, so it no longer holds; removed" in caplog.text


def as_files(networks: list[Network], folder: Path, target: Target) -> list[Network]:
    """The same networks as ``profile`` keeps those from files."""
    kept = ProfiledNetworks.in_folder(folder, environment(target))
    found = []
    for index, network in enumerate(networks):
        about = AboutFile(f"net{index}.onnx", "1x3x64x128", f"digest{index}")
        graph = KernelGraph.chain(network.kernels)
        entry = ProfiledNetwork(
            name=about.file,
            inputs={"x": [1, 3, 64, 128]},
            digest=about.digest,
            kernels=[kernel.key for kernel in graph.kernels],
            reads=[list(reads) for reads in graph.reads],
        )
        kept = kept.also([entry], graph.kernels, "a test")
        found.append(replace(network, about=about))
    kept.save(folder / FILE)
    return found


def test_networks_from_files_are_calibrated_on_all_and_judged_alone(tmp_path: Path) -> None:
    target = load_target("local-cpu")
    networks, others = draw_networks(SMALL, SIZE, COUNT), draw_networks(SMALL, SIZE, 8, seed=3)
    with MeasurementStore.open(fill(tmp_path, target, kernels_of())) as store:
        where = store.find_environment(environment(target))
        store_timings(store, where, networks)
        alone = measure_kernels(target, Wanted(kernels=[], effort=Effort.alone(0)), tmp_path)
        store_timings(store, where, as_files(others, tmp_path, target))
    measure_kernels(target, Wanted(kernels=[], effort=Effort.alone(0)), tmp_path)
    model = model_of(tmp_path)
    assert alone.network_model is not None
    assert replace(model, files=None, origin="") == replace(alone.network_model, origin="")
    assert model.files is not None
    assert model.files.errors is not None
    assert model.files.errors.count == 8
    assert model.files.origin.startswith(f"{COUNT + 8} networks timed whole on ")
    told = load_networks(tmp_path)
    assert [isinstance(network.about, AboutFile) for network in told] == [False] * COUNT + [True] * 8
    assert len(model.by_others()) == COUNT + 8
    estimates = cost_model(target, tmp_path)
    for network in others:
        total = estimates.network(KernelGraph.chain(network.kernels), of_a_space=False)
        same = estimates.network(KernelGraph.chain(network.kernels))
        assert same.median_s < total.median_s < 2 * same.median_s
        assert total.high_s / total.median_s == pytest.approx(math.exp(model.files.width), rel=0.3)


def test_too_few_files_are_not_told_by_themselves(tmp_path: Path) -> None:
    target, networks = load_target("local-cpu"), draw_networks(SMALL, SIZE, 4)
    with MeasurementStore.open(fill(tmp_path, target, kernels_of())) as store:
        where = store.find_environment(environment(target))
        store_timings(store, where, as_files(networks, tmp_path, target))
    done = measure_kernels(target, Wanted(kernels=[], effort=Effort.alone(0)), tmp_path)
    assert done.network_model is None
    assert len(done.whole) == 4


# --- estimating ---


def test_every_command_estimates_with_it(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target, architecture = load_target("local-cpu"), load_architecture(NAME)
    total = cost_model(target, folder).network(network_graph(architecture, SIZE))
    assert total.calibrated
    kernels = network_graph(architecture, SIZE).kernels
    truth = sum(map(seconds, kernels)) + GAP_S * len(kernels) + OVERHEAD_S
    assert total.low_s < truth < total.high_s
    assert total.median_s == pytest.approx(truth, rel=0.1)
    estimate = st.estimate_latency(architecture, target, SIZE, table=folder)
    assert (estimate.median_s, estimate.low_s, estimate.high_s) == (total.median_s, total.low_s, total.high_s)
    assert (estimate.shares, estimate.calibrated) == ({"measured": pytest.approx(1)}, True)
    given = [NAME, "--target", "local-cpu", "--table", str(folder), "--resolution", str(SIZE)]
    assert predict_main([*given, "--json"]) == 0
    (network,) = json.loads(capfd.readouterr().out)["networks"]
    assert network["latency_ms"]["median"] == pytest.approx(total.median_s * 1e3)
    assert network["calibrated"] is True
    assert networks_main([*given, "--json"]) == 0
    (network,) = json.loads(capfd.readouterr().out)
    assert network["estimated_latency_ms"]["median"] == pytest.approx(total.median_s * 1e3)
    assert networks_main(given) == 0
    assert f"calibrated on {COUNT} networks timed whole" in capfd.readouterr().out


def test_a_calibration_of_another_environment_is_refused(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("kernels.csv", "table.json", MODEL, NETWORKS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    document = json.loads((tmp_path / MODEL).read_text(encoding="utf-8"))
    document["fingerprint"]["device"] = "another CPU"
    document["sha256"].pop(MODEL)
    (tmp_path / MODEL).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(
        IncompatibleNetworkModel, match="another environment: device 'another CPU' instead of"
    ):
        cost_model(load_target("local-cpu"), tmp_path)
    assert predict_main([NAME, "--target", "local-cpu", "--table", str(tmp_path)]) == 2
    assert capfd.readouterr().err.startswith("error: ")
