"""``predict --calibrate``: a few kernels of a shipped table measured here, which scale all of it."""

import logging
import os

from cost_models.database.profiled import Profiled
from cost_models.database.records import How
from cost_models.database.table import HEADER, LatencyTable
from cost_models.device_models.other_processor import (
    FILE,
    LEAST_KERNELS,
    OtherProcessor,
    ProcessorDocument,
    TimedKernel,
    processor_of,
)
from cost_models.ir.fusion import Kernel
from cost_models.lookup import results_folder, shipped_table
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import HEADS
from search.spaces.registry import spaces_of_table
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.profiling.measure import time_default_schedules
from targets import Target
from targets.support.commands import command_line
from targets.support.files import now_utc

log = logging.getLogger(__name__)

_OF_A_KIND = 3  # kernels of each kind that are measured: a short one, a usual one, a long one
_TIMING_S = 0.5  # of each
_USUAL_CLASSES = 19  # where a table does not say


def calibrate_processor(target: Target, table: object = None, *, shown: bool = True) -> OtherProcessor:
    """Measure a few kernels of the target's shipped table on this machine, and keep what they say of it.

    They are kept in ``results/TARGET``, where every estimate from that table finds them.

    Args:
        table: another than the shipped one that estimates are asked of: it is not scaled, and so refused.
        shown: draw how far it is.

    Raises:
        UsageError: another table, no CPU of this machine, no shipped table, or one that was measured here.
        TargetError, CostModelError: this machine cannot be measured.
        FailedWork: too few kernels ran.
    """
    here, folder = target.local_processor(), results_folder(target.name)
    shipped = shipped_table(target.name)
    if here is None or shipped is None or table is not None or (folder / HEADER).exists():
        raise _nothing_to_scale(target, table)
    known = LatencyTable.load(shipped, target=target.name)
    kernels = chosen_kernels(known)
    load = os.getloadavg()[0]
    if load > here.cores:
        log.warning("this machine is busy (load %.1f): calibrate once more when it is idle", load)
    found = time_default_schedules(
        target, kernels, folder, title="calibrate", timing_s=_TIMING_S, shown=shown
    )
    if len(found) < LEAST_KERNELS:
        raise FailedWork(
            f"--calibrate: {len(found)} of {len(kernels)} kernels ran here, at least {LEAST_KERNELS} must; "
            "the reasons are above"
        )
    there = {kernel: known.statistics(kernel).median_s for kernel in found}
    timed = [TimedKernel(kernel=k.key, there_s=there[k], here_s=here_s) for k, here_s in found.items()]
    document = ProcessorDocument(
        schema_version=ProcessorDocument.SCHEMA,
        made_by=command_line("predict", "NETWORK", "--target", target.argument, "--calibrate"),
        target=target.name,
        here=here,
        table=known.digest(),
        at=now_utc(),
        kernels=tuple(timed),
    )
    document.save(folder / FILE)
    return document.scale(processor_of(known.fingerprint))


def chosen_kernels(table: LatencyTable) -> list[Kernel]:
    """A few of each kind that the table has with their default schedules, of the smallest frame with some.

    Raises UsageError where the table has too few.
    """
    for one in sorted(table.profiled, key=lambda one: Resolution.parse(one.resolution)):
        chosen = _chosen(table, one)
        if len(chosen) >= LEAST_KERNELS:
            return chosen
    raise UsageError(
        f"--calibrate: the table of {table.target} has too few kernels with default schedules; allowed: "
        f"{LEAST_KERNELS} or more; profile this machine instead"
    )


def _chosen(table: LatencyTable, profiled: Profiled) -> list[Kernel]:
    if profiled.task not in HEADS:
        return []
    size, head = (
        Resolution.parse(profiled.resolution),
        HEADS[profiled.task](profiled.outputs or _USUAL_CLASSES),
    )
    kernels = {
        kernel
        for space in spaces_of_table(profiled.space)
        for kernel in space_kernels(space, size, head)
        if kernel.key in table.rows and table.rows[kernel.key].how == How.DEFAULT
    }
    chosen = []
    for kind in sorted({kernel.kind for kernel in kernels}):
        alike = [kernel for kernel in kernels if kernel.kind == kind]
        alike.sort(key=lambda kernel: (table.statistics(kernel).median_s, kernel.key))
        chosen += alike[:: -(-len(alike) // _OF_A_KIND)]
    return chosen


def _nothing_to_scale(target: Target, table: object) -> UsageError:
    if table is not None:
        why = "no other --table"
    elif (results_folder(target.name) / HEADER).exists():
        why = f"{results_folder(target.name)} was measured here itself; leave --calibrate out"
    else:
        profile = command_line("profile", "--target", target.argument)
        why = f"{target.name} is no CPU of this machine with a shipped table; measure it: {profile}"
    return UsageError(f"--calibrate scales a shipped table: {why}")
