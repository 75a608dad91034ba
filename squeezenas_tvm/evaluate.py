"""``evaluate ARCH|BUNDLE``: how right trained weights are on labelled frames, or the module that ships."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from squeezenas_tvm.cli import Result, leave, run_command, table
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.options import add_board

if TYPE_CHECKING:
    from squeezenas_tvm.evaluation.scores import Evaluation

EXAMPLE = (
    "squeezenas-tvm evaluate trained/architecture.yaml --weights trained/best.safetensors \\\n"
    "    --data camvid:data/camvid --split test\n"
    "squeezenas-tvm evaluate bundles/lat-small --data cityscapes:data/cityscapes\n"
    "squeezenas-tvm evaluate bundles/lat-small --data camvid:data/camvid --tracker 127.0.0.1:9190"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "network",
        metavar="ARCH|BUNDLE",
        help="name or YAML file of an architecture, or folder made by `squeezenas-tvm deploy`",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="(default the architecture's own)")
    parser.add_argument(
        "--data",
        required=True,
        metavar="SPEC",
        help="camvid:PATH, cityscapes:PATH, nyudv2:PATH, folder:PATH, synthetic",
    )
    parser.add_argument(
        "--split", default="val", choices=("train", "val", "trainval", "test"), help="(default %(default)s)"
    )
    parser.add_argument(
        "--resolution",
        metavar="HxW",
        help="of the network: frames are resized to it, what it tells back (default: that of the frames; a "
        "bundle has its own)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="of a segmentation, keep there which classes were taken for which, and the best, the median and "
        "the worst frame beside the truth; `report` shows them, those in the folder of a training "
        "(trained/val) with it",
    )
    add_board(parser)


def execute(args: argparse.Namespace) -> Result:
    """Show every frame of the split at its full size, and score what comes out."""
    from targets.support.commands import command_line

    evaluation = _bundle(args) if Path(args.network).is_dir() else _architecture(args)
    text = _text(evaluation)
    if args.out is not None:
        text += f"\nKept in {args.out}: {command_line('report', args.out)}"
    return Result(document=evaluation.document(), text=text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("evaluate", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


def _bundle(args: argparse.Namespace) -> "Evaluation":
    from search.data import open_data
    from squeezenas_tvm.evaluation.bundle import evaluate_bundle, task_of_folder

    for option in ("weights", "resolution"):
        if getattr(args, option) is not None:
            raise UsageError(f"--{option} is for architectures; the bundle {args.network} has its own")
    data = open_data(args.data, task_of_folder(Path(args.network)))
    board = {"tracker": args.tracker, "target": args.target}
    return evaluate_bundle(Path(args.network), data, args.split, **board, out=args.out)


def _architecture(args: argparse.Namespace) -> "Evaluation":
    from search.architecture import load_architecture
    from search.data import open_data
    from search.resolution import Resolution
    from squeezenas_tvm.bundles.network_files import is_onnx, refuse_other_formats
    from squeezenas_tvm.evaluation.architecture import evaluate_architecture
    from targets.support.commands import command_line

    refuse_other_formats(args.network)
    if is_onnx(args.network):
        target, ends = args.target or "local-cpu", ("--frame", "--end", "argmax", "--labels", "cityscapes")
        make = command_line("deploy", args.network, "--target", target, *ends, "--out", "BUNDLE")
        raise UsageError(
            f"{args.network}: a file does not say which classes it tells apart; a bundle of it does, and is "
            f"evaluated as it ships: {make}"
        )
    for option in ("tracker", "target"):
        if getattr(args, option) is not None:
            make = command_line("deploy", args.network, "--target", args.target or "NAME", "--out", "BUNDLE")
            raise UsageError(f"--{option} is for bundles; make one of {args.network}: {make}")
    resolution = Resolution.parse(args.resolution) if args.resolution else None
    architecture = load_architecture(args.network)
    data = open_data(args.data, architecture.task)
    own = {"weights": args.weights, "resolution": resolution, "out": args.out}
    return evaluate_architecture(architecture, data, args.split, **own)


def _text(evaluation: "Evaluation") -> str:
    from search.tasks.words import WORDS

    words = WORDS[evaluation.task]
    lines = []
    for name, (what, unit) in words.details.items():
        if name in evaluation.details:
            rows = [[own, _number(score)] for own, score in evaluation.details[name].items()]
            lines += [table([what, unit], rows), ""]
    lines.append(
        f"{evaluation.network} ({evaluation.runs}, {evaluation.resolution}) on {evaluation.frames} "
        f"frames of {evaluation.data} {evaluation.split}:"
    )
    return "\n".join([*lines, words.said(evaluation.scores)])


def _number(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"


if __name__ == "__main__":
    leave(main())
