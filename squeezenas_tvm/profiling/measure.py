"""Measures kernels on a target for ``profile`` and ``deploy``, shows how far it is, saves the table."""

import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.errors import FailedWork
from squeezenas_tvm.profiling.calibrate_networks import fit_network_model, time_whole
from squeezenas_tvm.profiling.fit_predictor import fit_predictor, try_on, try_predictor
from squeezenas_tvm.terminal.progress import Display, Pace, Snapshot, TaskLine, show
from targets.support.files import refuse_others

if TYPE_CHECKING:
    from cost_models.database.history import History
    from cost_models.database.network_records import WholeNetwork
    from cost_models.database.profiled import Profiled
    from cost_models.database.table import LatencyTable
    from cost_models.ir.fusion import Kernel
    from cost_models.kernel_models.accuracy import Errors
    from cost_models.kernel_models.hold_outs import HoldOut
    from cost_models.kernel_models.predictor import Predictor
    from cost_models.network_models.network_model import NetworkModel
    from cost_models.profiling.additivity import Additivity
    from cost_models.profiling.blocks import Block
    from cost_models.profiling.context import MeasureContext
    from cost_models.profiling.networks import Network
    from cost_models.profiling.status import Status
    from cost_models.tuning.effort import Effort
    from targets import Target

SAMPLES = "measurements.sqlite"  # all that was measured; what else is in its folder is made of it
PARTS = ("sampling", "evolution", "build", "upload", "run")


