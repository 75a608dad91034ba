"""Networks timed whole on a real server: in rounds, once, with the schedules of the table, whatever fails."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cost_models.database.network_records import About
from cost_models.database.records import BlockTiming, Measurement
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.errors import LoweringError, MissingEntry
from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Activation, Conv2d, Normalize
from cost_models.lowering.pipeline import Compiled
from cost_models.profiling import networks as network_runs
from cost_models.profiling.context import MeasureContext, measure_context
from cost_models.profiling.networks import (
    MOST_ROUNDS,
    ROUNDS,
    Network,
    quiet_rounds,
    time_networks,
    whole_networks,
)
from cost_models.profiling.profiler import measure
from cost_models.runner.runner import RunResult
from cost_models.tuning.effort import Effort
from cost_models.tuning.scheduler import Stopped

from ..measuring import quick_target


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasureContext]:
    folder = tmp_path_factory.mktemp("context")
    target = quick_target(folder)
    with MeasurementStore.open(folder / "m.sqlite") as store, measure_context(target, store) as context:
        yield context


@pytest.fixture
def no_more_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much this machine is disturbed."""
    monkeypatch.setattr(network_runs, "MOST_ROUNDS", ROUNDS)


def network(name: str, channels: int) -> Network:
    """From a camera's frame of 16 x 32 pixels through two convolutions."""
    net = GraphBuilder(("frame",))
    image = net.add("image", Normalize((0.5,) * 3, (0.2,) * 3), "frame")
    value = net.add("act", Activation("relu"), net.conv_bn("stem", Conv2d(3, channels, 3, 2, 1), image))
    graph, inputs = net.build(net.conv_bn("head", Conv2d(channels, 19), value)), {"frame": (1, 16, 32, 3)}
    about = About("a-space", (name, "skip"), 19, (16, 32))
    return Network(about, graph, inputs, split_into_kernels(graph, inputs))


def table_of(context: MeasureContext, *networks: Network) -> LatencyTable:
    """After all kernels of the networks have got default timings."""
    kernels = dict.fromkeys(kernel for one in networks for kernel in one.kernels)
    measure(context, list(kernels), Effort.alone(0))
    return LatencyTable.from_history(context.history, context.target.name)


def timings_of(context: MeasureContext) -> list[BlockTiming]:
    return list(context.history.store.block_timings(context.history.environment).values())


def names_of(context: MeasureContext, timings: list[BlockTiming]) -> list[str]:
    blocks = context.history.store.blocks()
    return [str(blocks[timing.block]["network"]["blocks"][0]) for timing in timings]


@pytest.mark.usefixtures("no_more_rounds")
def test_networks_are_timed_in_rounds_and_once(shared: MeasureContext) -> None:
    networks = [network("small", 8), network("large", 24)]
    table, before = table_of(shared, *networks), len(timings_of(shared))
    time_networks(shared, table, networks)
    timings = timings_of(shared)[before:]
    names = names_of(shared, timings)
    rounds = [set(names[start : start + 2]) for start in range(0, len(names), 2)]
    assert rounds == [{"small", "large"}] * ROUNDS  # in a round one may be tried once more, after the other
    for timing in timings:
        assert (timing.error, timing.board, timing.cache) == (None, shared.fleet.boards()[0].name, "warm")
        assert len(timing.samples_s) == 3
        assert timing.block.startswith("network of a-space 16x32x3 #")
    for one, wanted in zip(whole_networks(shared.history, table)[-2:], networks, strict=True):
        assert one.about == wanted.about
        assert 2 <= len(one.rounds_s) <= ROUNDS
        assert one.sum_s == pytest.approx(sum(table.statistics(kernel).median_s for kernel in wanted.kernels))
    time_networks(shared, table, networks)
    assert len(timings_of(shared)) == before + 2 * ROUNDS
    assert [path.name for path in Path(shared.pool._folder.name).glob("*.so")] == ["reference.so"]


@pytest.mark.usefixtures("no_more_rounds")
def test_a_started_network_gets_the_rounds_that_it_lacks(shared: MeasureContext) -> None:
    one = network("started", 40)
    table = table_of(shared, one)
    time_networks(shared, table, [one])
    first = timings_of(shared)[-1]
    with MeasurementStore.open(shared.history.store.path.with_name("other.sqlite")) as other:
        other.add_environment(shared.fingerprint)
        for key, description in shared.history.store.blocks().items():
            other.add_block(key, description)
        other.add_block_timing(shared.history.environment, first)
        elsewhere = replace(shared, history=replace(shared.history, store=other))
        time_networks(elsewhere, table, [one])
        assert len(other.block_timings(shared.history.environment)) == ROUNDS


