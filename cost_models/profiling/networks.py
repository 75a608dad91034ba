"""Times networks whole, as they would ship: what the estimate of a network is calibrated on.

All are built before the first is timed, and then timed in rounds, one after the other, so that a slow minute
hits all of them alike. It counts for none: each waits until the reference says that the device is quiet,
rounds that are slower than a network's fastest are left out, and networks that have too few others get more.
"""

import logging
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from onnx import ModelProto

from cost_models.database.history import History
from cost_models.database.network_records import About, AboutFile, WholeNetwork, about_of
from cost_models.database.records import BlockTiming
from cost_models.database.table import LatencyTable
from cost_models.errors import LoweringError
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import Graph
from cost_models.ir.ops import Shape
from cost_models.lowering.best_schedules import tuned_modules
from cost_models.onnx_io.whole_model import numpy_dtype
from cost_models.profiling.blocks import describe
from cost_models.profiling.context import MeasureContext
from cost_models.runner.module_runner import build_block, build_model, time_block
from cost_models.runner.outcome import checked, outcome, remove
from cost_models.runner.reference import Reference
from cost_models.runner.runner import DeviceSession, RunResult, RunSettings
from targets import CompileError
from targets.support.text import brief

_log = logging.getLogger(__name__)
ROUNDS, MOST_ROUNDS = 3, 6
_QUIET = 2  # rounds that agree with the fastest
_DRIFT = 0.1  # by how much the median of a round that does may be over that of the fastest, as a share
_SAME = 0.02  # what the sum of a network's kernels may have changed since it was timed
_POLL_S = 0.2
LEAST_SAMPLES = 3  # of a round
_ROUND_S = 5.0  # of a network that takes so long that the usual number of samples would not end
_WAIT_S = 10.0  # for a quiet device, before a round of a network
_SLOWER = 5  # times as slow as the sum of its kernels, a network has hung


@dataclass(frozen=True)
class Network:
    """A network to be timed.

    Attributes:
        about: what makes it again.
        graph: of a space, from camera frame to classes; of a file, what it says.
        inputs: shape of each input.
        kernels: what its cost is counted as, in the order they run.
        model: of a file, its ONNX with every size a number; None: what the graph writes.
    """

    about: About | AboutFile
    graph: Graph
    inputs: Mapping[str, Shape]
    kernels: Sequence[Kernel]
    model: ModelProto | None = None

    @property
    def name(self) -> str:
        """For people."""
        return self.about.file if isinstance(self.about, AboutFile) else f"network of {self.about.space}"

    @property
    def dtypes(self) -> list[str]:
        """Of each input."""
        if self.model is None:
            return [self.graph.dtype(name) for name in self.inputs]
        return [numpy_dtype(value.type.tensor_type.elem_type) for value in self.model.graph.input]


@dataclass(frozen=True)
class _Due:
    """A network that lacks rounds."""

    key: str
    network: Network
    sum_s: float

    def timing(self, **outcome: Any) -> BlockTiming:
        return BlockTiming(block=self.key, cache="warm", sum_s=self.sum_s, **outcome)


def time_networks(context: MeasureContext, table: LatencyTable, networks: Sequence[Network]) -> None:
    """Bring networks to ``ROUNDS`` timings each, with the schedules that ``table`` counts, and store them; to
    as many as ``MOST_ROUNDS`` where fewer than two agree with the fastest.

    What is on record is not done again, unless the sum of its kernels has changed since. A network that
    cannot be built or run is stored as failed; the others go on.

    Call this through the context's ``apart``.

    Raises:
        MissingEntry: a kernel of a network is not in ``table``.
        NoBoardLeft, StoreError, Stopped: all that was measured before is stored.
    """
    jobs = _missing(context, table, networks)
    built: dict[Path, _Due] = {}
    try:
        _build_all(context, jobs, built)
        failed: set[str] = set()
        for index in range(MOST_ROUNDS):
            known = context.history.store.block_timings(context.history.environment).values()
            left = {path: job for path, job in built.items() if job.key not in failed and _lacks(known, job)}
            if not left:
                break
            again = f" of {ROUNDS}" if index < ROUNDS else f": {len(left)} whose rounds disagree"
            context.status.phase = f"timing networks, round {index + 1}{again}"
            failed |= _time_round(context, left)
    finally:
        for path in built:
            remove(path)


def whole_networks(history: History, table: LatencyTable) -> list[WholeNetwork]:
    """Those on record whose kernels still add up to what they did, each once with its latest quiet rounds.

    Args:
        table: of the same history.
    """
    store = history.store
    timings = store.block_timings(history.environment).values()
    found: dict[Any, WholeNetwork] = {}
    for key, description in store.blocks().items():
        rows = [table.rows.get(kernel) for kernel in description["kernels"]]
        if "network" not in description or None in rows:
            continue
        sum_s = sum(row.median_s for row in rows if row)
        rounds = [timing.samples_s for timing in _good(timings, key, sum_s)]
        if rounds:
            about, quiet = about_of(description["network"]), quiet_rounds(rounds)
            counted = quiet if len(quiet) >= _QUIET else rounds
            which = about.digest if isinstance(about, AboutFile) else about
            found[which] = WholeNetwork(about, tuple(map(tuple, counted[-ROUNDS:])), sum_s)
    return [*found.values()]