@dataclass(frozen=True)
class Measured:
    """What a run gave.

    Attributes:
        table: of all kernels that its store holds.
        tuning: for JSON: trials, rate and where the time went, in total and by kernel.
        additivity: of the blocks that were also timed whole; None where none was asked for.
        problems: reason by kernel key, for kernels without a working schedule.
        predictor: fitted to the table and saved beside it; None where that has too few rows.
        hold_outs: how good it is on kernels left out of its fit; none where not asked for, or too few rows.
        network_model: fitted to the networks timed whole, saved beside the table; None if they are too few.
        predicted: kernels that were not to be measured.
        left_out: where there are such, errors of the predictor on measured kernels of the space, each left
            out of its fit; None where too few are.
        whole: all networks on record that were timed whole and still run as the table says.
    """

    table: "LatencyTable"
    tuning: Mapping[str, Any]
    additivity: "Additivity | None"
    problems: Mapping[str, str]
    predictor: "Predictor | None" = None
    hold_outs: "Mapping[str, HoldOut]" = field(default_factory=dict)
    network_model: "NetworkModel | None" = None
    predicted: "Sequence[Kernel]" = ()
    left_out: "Errors | None" = None
    whole: "Sequence[WholeNetwork]" = ()


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be measured, and how hard to look for fast schedules.

    Attributes:
        kernels: distinct ones.
        predicted: others of the same space, which are told by these instead.
        blocks, networks: to be timed whole as well.
        seed: of the schedule searches.
    """

    kernels: "Sequence[Kernel]"
    effort: "Effort"
    predicted: "Sequence[Kernel]" = ()
    blocks: "Sequence[Block]" = ()
    networks: "Sequence[Network]" = ()
    seed: int = 0


def measure_kernels(
    target: "Target",
    wanted: Wanted,
    folder: Path,
    *,
    dtype: str = "float32",
    tracker: str | None = None,
    title: str = "profile",
    hold_outs: bool = False,
    shown: bool = True,
    profiled: "Profiled | None" = None,
) -> Measured:
    """Measure on a target, save the table of all that its store holds, fit what estimates the rest.

    Args:
        folder: of the store; what is saved lies beside it.
        title: of the command, for displays and for what is saved.
        hold_outs: try the predictor on kernels left out of its fit, which takes up to half a minute.
        shown: draw how far it is.
        profiled: what the kernels are for; the table says so, beside what the one in ``folder`` said.

    Raises:
        InTheWay: what is saved would overwrite results of others.
        FailedWork: not one kernel could be measured.
    """
    from cost_models.database.records import How
    from cost_models.database.store import MeasurementStore
    from cost_models.profiling.context import measure_context
    from cost_models.profiling.networks import whole_networks

    refuse_others_results(folder)
    with MeasurementStore.open(folder / SAMPLES) as store:
        with measure_context(target, store, dtype=dtype, tracker=tracker) as context:
            table, tuning, additivity = _measure(context, wanted, title, shown)
            boards, history = _boards(context), context.history
        problems = {key: row.reason for key, row in table.rows.items() if row.how == How.ESTIMATED}
        _refuse_failure(wanted.kernels, table, history)
        table = table.also_for(folder, [profiled] if profiled else [])
        table = replace(table, machine=_machine(target), boards=boards)
        made_by = f"squeezenas_tvm {title}, effort {wanted.effort.name}"
        table.save(folder, made_by=made_by)
        predictor = fit_predictor(table, history, folder, made_by)
        network_model = fit_network_model(table, history, folder, made_by)
        tried = try_predictor(table, history, shown) if hold_outs else {}
        own = {*wanted.kernels, *wanted.predicted}
        left_out = try_on(table, history, own) if wanted.predicted else None
        whole = whole_networks(history, table)
    return Measured(
        table=table,
        tuning=tuning,
        additivity=additivity,
        problems=problems,
        predictor=predictor,
        hold_outs=tried,
        network_model=network_model,
        predicted=wanted.predicted,
        left_out=left_out,
        whole=whole,
    )


def time_default_schedules(
    target: "Target",
    kernels: "Sequence[Kernel]",
    folder: Path,
    *,
    title: str,
    timing_s: float,
    shown: bool = True,
) -> "Mapping[Kernel, float]":
    """Time kernels with their default schedules, once more if the store has them; no table is written.

    Args:
        folder: of the store.
        timing_s: at most, for each.

    Returns:
        Seconds of those that ran, each at its fastest.
    """
    from cost_models.database.store import MeasurementStore
    from cost_models.profiling.context import measure_context
    from cost_models.profiling.finalists import time_defaults

    with MeasurementStore.open(folder / SAMPLES) as store:
        for kernel in kernels:
            store.add_kernel(kernel.key, kernel.description)
        with measure_context(target, store) as context, show(title, len(kernels), shown=shown) as display:
            context.status.begin(kernels)
            context.status.phase = "timing default schedules"
            watch = _Watch(display, context, title)
            context.apart(lambda: time_defaults(context, kernels, timing_s), watch)
            seconds = {kernel: context.history.default_s(kernel) for kernel in kernels}
    return {kernel: s for kernel, s in seconds.items() if math.isfinite(s)}


def refuse_others_results(folder: Path, *more: str) -> None:
    """Raise InTheWay where a folder has no measurements, but files by the names of what is made of them.

    Args:
        more: names that are written there, too.
    """
    from cost_models.database.table import HEADER, ROWS
    from cost_models.kernel_models.predictor import MANIFEST, TREES
    from cost_models.network_models.network_model import MODEL, NETWORKS

    if not (folder / SAMPLES).exists():
        names = (HEADER, ROWS, MANIFEST, TREES, MODEL, NETWORKS, *more)
        refuse_others((folder / name for name in names), "name another folder for what is measured")


def _measure(
    context: "MeasureContext", wanted: Wanted, title: str, shown: bool
) -> "tuple[LatencyTable, dict[str, Any], Additivity | None]":
    """Kernels, then blocks and networks whole: their table, where the time went, what adds up."""
    from cost_models.profiling.profiler import measure

    started, kernels = time.monotonic(), wanted.kernels
    with show(title, len(kernels), shown=shown) as display:
        watch = _Watch(display, context, title)
        measure(context, kernels, wanted.effort, watch, seed=wanted.seed)
        tuning = _tuning(context.status, time.monotonic() - started)
        table = _table(context, kernels)
        additivity = _additivity(context, table, wanted.blocks, watch) if wanted.blocks else None
        if wanted.networks:
            time_whole(context, table, wanted.networks, watch)
    return table, tuning, additivity


class _Watch:
    """Carries what is going on to the display; called several times a second."""

    def __init__(self, display: Display, context: "MeasureContext", title: str) -> None:
        self._display, self._context, self._title = display, context, title
        self._pace = Pace(time.monotonic(), {})

    def __call__(self) -> None:
        status = self._context.status
        self._pace.note(time.monotonic(), {"trials": status.trials, "timings": status.timed})
        left = {"trials": status.planned - status.trials, "timings": status.timings - status.timed}
        self._display.update(
            Snapshot(
                title=self._title,
                done=status.done,
                total=status.total,
                trials=status.trials,
                trials_per_minute=self._pace.per_minute("trials") if status.trials else None,
                eta_s=self._pace.eta_s(left),
                current=tuple(
                    TaskLine(
                        task.kernel.label,
                        min((trial.median_s for trial in task.trials if trial.error is None), default=None),
                        task.known_s if math.isfinite(task.known_s) else None,
                        len(task.trials),
                        task.wanted,
                    )
                    for task in self._context.engine.current
                ),
                boards=self._context.fleet.boards(),
                phase=status.phase,
            )
        )


def _tuning(status: "Status", wall_s: float) -> dict[str, Any]:
    """Where the time went. Building and measuring overlap, so the parts may add up to more than the whole."""
    work = {kernel: w for kernel, w in status.work.items() if w.trials}
    total = {f"{part}_s": sum(getattr(w, f"{part}_s") for w in work.values()) for part in PARTS}
    trials = sum(w.trials for w in work.values())
    return {
        "trials": trials,
        "valid": sum(w.valid for w in work.values()),
        "wall_s": wall_s,
        "trials_per_minute": 60 * trials / wall_s if trials else None,
        **total,
        "kernels": {kernel.key: asdict(w) for kernel, w in work.items()},
    }


def _table(context: "MeasureContext", wanted: "Sequence[Kernel]") -> "LatencyTable":
    """The table; kernels without a working schedule are estimated from those that have one."""
    from cost_models.database.table import LatencyTable
    from cost_models.kernel_models.roofline import PhysicalModel

    measured = LatencyTable.from_history(context.history, context.target.name)
    by_key = {kernel.key: kernel for kernel in wanted}
    known = [kernel for kernel in wanted if kernel.key in measured.rows]
    if len(known) == len(wanted) or not known:
        return measured
    model = PhysicalModel.fit(known, [measured.statistics(kernel).median_s for kernel in known])

    def guess(key: str, description: Mapping[str, Any]) -> float | None:
        return model.predict_s(by_key[key]) if key in by_key else None

    return LatencyTable.from_history(context.history, context.target.name, guess)


def _additivity(
    context: "MeasureContext", table: "LatencyTable", blocks: "Sequence[Block]", watch: _Watch
) -> "Additivity":
    from cost_models.errors import MissingEntry
    from cost_models.profiling.blocks import time_blocks

    whole = []
    for name, graph, inputs in blocks:
        try:
            table.graph(graph, inputs)
        except MissingEntry:
            continue
        whole.append((name, graph, inputs))
    context.status.phase = "timing blocks whole"
    return context.apart(lambda: time_blocks(context, table, whole), watch)


def _refuse_failure(wanted: "Sequence[Kernel]", table: "LatencyTable", history: "History") -> None:
    """Raise FailedWork where kernels were wanted and not one of them ran."""
    if not wanted or any(kernel.key in table.rows and table.rows[kernel.key].samples_s for kernel in wanted):
        return
    measured = history.store.measurements(history.environment).values()
    reasons = {found.kernel: found.error for found in measured if found.error is not None}
    reason = next(iter(reasons.values()), "no reason given")
    raise FailedWork(f"not one of {len(wanted)} kernels could be measured on {table.target}: {reason}")


def _boards(context: "MeasureContext") -> list[dict[str, Any]]:
    """What was measured on, with the state that each board told before and after; none for this machine."""
    if context.target.kind == "local":
        return []
    return [
        {
            "name": board.name,
            "done": board.done,
            "failures": board.failures,
            "before": asdict(board.first) if board.first else None,
            "after": asdict(board.last) if board.last else None,
        }
        for board in context.fleet.boards()
    ]


def _machine(target: "Target") -> str:
    """Where and when, in words, for whoever reads a shipped table."""
    today = date.today().isoformat()
    if target.kind != "local":
        return f"{target.summary}; measured over RPC from {platform.node()}, {today}"
    from targets import LocalMachine

    machine = LocalMachine.detect()
    memory_gib = machine.memory_bytes / 2**30
    return f"{machine.cpu_model}, {machine.physical_cores} cores, {memory_gib:.0f} GiB, {today}"
