"""A profile's sample of whole blocks: timed once, with the schedules that the table counts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cost_models.database.records import BlockTiming, Measurement
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.errors import LoweringError, MissingEntry
from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Activation, Add, Conv2d
from cost_models.lowering.pipeline import Compiled
from cost_models.profiling import blocks as block_runs
from cost_models.profiling.blocks import Block, time_blocks
from cost_models.profiling.context import MeasureContext, measure_context
from cost_models.profiling.profiler import measure
from cost_models.tuning.effort import Effort

from ..measuring import quick_target


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasureContext]:
    folder = tmp_path_factory.mktemp("context")
    target = quick_target(folder)
    with MeasurementStore.open(folder / "m.sqlite") as store, measure_context(target, store) as context:
        yield context


def block(name: str, channels: int) -> Block:
    net, wide = GraphBuilder(), 2 * channels
    value = net.add("act", Activation("relu"), net.conv_bn("expand", Conv2d(channels, wide), "x"))
    value = net.add("sum", Add(), net.conv_bn("project", Conv2d(wide, channels), value), "x")
    return name, net.build(value), {"x": (1, channels, 8, 16)}


def table_of(context: MeasureContext, *blocks: Block) -> LatencyTable:
    """After all kernels of the blocks have got default timings."""
    kernels = [kernel for _, graph, inputs in blocks for kernel in split_into_kernels(graph, inputs)]
    measure(context, list(dict.fromkeys(kernels)), Effort.alone(0))
    return LatencyTable.from_history(context.history, context.target.name)


def timings_of(context: MeasureContext, name: str) -> list[BlockTiming]:
    found = context.history.store.block_timings(context.history.environment).values()
    return [timing for timing in found if timing.block.startswith(f"{name} ")]


def test_blocks_are_timed_once_with_warm_and_cold_caches(shared: MeasureContext) -> None:
    blocks = [block("small", 8), block("large", 16)]
    table = table_of(shared, *blocks)
    additivity = time_blocks(shared, table, blocks)
    assert len(additivity.blocks) == 2
    for name, graph, inputs in blocks:
        warm, cold = timings_of(shared, name)
        assert (warm.cache, cold.cache) == ("warm", "cold")
        for timing in (warm, cold):
            assert timing.error is None
            assert timing.sum_s == pytest.approx(table.graph(graph, inputs).median_s)
            assert timing.board == shared.fleet.boards()[0].name
            assert len(timing.samples_s) == 3
        assert f"{name} {inputs['x'][1]}x8x16 #" in warm.block
    before = shared.history.store.block_timings(shared.history.environment)
    assert time_blocks(shared, table, blocks) == additivity
    assert shared.history.store.block_timings(shared.history.environment) == before
    assert [path.name for path in Path(shared.pool._folder.name).glob("*.so")] == ["reference.so"]


def test_when_its_kernels_have_become_faster_a_block_is_timed_again(shared: MeasureContext) -> None:
    one = block("again", 24)
    time_blocks(shared, table_of(shared, one), [one])
    kernel = split_into_kernels(one[1], one[2])[0]
    timing = Measurement(kernel=kernel.key, how="default", samples_s=(1e-9,))
    shared.history.store.add_measurement(shared.history.environment, timing)
    table = LatencyTable.from_history(shared.history, shared.target.name)
    (whole,) = time_blocks(shared, table, [one]).blocks
    assert whole.sum_s == pytest.approx(table.graph(one[1], one[2]).median_s)
    assert [timing.cache for timing in timings_of(shared, "again")] == ["warm", "cold"] * 2


def test_a_block_that_cannot_be_built_is_stored_as_failed_and_left_out(
    shared: MeasureContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = block("good", 32), block("bad", 40)
    table, build_block = table_of(shared, good, bad), block_runs.build_block

    def build(graph: Any, inputs: Any, *more: Any, **options: Any) -> Compiled:
        if inputs == bad[2]:
            raise LoweringError("no code for it\nat all")
        return build_block(graph, inputs, *more, **options)

    monkeypatch.setattr(block_runs, "build_block", build)
    additivity = time_blocks(shared, table, [bad, good])
    assert [whole.block.partition(" ")[0] for whole in additivity.blocks] == ["good"]
    warm, cold = timings_of(shared, "bad")
    assert warm.error == cold.error
    assert "\n" not in str(warm.error)
    assert (warm.samples_s, warm.board) == ((), "")


def test_a_block_that_does_not_run_is_stored_as_failed(
    shared: MeasureContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = block("broken", 48)
    table = table_of(shared, one)
    monkeypatch.setattr(
        block_runs,
        "build_block",
        lambda graph, inputs, target, tuned, path, **_: path.write_text("no library"),
    )
    assert time_blocks(shared, table, [one]).blocks == ()
    assert [bool(timing.error) for timing in timings_of(shared, "broken")] == [True, True]


def test_a_block_whose_kernels_are_not_measured_is_refused(shared: MeasureContext) -> None:
    with pytest.raises(MissingEntry, match="not measured on quick-cpu"):
        time_blocks(shared, table_of(shared), [block("unknown", 56)])
