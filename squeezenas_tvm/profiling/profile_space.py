"""What ``profile`` does: measures the kernels of a space on a target and composes its table.

Of a space with very many kernels it measures those that a design chooses, and a predictor tells the others.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cost_models.database.environment import environment
from cost_models.database.profiled import Profiled
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.design import Design
from cost_models.lookup import results_folder
from cost_models.tuning.effort import Effort
from search.costs.kernel_table import sample_blocks, space_kernels
from search.resolution import Resolution
from search.spaces.camera import HEADS
from search.spaces.space import Part, SearchSpace
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.calibrate_networks import draw_networks
from squeezenas_tvm.profiling.measure import Wanted, measure_kernels, refuse_others_results
from squeezenas_tvm.profiling.summary import Profile, file_of, summarize
from targets import Target
from targets.toolchain.tools import find_tools

BLOCKS = 8  # of the space, that are also timed whole


def profile_space(
    space: SearchSpace,
    target: Target,
    resolution: Resolution,
    *,
    effort: Effort,
    kernels: int | None = None,
    out: Path | None = None,
    task: str = "segmentation",
    classes: int = 19,
    dtype: str = "float32",
    tracker: str | None = None,
    networks: int = 0,
    seed: int = 0,
    shown: bool = True,
) -> Profile:
    """Measure what is missing, then write the table of the space.

    Args:
        kernels: how many are measured, the others being predicted. None: as the effort says.
        out: folder of the measurements; ``results/TARGET`` when None.
        task: what the heads of its networks are for, one of ``search.spaces.camera.HEADS``.
        classes: of the decoder; key points of ``pose``; 1 of ``depth``.
        tracker: HOST:PORT of the target's boards.
        networks: random ones of segmentation that are also timed whole, to calibrate all estimates.
        seed: of the schedule search and of those networks.
        shown: draw how far it is.

    Raises:
        UsageError: so few kernels that the others cannot be told.
        TargetError: no board, or a tool is missing.
        CostModelError: measurements there cannot be used.
        InTheWay: the folder holds results of others.
        FailedWork: not one kernel could be measured.
    """
    find_tools(target, dtype)  # before anything long
    folder = results_folder(target.name, out, dtype)
    refuse_others_results(folder, file_of(space, resolution, task))
    users = space_kernels(space, resolution, head := HEADS[task](classes))
    whole = draw_networks(space, resolution, networks, num_classes=classes, seed=seed)
    chosen: Collection[Kernel] = users
    if (count := effort.measured(len(users)) if kernels is None else kernels) < len(users):
        parts, known = space.parts(resolution, head), environment(target, dtype)
        some = _choose(users, count, parts, known, f"{space.name} at {resolution}")
        chosen = some.union(*(network.kernels for network in whole))
    sample = sample_blocks(space, resolution, head, BLOCKS, kernels=chosen)
    wanted = Wanted(
        kernels=[kernel for kernel in users if kernel in chosen],
        predicted=[kernel for kernel in users if kernel not in chosen],
        effort=effort,
        blocks=[(part.name, part.graph, part.inputs) for part in sample],
        networks=whole,
        seed=seed,
    )
    keys, size = [kernel.key for kernel in users], str(resolution)
    profiled = Profiled(space=space.name, resolution=size, outputs=classes, kernels=keys, task=task)
    measured = measure_kernels(
        target, wanted, folder, dtype=dtype, tracker=tracker, hold_outs=True, shown=shown, profiled=profiled
    )
    return summarize(measured, list(users), space, resolution, classes, folder, task)


def _choose(
    users: Mapping[Kernel, Sequence[str]],
    count: int,
    parts: Iterable[Part],
    fingerprint: Mapping[str, Any],
    what: str,
) -> set[Kernel]:
    """So many kernels of a space, those of parts that every network has among them.

    Args:
        users: names of the parts that use each kernel.
        what: space and resolution, for people.

    Raises:
        UsageError: the choice would leave out what must be measured.
    """
    fixed = {part.name for part in parts if not part.slot}
    always = [kernel for kernel, names in users.items() if fixed.intersection(names)]
    design = Design.of(users, always, fingerprint)
    if count < design.least:
        raise UsageError(
            f"--kernels {count}: too few of the {len(users)} kernels of {what}; allowed: {design.least} or "
            "more (those that every network has, and the largest and the smallest of each sort), so many as "
            "there are or more measures all"
        )
    return set(design.order[:count])
