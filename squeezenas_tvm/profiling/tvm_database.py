"""Schedules of a profile as a database of TVM's own tuner, and such a database as schedules to try.

What TVM's tuner wrote is told by others: its latencies are stored as trials of an environment of their own,
which no table counts. A profile tries the fastest of them, and times what is good.
"""

import bisect
import contextlib
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cost_models.database.environment import differences, environment, told_by
from cost_models.database.history import History
from cost_models.database.records import Measurement, Trial, that_counts
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.errors import CostModelError, IncompatibleTable, InvalidGraph
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import structural_hash
from cost_models.runner.runner import arguments_of
from cost_models.schedules.serialization import replay_trace, trace_text
from cost_models.schedules.trace_text import read_trace
from cost_models.tvm_import import ms
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.measure import SAMPLES
from squeezenas_tvm.profiling.tvm_records import (
    RECORDS,
    WORKLOADS,
    TvmRecord,
    read_records,
    read_workloads,
    without_tags,
)
from targets import Target, load_target
from targets.support.files import refuse_others, sha256
from targets.support.folders import whole_folder

_MOST = 8  # schedules of a kernel that are exported
_TAKEN = 16  # records of a workload that are looked at, which takes some 10 ms each; a profile tries 8
_NAMED = 5  # of unknown workloads

# Why a kernel is left out
TILES = "have schedules that no trace can tell, tiles of our own templates"
UNTRIED = "have no searched schedule that runs"
FOREIGN = "are of others' networks, which alone tell their code"
UNFIT = "have traces that do not apply any more"
# Why a record is skipped
NO_KERNEL = "of workloads that no kernel here equals"
OTHER_TARGET = "of another TVM target"
FAILED = "of schedules that did not run"
SLOW = f"slower than the {_TAKEN} fastest of their workload"
NO_SCHEDULE = "of traces that do not apply, or may not"
KNOWN = "known here"


@dataclass(frozen=True)
class Exported:
    """A database that was written.

    Attributes:
        target: name of the profile's.
        schedules: how many there are of each kernel, by its key.
        faster: of these kernels, those that run faster here by a tile or the default schedule.
        left_out: keys of the other kernels, by the reason.
    """

    target: str
    schedules: Mapping[str, int]
    faster: Sequence[str]
    left_out: Mapping[str, Sequence[str]]

    @property
    def left_out_text(self) -> str:
        """How many kernels are left out, and why."""
        return "; ".join(f"{len(keys)} kernels {reason}" for reason, keys in self.left_out.items())


@dataclass(frozen=True)
class Imported:
    """A database that was taken in.

    Attributes:
        target: name of the profile's.
        schedules: how many were new of each kernel, by its key.
        skipped: how many records were left out, by the reason.
        unmatched: lines of the workloads that no kernel equals, from 1.
    """

    target: str
    schedules: Mapping[str, int]
    skipped: Mapping[str, int]
    unmatched: Sequence[int]

    @property
    def skipped_text(self) -> str:
        """How many records were left out, why, and which workloads no kernel equals."""
        reasons = [f"{count} records {reason}" for reason, count in self.skipped.items()]
        lines = [str(line) for line in self.unmatched[:_NAMED]] + ["..."] * (len(self.unmatched) > _NAMED)
        return "; ".join(reasons + [f"{WORKLOADS}, no kernel: line {', '.join(lines)}"] * bool(lines))


def export_schedules(folder: Path, out: Path, target: Target | None = None) -> Exported:
    """Write the fastest traces of a profile's kernels as TVM's ``JSONDatabase`` keeps them.

    Of a kernel these are the traces that were timed carefully; where none was, the fastest trials.

    Args:
        out: a folder that is not there, or empty.
        target: of the profile; the one of its name when None.

    Raises:
        UsageError: ``out`` cannot be written, or there is no trace.
        InTheWay: something is in ``out``.
        CostModelError: no profile in ``folder``, or of another environment, or no measurements.
    """
    table, target = _profile(folder, target)

    def check() -> None:
        refuse_others(out.iterdir() if out.is_dir() else [out], "name another folder for TVM's database")

    with MeasurementStore.open(folder / SAMPLES, create=False) as store:
        try:
            with whole_folder(out, check) as place:
                exported = _write(place, table, History.of(store, table.fingerprint), target.tvm_target())
                if not exported.schedules:
                    why = exported.left_out_text
                    raise UsageError(f"{folder}: no trace to write: {why}; profile with --trials 16 or more")
        except OSError as error:
            raise UsageError(f"{out}: cannot be written ({error.strerror}); name another folder") from None
    return exported


def _write(place: Path, table: LatencyTable, history: History, tvm_target: Any) -> Exported:
    database = ms.database.JSONDatabase(work_dir=str(place))
    schedules, faster = Counter[str](), list[str]()
    left_out: dict[str, list[str]] = defaultdict(list)
    for kernel, mod in _modules(history, tvm_target).items():
        ran = {id_: trial for id_, trial in history.trials(kernel).items() if trial.error is None}
        traces = {id_: trial for id_, trial in ran.items() if trial.schedule.startswith("[")}
        if not ran and kernel.key not in table.rows:  # of another environment
            continue
        if mod is None or not traces:
            left_out[FOREIGN if traces else TILES if ran else UNTRIED].append(kernel.key)
            continue
        for id_, found in _fastest(history, kernel, traces):
            with contextlib.suppress(CostModelError):
                trace = replay_trace(mod, traces[id_].schedule).trace
                told = database.commit_workload(mod), list(found.samples_s), tvm_target, arguments_of(mod)
                database.commit_tuning_record(ms.database.TuningRecord(trace, *told))
                schedules[kernel.key] += 1
        if not schedules[kernel.key]:
            left_out[UNFIT].append(kernel.key)
        elif history.fastest(kernel)[0] not in traces:
            faster.append(kernel.key)
    return Exported(table.target, +schedules, faster, left_out)


