"""Times a sample of blocks whole, each as one module, and stores it: do the latencies of kernels add up?"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cost_models.database.records import BlockTiming
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.errors import LoweringError
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import Graph
from cost_models.ir.ops import Shape
from cost_models.lowering.best_schedules import tuned_modules
from cost_models.profiling.additivity import Additivity
from cost_models.profiling.context import MeasureContext
from cost_models.runner.module_runner import CACHES, Cache, build_block, time_block
from cost_models.runner.outcome import remove
from cost_models.runner.runner import RunSettings
from targets import CompileError, WorkFailed
from targets.support.text import brief

Block = tuple[str, Graph, Mapping[str, Shape]]
"""Name, graph and shapes of its inputs."""


def time_blocks(context: MeasureContext, table: LatencyTable, blocks: Sequence[Block]) -> Additivity:
    """Time blocks with warm and cold caches, with the schedules that ``table`` counts; the rest is on record.

    A block that cannot be built or run is stored as failed, and left out of the result.
    """
    known = context.history.store.block_timings(context.history.environment).values()
    found: list[BlockTiming] = []
    for name, graph, inputs in blocks:
        key = describe(context.history.store, name, inputs, split_into_kernels(graph, inputs))
        sum_s = table.graph(graph, inputs).median_s
        timings = [
            t for t in known if t.block == key and t.sum_s and math.isclose(t.sum_s, sum_s, rel_tol=1e-9)
        ]
        if not {timing.cache for timing in timings} >= set(CACHES):
            timings = _time_whole(context, key, graph, inputs, sum_s)
        found += timings
    return Additivity.of(found)


def describe(
    store: MeasurementStore,
    name: str,
    inputs: Mapping[str, Shape],
    kernels: Sequence[Kernel],
    more: Mapping[str, Any] | None = None,
) -> str:
    """Register what is timed as one module; returns its key.

    Args:
        inputs: shape of each.
        kernels: that it is made of.
        more: what else makes it what it is, as JSON can hold it.
    """
    description = {
        "inputs": {name: list(shape) for name, shape in inputs.items()},
        "kernels": [kernel.key for kernel in kernels],
        **(more or {}),
    }
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:8]
    shape = "x".join(map(str, next(iter(inputs.values()))[1:]))
    key = f"{name} {shape} #{digest}"
    store.add_block(key, description)
    return key


def _time_whole(
    context: MeasureContext, key: str, graph: Graph, inputs: Mapping[str, Shape], sum_s: float
) -> list[BlockTiming]:
    path = context.pool.new_path(".so")
    kernels = list(dict.fromkeys(split_into_kernels(graph, inputs)))
    tuned = tuned_modules(context.history, kernels, context.tvm_target)
    try:
        tools, dtype = context.tools, context.dtype
        build_block(graph, inputs, context.tvm_target, tuned, path, tools=tools, dtype=dtype)
        timings = [_timing(context, key, inputs, sum_s, path, cache) for cache in CACHES]
    except (LoweringError, CompileError) as error:
        timings = [BlockTiming(block=key, cache=cache, error=brief(error), sum_s=sum_s) for cache in CACHES]
        for timing in timings:
            context.history.store.add_block_timing(context.history.environment, timing)
    finally:
        remove(path)
    return timings


def _timing(
    context: MeasureContext, key: str, inputs: Mapping[str, Shape], sum_s: float, path: Path, cache: Cache
) -> BlockTiming:
    """Time a block and store it."""
    timing = _timed(context, key, inputs, sum_s, path, cache)
    context.history.store.add_block_timing(context.history.environment, timing)
    return timing


def _timed(
    context: MeasureContext, key: str, inputs: Mapping[str, Shape], sum_s: float, path: Path, cache: Cache
) -> BlockTiming:
    settings = RunSettings.of(context.target.measure)
    try:
        with context.quiet():
            done = context.fleet.submit(
                lambda session: time_block(session, path, inputs, settings, cache, dtype=context.dtype),
                timeout_s=settings.timeout_s,
            ).result()
    except WorkFailed as failed:
        return BlockTiming(block=key, cache=cache, error=str(failed), sum_s=sum_s)
    result = done.value
    return BlockTiming(
        block=key,
        cache=cache,
        samples_s=result.samples_s,
        error=result.error,
        sum_s=sum_s,
        board=done.board,
    )