def quiet_rounds(rounds_s: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """The rounds of a network whose medians agree with the fastest, which is one of them.

    What disturbs a machine makes it slower, never faster.
    """
    levels_s = [statistics.median(samples_s) for samples_s in rounds_s]
    most_s = (1 + _DRIFT) * min(levels_s)
    return [samples_s for samples_s, level_s in zip(rounds_s, levels_s, strict=True) if level_s <= most_s]


def _lacks(known: Collection[BlockTiming], job: _Due) -> bool:
    """Whether a network is to be timed once more."""
    rounds_s = [timing.samples_s for timing in _good(known, job.key, job.sum_s)]
    if len(rounds_s) < ROUNDS:
        return True
    return len(quiet_rounds(rounds_s)) < _QUIET and len(rounds_s) < MOST_ROUNDS


def _good(timings: Iterable[BlockTiming], key: str, sum_s: float) -> list[BlockTiming]:
    """Those of one network that tell its latency with the schedules of today."""
    return [
        timing
        for timing in timings
        if timing.block == key and timing.error is None and timing.sum_s
        if math.isclose(timing.sum_s, sum_s, rel_tol=_SAME)
    ]


def _missing(context: MeasureContext, table: LatencyTable, networks: Sequence[Network]) -> list[_Due]:
    known = context.history.store.block_timings(context.history.environment).values()
    jobs = []
    for network in networks:
        more = {"network": network.about.description}
        key = describe(context.history.store, network.name, network.inputs, network.kernels, more)
        sum_s = sum(table.statistics(kernel).median_s for kernel in network.kernels)
        job = _Due(key, network, sum_s)
        if _lacks(known, job):
            jobs.append(job)
    return jobs


def _build_all(context: MeasureContext, jobs: Sequence[_Due], built: dict[Path, _Due]) -> None:
    """Add those that could be built to ``built``; the others are stored as failed."""
    cut = [
        split_into_kernels(job.network.graph, job.network.inputs)
        if job.network.model is None
        else job.network.kernels
        for job in jobs
    ]
    kernels = list(dict.fromkeys(kernel for kernels in cut for kernel in kernels))
    tuned = tuned_modules(context.history, kernels, context.tvm_target)
    for index, job in enumerate(jobs):
        context.check()
        context.status.phase = f"building network {index + 1} of {len(jobs)}"
        path, network = context.pool.new_path(".so"), job.network
        tvm_target, tools = context.tvm_target, context.tools
        try:
            if network.model is None:
                dtype = context.dtype
                build_block(network.graph, network.inputs, tvm_target, tuned, path, tools=tools, dtype=dtype)
            else:
                build_model(network.model, tvm_target, tuned, path, tools)
        except (LoweringError, CompileError) as error:
            remove(path)
            _keep(context, job.timing(error=brief(error)))
        else:
            built[path] = job


def _time_round(context: MeasureContext, built: Mapping[Path, _Due]) -> set[str]:
    """Time each once and store it as it comes; returns the keys of those that failed."""
    usual = RunSettings.of(context.target.measure)
    failed: set[str] = set()
    ended: Exception | None = None
    with context.quiet():
        pending = {
            context.fleet.submit(
                partial(_timed, context.reference, path, job, settings),
                timeout_s=settings.timeout_s + _WAIT_S,
            ): job
            for path, job in built.items()
            for settings in [_settings(usual, job.sum_s)]
        }
        while pending:
            for future in wait(pending, _POLL_S, FIRST_COMPLETED).done:
                job = pending.pop(future)
                try:
                    result, error, board = outcome(future)
                except Exception as reason:  # no board is left, or the fleet was closed
                    ended = reason
                    continue
                samples_s = result.samples_s if result else ()
                _keep(context, job.timing(samples_s=samples_s, error=error, board=board))
                failed |= {job.key} if error else set()
            context.check()
    if ended is not None:
        raise ended
    return failed


def _settings(usual: RunSettings, sum_s: float) -> RunSettings:
    """Fewer samples of a network that takes seconds, and time enough for them."""
    repeat = max(LEAST_SAMPLES, min(usual.repeat, int(_ROUND_S / sum_s)))
    return replace(usual, repeat=repeat, timeout_s=max(usual.timeout_s, _SLOWER * (repeat + 1) * sum_s))


def _timed(
    reference: Reference, path: Path, job: _Due, settings: RunSettings, session: DeviceSession
) -> RunResult:
    network = job.network
    reference.wait_for_quiet(session, _WAIT_S)
    return checked(time_block(session, path, network.inputs, settings, dtype=network.dtypes))


def _keep(context: MeasureContext, timing: BlockTiming) -> None:
    context.history.store.add_block_timing(context.history.environment, timing)
    if timing.error is not None:
        _log.warning("%s: %s", timing.block, timing.error)
