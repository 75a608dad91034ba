"""What ``profile`` does: measures the kernels of a space on a target and composes its table."""

from pathlib import Path

from cost_models.database.profiled import Profiled
from cost_models.lookup import results_folder
from cost_models.tuning.effort import Effort
from search.costs.kernel_table import sample_blocks, space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.space import SearchSpace
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
    out: Path | None = None,
    classes: int = 19,
    dtype: str = "float32",
    tracker: str | None = None,
    networks: int = 0,
    seed: int = 0,
    shown: bool = True,
) -> Profile:
    """Measure what is missing, then write the table of the space.

    Args:
        out: folder of the measurements; ``results/TARGET`` when None.
        classes: of the decoder.
        tracker: HOST:PORT of the target's boards.
        networks: random networks that are also timed whole, to calibrate the estimates of all others.
        seed: of the schedule search and of those networks.
        shown: draw how far it is.

    Raises:
        TargetError: no board, or a tool is missing.
        CostModelError: measurements there cannot be used.
        InTheWay: the folder holds results of others.
        FailedWork: not one kernel could be measured.
    """
    find_tools(target, dtype)  # before anything long
    folder = results_folder(target.name, out, dtype)
    refuse_others_results(folder, file_of(space, resolution))
    head = segmentation_head(classes)
    kernels = list(space_kernels(space, resolution, head))
    wanted = Wanted(
        kernels=kernels,
        effort=effort,
        blocks=[(p.name, p.graph, p.inputs) for p in sample_blocks(space, resolution, head, BLOCKS)],
        networks=draw_networks(space, resolution, networks, num_classes=classes, seed=seed),
        seed=seed,
    )
    profiled = Profiled(
        space=space.name,
        resolution=str(resolution),
        outputs=classes,
        kernels=[kernel.key for kernel in kernels],
    )
    measured = measure_kernels(
        target, wanted, folder, dtype=dtype, tracker=tracker, hold_outs=True, shown=shown, profiled=profiled
    )
    return summarize(measured, kernels, space, resolution, classes, folder)