def _fastest(
    history: History, kernel: Kernel, traces: Mapping[int, Trial]
) -> list[tuple[int, Trial | Measurement]]:
    """Ids of traces with what tells their seconds, the fastest first: few samples stand beside no others."""
    timings = history.timings(kernel)
    timed = {id_: timing for id_ in traces if (timing := that_counts(timings.get(id_, ())))}
    known: Mapping[int, Trial | Measurement] = timed or traces
    return sorted(known.items(), key=lambda item: item[1].median_s)[:_MOST]


def import_schedules(folder: Path, database: Path, target: Target | None = None) -> Imported:
    """Take in the fastest schedules of a database that TVM's tuner wrote: all that are of use here, or none.

    Args:
        folder: of a profile, whose kernels they are for.
        database: folder of a ``JSONDatabase``.
        target: of the profile; the one of its name when None.

    Raises:
        UsageError: no such database, a damaged or too large one, or one without a record that is of use here.
        CostModelError: no profile in ``folder``, or of another environment, or no measurements.
    """
    table, target = _profile(folder, target)
    with MeasurementStore.open(folder / SAMPLES, create=False) as store:
        trials, imported = _matching(database, History.of(store, table.fingerprint), target)
        if trials:
            source = {"tvm_database": str(database), "sha256": sha256(database / RECORDS)}
            store.add_trials(store.add_environment(told_by(table.fingerprint, source)), trials)
        elif KNOWN not in imported.skipped:
            why = imported.skipped_text or "no records"
            raise UsageError(f"{database}: nothing in it is of use for {folder}: {why}")
    return imported


def _matching(database: Path, history: History, target: Target) -> tuple[list[tuple[str, Trial]], Imported]:
    """New trials, each after its kernel's key, and what is told of them and of the other records."""
    workloads = read_workloads(database)
    kernels = {
        kernel.module or (kernel.key if mod is None else structural_hash(mod)): (kernel, mod)
        for kernel, mod in _modules(history, target.tvm_target()).items()
    }
    unmatched = [line for line, told in enumerate(workloads, 1) if told not in kernels]
    skipped: Counter[str] = Counter()
    trials: list[tuple[str, Trial]] = []
    here = without_tags(json.loads(history.fingerprint["tvm_target"]))
    for told, records in _best(database, workloads, kernels.keys(), here, skipped).items():
        kernel, mod = kernels[told]
        known = {trial.schedule for trial in history.trials(kernel).values()} | history.told(kernel).keys()
        for record in records:
            text = _text(record.trace, mod)
            if text is None or text in known:
                skipped[NO_SCHEDULE if text is None else KNOWN] += 1
            else:
                known.add(text)
                trials.append((kernel.key, Trial(schedule=text, samples_s=record.samples_s)))
    return trials, Imported(target.name, Counter(key for key, _ in trials), skipped, unmatched)


def _best(
    database: Path, workloads: Sequence[str], known: Collection[str], here: Any, skipped: Counter[str]
) -> dict[str, list[TvmRecord]]:
    """The fastest records of each known workload, by its hash, the fastest first; the others are counted."""
    best: dict[str, list[TvmRecord]] = defaultdict(list)
    for record in read_records(database, len(workloads)):
        told = workloads[record.workload]
        if told not in known:
            skipped[NO_KERNEL] += 1
        elif record.target != here:
            skipped[OTHER_TARGET] += 1
        elif not record.samples_s:
            skipped[FAILED] += 1
        else:
            bisect.insort(best[told], record, key=lambda record: statistics.median(record.samples_s))
            if best[told][_TAKEN:]:
                skipped[SLOW] += 1
                del best[told][_TAKEN:]
    return best


def _text(trace: Any, mod: Any) -> str | None:
    """A record's trace as schedules are stored; None where it does not fit, or nobody may apply it."""
    text = json.dumps(trace, separators=(",", ":"))
    try:
        return text if mod is None and read_trace(text) else trace_text(replay_trace(mod, text))
    except CostModelError:
        return None


def _profile(folder: Path, target: Target | None) -> tuple[LatencyTable, Target]:
    """The table in ``folder`` and its target. Raises IncompatibleTable where this is not its environment."""
    table = LatencyTable.load(folder, target=target.name if target else None)
    known = target or load_target(table.target)
    here = environment(known, str(table.fingerprint.get("dtype")))
    if differing := differences(table.fingerprint, here):
        raise IncompatibleTable(
            f"{folder}: was measured in another environment ({', '.join(differing)}); give the command there"
        )
    return table, known


def _modules(history: History, tvm_target: Any) -> dict[Kernel, Any]:
    """The kernels of a store, each with its module; None of those that only their network tells."""
    dtype = str(history.fingerprint["dtype"])
    modules: dict[Kernel, Any] = {}
    for told in history.store.kernels().values():
        modules[kernel := Kernel.from_description(told)] = None
        if kernel.is_writable:
            with contextlib.suppress(InvalidGraph, ValueError):  # alone TVM cannot take it, or cuts it
                modules[kernel] = kernel_module(kernel, tvm_target, dtype)
    return modules
