"""``profile``: measures the kernels of a space on a target and composes its table of block latencies."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cost_models.tuning.effort import EFFORTS, Effort
from squeezenas_tvm.cli import Result, leave, positive_int, run_command
from squeezenas_tvm.options import add_dtype, add_resolution, trials_count
from squeezenas_tvm.profiling.calibrate_networks import draw_networks
from squeezenas_tvm.profiling.from_networks import add_few_networks, few_networks
from squeezenas_tvm.profiling.measure import measure_kernels
from squeezenas_tvm.profiling.summary import report

EXAMPLE = "squeezenas-tvm profile --target local-cpu --space small --resolution 256x512 --effort quick"
KEPT = "everything measured so far is stored; the same command goes on from there"
BLOCKS = 8  # of the space, that are also timed whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--target", required=True, help="device to measure on: a name, or a YAML file")
    parser.add_argument("--space", default="small", help="search space (default %(default)s)")
    add_resolution(parser, "1024x2048")
    add_dtype(parser)
    parser.add_argument(
        "--effort",
        choices=list(EFFORTS),
        default="standard",
        help="how long to look for fast schedules (default %(default)s)",
    )
    parser.add_argument(
        "--trials",
        type=trials_count,
        metavar="N",
        help="instead of --effort: schedules tried for each kernel; 0 times the default schedules only",
    )
    parser.add_argument(
        "--classes", type=positive_int, default=19, help="classes of the decoder (default 19)"
    )
    parser.add_argument(
        "--tracker",
        metavar="HOST:PORT",
        help="TVM RPC tracker: all of its boards of the target's key are used",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where measurements are kept (default results/TARGET)"
    )
    parser.add_argument(
        "--networks",
        type=trials_count,
        default=0,
        metavar="N",
        help="also time N random networks whole, and calibrate the estimates of all others on them; 24 are "
        "usual (default %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the schedule search and of those networks (default %(default)s)",
    )
    add_few_networks(parser)


def execute(args: argparse.Namespace) -> Result:
    """Measure what is missing, then write and show the table."""
    if args.from_networks or args.choose_networks:
        return few_networks(args)
    from cost_models.database.profiled import Profiled
    from cost_models.lookup import results_folder
    from search.costs.kernel_table import sample_blocks, space_kernels
    from search.resolution import Resolution
    from search.spaces.registry import get_space
    from targets import load_target
    from targets.toolchain.tools import find_tools

    target, space = load_target(args.target), get_space(args.space)
    resolution = Resolution.parse(args.resolution)
    find_tools(target, args.dtype)  # before anything long
    folder = results_folder(target.name, args.out, args.dtype)
    found = list(space_kernels(space, resolution, args.classes))
    measured = measure_kernels(
        target,
        found,
        folder,
        effort=EFFORTS[args.effort] if args.trials is None else Effort.alone(args.trials),
        blocks=[(part.name, part.graph, part.inputs) for part in sample_blocks(space, resolution, BLOCKS)],
        networks=draw_networks(space, resolution, args.networks, num_classes=args.classes, seed=args.seed),
        dtype=args.dtype,
        tracker=args.tracker,
        seed=args.seed,
        hold_outs=True,
        profiled=Profiled(
            space=space.name,
            resolution=str(resolution),
            outputs=args.classes,
            kernels=[kernel.key for kernel in found],
        ),
    )
    return report(measured, found, space, resolution, args.classes, folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("profile", add_arguments, execute, argv, example=EXAMPLE, kept=KEPT)


if __name__ == "__main__":
    leave(main())