@pytest.mark.usefixtures("no_more_rounds")
def test_when_its_kernels_have_become_faster_a_network_is_timed_again(shared: MeasureContext) -> None:
    one = network("again", 48)
    table = table_of(shared, one)
    time_networks(shared, table, [one])
    timing = Measurement(kernel=one.kernels[1].key, how="default", samples_s=(1e-9,))
    shared.history.store.add_measurement(shared.history.environment, timing)
    faster = LatencyTable.from_history(shared.history, shared.target.name)
    known = [found.about for found in whole_networks(shared.history, faster)]
    assert one.about not in known
    before = len(timings_of(shared))
    time_networks(shared, faster, [one])
    assert len(timings_of(shared)) == before + ROUNDS
    assert one.about in [found.about for found in whole_networks(shared.history, faster)]


@pytest.mark.usefixtures("no_more_rounds")
def test_a_network_that_cannot_be_built_or_run_is_stored_as_failed_and_the_others_go_on(
    shared: MeasureContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad, broken = network("good", 56), network("bad", 64), network("broken", 72)
    table, build_block = table_of(shared, good, bad, broken), network_runs.build_block

    def build(
        graph: Any, inputs: Mapping[str, Any], tvm_target: Any, tuned: Any, path: Path, **more: Any
    ) -> Compiled:
        if graph == bad.graph:
            raise LoweringError("no code for it\nat all")
        if graph == broken.graph:
            path.write_text("no library")
            return Compiled(executable=None, kernels={})
        return build_block(graph, inputs, tvm_target, tuned, path, **more)

    monkeypatch.setattr(network_runs, "build_block", build)
    before = len(timings_of(shared))
    time_networks(shared, table, [bad, broken, good])
    timings = timings_of(shared)[before:]
    errors = dict(zip(names_of(shared, timings), [timing.error for timing in timings], strict=True))
    assert names_of(shared, timings).count("good") == ROUNDS
    assert [name for name, error in errors.items() if error] == ["bad", "broken"]
    assert len(timings) == ROUNDS + 2
    assert "LoweringError: at all" in caplog.text
    known = [found.about.blocks[0] for found in whole_networks(shared.history, table)]
    assert "good" in known
    assert not {"bad", "broken"} & set(known)


@pytest.mark.parametrize(
    ("levels_ms", "quiet"),
    [((2.0,), 1), ((2.0, 2.1, 2.19), 3), ((2.28, 2.09, 4.27), 2), ((3.38, 6.48, 6.42), 1)],
)
def test_quiet_rounds_agree_with_the_fastest(levels_ms: tuple[float, ...], quiet: int) -> None:
    rounds_s = [(ms / 1e3, ms / 1e3, 9.0) for ms in levels_ms]
    found = quiet_rounds(rounds_s)
    assert len(found) == quiet
    assert set(found) <= set(rounds_s)


@pytest.mark.parametrize(
    ("levels_ms", "taken", "median_ms"),
    [
        ((4.0, 2.0, 2.1), 3, 2.05),  # two agree: the slow one does not count
        ((4.0, 2.0, 4.1, 4.2, 2.1), 5, 2.05),
        ((2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 2.0), MOST_ROUNDS, 32.0),  # none agrees: the last ones count
    ],
)
def test_a_disturbed_network_gets_more_rounds(
    levels_ms: tuple[float, ...],
    taken: int,
    median_ms: float,
    shared: MeasureContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = network(f"disturbed-{taken}", 80 + taken)
    table, wanted = table_of(shared, one), iter(levels_ms)

    def time_block(*_given: Any, **_more: Any) -> RunResult:
        return RunResult(samples_s=(next(wanted) / 1e3,) * 3)

    monkeypatch.setattr(network_runs, "time_block", time_block)
    before = len(timings_of(shared))
    time_networks(shared, table, [one])
    assert len(timings_of(shared)) == before + taken
    (found,) = [own for own in whole_networks(shared.history, table) if own.about == one.about]
    assert found.median_s == pytest.approx(median_ms / 1e3)
    time_networks(shared, table, [one])
    assert len(timings_of(shared)) == before + taken


def test_building_stops_when_it_is_told_to(tmp_path: Path) -> None:
    target = quick_target(tmp_path)
    one = network("stopped", 80)
    with MeasurementStore.open(tmp_path / "m.sqlite") as store, measure_context(target, store) as context:
        table = table_of(context, one)

        def interrupted() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            context.apart(lambda: time_networks(context, table, [one] * 50), interrupted)
        with pytest.raises(Stopped):
            time_networks(context, table, [replace(one, about=replace(one.about, num_classes=5))])


def test_kernels_that_are_not_measured_are_refused(shared: MeasureContext) -> None:
    with pytest.raises(MissingEntry, match="not measured on quick-cpu"):
        time_networks(shared, table_of(shared), [network("unknown", 88)])


def test_what_makes_a_network_again_is_in_the_store(shared: MeasureContext) -> None:
    one = network("described", 96)
    time_networks(shared, table_of(shared, one), [one])
    description = shared.history.store.blocks()[timings_of(shared)[-1].block]
    assert json.loads(json.dumps(description["network"])) == {
        "space": "a-space",
        "blocks": ["described", "skip"],
        "num_classes": 19,
        "resolution": [16, 32],
    }
