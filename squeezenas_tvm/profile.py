"""``profile``: measures the kernels of a space, or of ONNX networks, on a target into its table."""

import argparse
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cost_models.tuning.effort import EFFORTS, MANY, Effort
from squeezenas_tvm.cli import Result, leave, positive_int, run_command, table
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.options import add_shapes, seed_number, trials_count

if TYPE_CHECKING:
    from search.resolution import Resolution
    from search.spaces.space import SearchSpace
    from squeezenas_tvm.profiling.from_networks import FittedTarget
    from targets import Target

EXAMPLE = (
    "squeezenas-tvm profile --target local-cpu --space small --resolution 256x512 --effort quick\n"
    "squeezenas-tvm profile --target local-cpu --space gas --task depth --resolution 256x512 --effort quick\n"
    "squeezenas-tvm profile unet.onnx stdc.onnx --target local-cpu --effort quick"
)
_SPACE, _SIZE, _TASK = "small", "1024x2048", "segmentation"  # of a profile of a space
_OUTPUTS = {_TASK: 19, "depth": 1, "pose": 16}  # as many key points as MPII has
KEPT = "everything measured so far is stored; the same command goes on from there"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    _add_what(parser)
    parser.add_argument(
        "--effort",
        choices=list(EFFORTS),
        default="standard",
        help=f"how long to look for fast schedules; of a space with more than {MANY} kernels, quick measures "
        f"{EFFORTS['quick'].most}, standard {EFFORTS['standard'].most}, thorough all (default %(default)s)",
    )
    parser.add_argument(
        "--kernels",
        type=positive_int,
        metavar="N",
        help="measure the N kernels of the space that tell most of the others (of networks: with most work), "
        "and predict these; a larger N later measures the difference, and as many as there are, or more, all "
        "(default: see --effort)",
    )
    parser.add_argument(
        "--trials",
        type=trials_count,
        metavar="N",
        help="instead of --effort: schedules tried for each kernel; 0 times the default schedules only",
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
        "usual; their kernels are measured whatever --kernels says (default %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=seed_number,
        default=0,
        help="of the schedule search and of those networks (default %(default)s)",
    )
    _add_few_networks(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    """The device, and what is measured there."""
    parser.add_argument(
        "network",
        nargs="*",
        help="ONNX files of networks, or folders of such, whose kernels are measured instead of a space's",
    )
    parser.add_argument("--target", required=True, help="device to measure on: a name, or a YAML file")
    parser.add_argument("--space", help=f"search space (default {_SPACE})")
    parser.add_argument(
        "--resolution",
        metavar="HxW",
        help=f"height and width of the image, pixels (default {_SIZE}; of an ONNX file its own)",
    )
    add_shapes(parser)
    parser.add_argument(
        "--dtype",
        help="of weights and feature maps: float32, or float16 with sums in float32, where the target lists "
        "it (default float32; of an ONNX file its own)",
    )
    parser.add_argument("--task", help=f"what its networks are for: {', '.join(_OUTPUTS)} (default {_TASK})")
    parser.add_argument(
        "--classes",
        type=positive_int,
        help=f"classes of the decoder (default {_OUTPUTS[_TASK]}); of pose its key points (default "
        f"{_OUTPUTS['pose']})",
    )


def _add_few_networks(parser: argparse.ArgumentParser) -> None:
    """``--choose-networks`` and ``--from-networks``: ``profile`` where kernels cannot be measured."""
    few = parser.add_argument_group(
        "few networks instead of kernels, for a device that TVM cannot measure on"
    ).add_mutually_exclusive_group()
    few.add_argument(
        "--choose-networks",
        type=positive_int,
        metavar="N",
        help="write the N networks of the space that tell most, and a CSV file for their latencies",
    )
    few.add_argument(
        "--from-networks",
        type=Path,
        metavar="FILE.csv",
        help="fit the target to measured networks: columns network, resolution, latency_ms",
    )


def execute(args: argparse.Namespace) -> Result:
    """Measure what is missing, then write and show the table; or what few networks tell."""
    from search.resolution import Resolution
    from search.spaces.registry import get_space
    from targets import load_target

    target = load_target(args.target)
    if args.network:
        return _of_networks(target, args)
    if args.shape:
        raise UsageError(f"--shape {args.shape[0][0]}: for ONNX files, and none is given")
    args.space, args.resolution = args.space or _SPACE, args.resolution or _SIZE
    args.classes, args.dtype = _outputs(args), args.dtype or "float32"
    if args.from_networks or args.choose_networks:
        option = "--from-networks" if args.from_networks else "--choose-networks"
        for name in ("tracker", "kernels"):
            if (value := getattr(args, name)) is not None:
                raise UsageError(f"--{name} {value} is not for {option}, which measures nothing itself")
        target.require_timings(option)
    if args.from_networks:
        return _fit(target, args)
    space, resolution = get_space(args.space), Resolution.parse(args.resolution)
    if args.choose_networks:
        return _choose(target, space, resolution, args)
    from squeezenas_tvm.profiling.profile_space import profile_space

    profile = profile_space(
        space,
        target,
        resolution,
        effort=_effort(args),
        kernels=args.kernels,
        out=args.out,
        task=args.task,
        classes=args.classes,
        dtype=args.dtype,
        tracker=args.tracker,
        networks=args.networks,
        seed=args.seed,
    )
    return Result(
        document=profile.document().model_dump(mode="json"),
        text="\n\n".join(filter(None, [profile.text(), target.caution])),
        exit_code=1 if profile.holes else 0,
    )


def _outputs(args: argparse.Namespace) -> int:
    """How many outputs the head of the task has; names the task where that was left out.

    Raises UsageError for an unknown task, and for what only segmentation has.
    """
    from targets.support.text import near_miss

    args.task = args.task or _TASK
    if args.task not in _OUTPUTS:
        near = near_miss(args.task, _OUTPUTS)
        raise UsageError(f"--task: no task is {args.task}{near}; allowed: {', '.join(_OUTPUTS)}")
    if args.task == "depth" and args.classes:
        raise UsageError(f"--classes {args.classes}: depth tells metres, one output; leave it out")
    whole = ("networks", "choose_networks", "from_networks")
    if args.task != _TASK and (wrong := next((name for name in whole if getattr(args, name)), None)):
        raise UsageError(
            f"--{wrong.replace('_', '-')}: whole networks are of segmentation, and calibrate estimates for "
            f"every task; profile them without --task {args.task}"
        )
    return args.classes or _OUTPUTS[args.task]


def _effort(args: argparse.Namespace) -> Effort:
    return EFFORTS[args.effort] if args.trials is None else Effort.alone(args.trials)


def _of_networks(target: "Target", args: argparse.Namespace) -> Result:
    """ONNX files: their kernels, and where the time of each network goes."""
    from search.resolution import Resolution
    from squeezenas_tvm.bundles.network_files import with_folders
    from squeezenas_tvm.profiling.networks_summary import networks_document, networks_text
    from squeezenas_tvm.profiling.profile_networks import profile_networks

    of_spaces = ("space", "task", "classes", "networks", "choose_networks", "from_networks", "dtype")
    if wrong := [name for name in of_spaces if getattr(args, name)]:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        raise UsageError(f"{options}: for spaces; {args.network[0]} has layers, ends and a type of its own")
    profile = profile_networks(
        [Path(name) for name in with_folders(args.network)],
        target,
        effort=_effort(args),
        resolution=Resolution.read(args.resolution) if args.resolution else None,
        shapes=dict(args.shape),
        kernels=args.kernels,
        out=args.out,
        tracker=args.tracker,
        seed=args.seed,
    )
    return Result(
        document=networks_document(profile),
        text="\n\n".join(filter(None, [networks_text(profile, args.target), target.caution])),
        exit_code=1 if profile.holes else 0,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("profile", add_arguments, execute, argv, example=EXAMPLE, kept=KEPT)


def _choose(
    target: "Target", space: "SearchSpace", resolution: "Resolution", args: argparse.Namespace
) -> Result:
    """``--choose-networks``: the files, and what to do with them."""
    from cost_models.device_models.fewshot import LEAST_NETWORKS
    from cost_models.lookup import results_folder
    from squeezenas_tvm.profiling.choose_networks import write_networks
    from targets.support.commands import command_line

    if args.choose_networks < LEAST_NETWORKS:
        raise UsageError(
            f"--choose-networks {args.choose_networks}: fewer than {LEAST_NETWORKS} tell nothing; allowed: "
            f"{LEAST_NETWORKS} or more, 10 are usual"
        )
    folder = results_folder(target.name, args.out, args.dtype)
    written = write_networks(
        space, resolution, args.choose_networks, folder, num_classes=args.classes, seed=args.seed
    )
    files = {written.file(architecture): architecture for architecture in written.architectures}
    document = {
        "target": target.name,
        "space": space.name,
        "resolution": str(resolution),
        "networks": [{"file": str(file), "blocks": list(a.genotype.values())} for file, a in files.items()],
        "measured": str(written.measured),
    }
    dtype = ("--dtype", args.dtype) if args.dtype != "float32" else ()
    one = ("--target", args.target, "--resolution", resolution, *dtype, "--out", "BUNDLE")
    text = (
        f"{len(files)} networks of {space.name} to measure on {target.name} at {resolution}: "
        f"{written.measured.parent}\n"
        "1. Measure each on the device, from camera frame to class indices; for example by a bundle: "
        f"{command_line('deploy', next(iter(files)), *one)}\n"
        f"2. Write the milliseconds into {written.measured}, column latency_ms.\n"
        f"3. {_fit_command(args, written.measured)}"
    )
    return Result(document=document, text=text)


def _fit_command(args: argparse.Namespace, measured: Path) -> str:
    """The command that fits the same target, in the same folder, to the networks in a file."""
    from targets.support.commands import command_line

    given = ["--target", args.target, "--from-networks", measured]
    given += ["--dtype", args.dtype] if args.dtype != "float32" else []
    return command_line("profile", *given, *(("--out", args.out) if args.out else ()))


def _fit(target: "Target", args: argparse.Namespace) -> Result:
    """``--from-networks``: the fit, and how well each network is told by the others."""
    from cost_models.lookup import results_folder
    from squeezenas_tvm.profiling.from_networks import fit_target

    made_by = _fit_command(args, args.from_networks)
    folder = results_folder(target.name, args.out, args.dtype)
    done = fit_target(target, args.from_networks, folder, dtype=args.dtype, made_by=made_by)
    document = _fit_document(done)
    given = "" if folder == results_folder(target.name) else f" with --table {shlex.quote(str(folder))}"
    return Result(document=document, text=_fit_text(document, given))


def _fit_document(done: "FittedTarget") -> dict[str, Any]:
    fitted = done.fitted
    errors = fitted.model.left_out.tolist()
    return {
        "target": fitted.target,
        "origin": fitted.origin,
        "networks": [
            {"name": name, "measured_ms": 1e3 * s, "left_out_ms": 1e3 * s * (1 + error), "error": error}
            for (name, s), error in zip(fitted.networks, errors, strict=True)
        ],
        "left_out": {"mean": statistics.fmean(map(abs, errors)), "worst": max(map(abs, errors))},
        "interval_factor": fitted.model.error_factor,
        "others": list(done.others),
        "used_others": list(fitted.others),
        "weights": dict(fitted.model.weights),
        "path": str(done.path),
        "notes": list(done.notes),
    }


def _fit_text(document: Mapping[str, Any], given: str) -> str:
    rows = [
        [n["name"], f"{n['measured_ms']:.2f}", f"{n['left_out_ms']:.2f}", f"{100 * n['error']:+.1f}"]
        for n in document["networks"]
    ]
    error = document["left_out"]
    weights = sorted(document["weights"].items(), key=lambda item: -item[1])
    made_of = ", ".join(f"{weight:.0%} {name}" for name, weight in weights if weight >= 0.005)
    return "\n".join(
        [
            table(["network", "measured ms", "told by the others ms", "error %"], rows),
            "",
            f"Each told by the others: mean error {100 * error['mean']:.1f} %, worst "
            f"{100 * error['worst']:.1f} %. Nine of ten networks like them lie within a factor of "
            f"{document['interval_factor']:.2f}.",
            f"Averaged: {made_of}; other devices asked: {', '.join(document['others']) or 'none'}.",
            *document["notes"],
            f"Fitted: {document['path']}; other commands{given} estimate with it what was not measured.",
        ]
    )


if __name__ == "__main__":
    leave(main())
