"""``train ARCH``: one architecture through the stages of a recipe; one process, or many under torchrun."""

import argparse
import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.cli import Result, leave, run_command, table
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.options import trials_count
from squeezenas_tvm.terminal.progress import progress

if TYPE_CHECKING:
    from search.architecture import Architecture
    from search.data import Data
    from search.training.recipe import Recipe

EXAMPLE = (
    "squeezenas-tvm train squeezenas-lat-small --data camvid:data/camvid --recipe camvid \\\n"
    "    --init lat_small.pth --out lat-small-camvid\n"
    "torchrun --nproc_per_node 8 -m squeezenas_tvm.train squeezenas-lat-small \\\n"
    "    --data cityscapes:data/cityscapes --recipe squeezenas-paper --out lat-small-cityscapes"
)
KEPT = "a checkpoint is kept in {out}; the same command with --resume goes on from there"
ARCHITECTURE, RECIPE = "architecture.yaml", "recipe.yaml"

log = logging.getLogger("squeezenas_tvm.train")  # also when run with -m


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("architecture", help="name of a shipped architecture, or a YAML file")
    parser.add_argument(
        "--data",
        required=True,
        metavar="SPEC",
        help="camvid:PATH, cityscapes:PATH, folder:PATH, synthetic, ...; says how many classes there are",
    )
    parser.add_argument("--recipe", required=True, help="name of a shipped recipe, or a YAML file")
    parser.add_argument(
        "--init", type=Path, metavar="FILE", help="weights to begin with (default: random ones)"
    )
    parser.add_argument("--seed", type=trials_count, metavar="N", help="instead of the recipe's")
    parser.add_argument(
        "--workers",
        type=trials_count,
        default=2,
        metavar="N",
        help="processes that load data; 0: none (default %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of all that is written"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in DIR, if any")


def execute(args: argparse.Namespace) -> Result:
    """Train; write weights, curves and checkpoints.

    Raises:
        SearchError, UsageError: before the first step, for what does not fit; FailedTraining: later.
        FailedWork: a full disk.
    """
    from search.architecture import load_architecture
    from search.data import open_data
    from search.training.recipe import load_recipe

    declared, recipe = load_architecture(args.architecture), load_recipe(args.recipe)
    if args.seed is not None:
        recipe = recipe.model_copy(update={"seed": args.seed})
    data = [open_data(stage.data_spec(args.data)) for stage in recipe.training]
    going_on = _prepare_folder(args.out, resume=args.resume)
    for found in data:
        found.check(*{"train", "val"} & set(found.splits))
    if recipe.given and not args.init and not going_on:
        names = " and ".join(stage.name for stage in recipe.given)
        log.warning(
            "training begins from random weights, without %s (see the recipe): expect less than published; "
            "--init FILE begins from pretrained ones",
            names,
        )
    try:
        best = _train(args, declared, recipe, data, going_on=going_on)
    except OSError as error:
        raise FailedWork(
            f"{error.filename or args.out}: {error.strerror or error}; make room there; the last checkpoint "
            "is kept, the same command with --resume goes on from it"
        ) from error
    return Result(document={"out": str(args.out), **best}, text=_text(best, args.out, args.data))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    with first_process_speaks(execute) as run:
        return run_command("train", add_arguments, run, argv, example=EXAMPLE, kept=KEPT)


@contextlib.contextmanager
def first_process_speaks(
    execute: Callable[[argparse.Namespace], Result],
) -> Iterator[Callable[[argparse.Namespace], Result]]:
    """``execute``, and in the block stdout, for one process of a job that torchrun started.

    Results and progress are the first one's to tell. Errors are everybody's: torchrun ends the others as soon
    as one has failed, maybe before the first one has said why.
    """
    if os.environ.get("RANK", "0") == "0":
        yield execute
        return

    def silent(args: argparse.Namespace) -> Result:
        for package in ("squeezenas_tvm", "search"):
            logging.getLogger(package).setLevel(logging.ERROR)
        return execute(args)

    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        yield silent


def _prepare_folder(out: Path, *, resume: bool) -> bool:
    """Make the folder. Returns whether there is a checkpoint to go on from; refuses to write over one."""
    from search.training.run import CHECKPOINT

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}; name another folder") from None
    exists = (out / CHECKPOINT).exists()
    if exists and not resume:
        raise UsageError(f"{out} holds a training; go on with it by --resume, or name another --out")
    return exists


def _train(
    args: argparse.Namespace,
    declared: "Architecture",
    recipe: "Recipe",
    data: "Sequence[Data]",
    *,
    going_on: bool,
) -> dict[str, Any]:
    from search.architecture import dump_architecture
    from search.parallel.ranks import Ranks
    from search.training import dump_recipe
    from search.training.best import WEIGHTS
    from search.training.run import TrainingRun, same_classes

    own = {"results": [], "weights": WEIGHTS}
    architecture = declared.for_classes(same_classes(data)).model_copy(update=own)
    initial = None if going_on else _initial(args.init, architecture, declared)
    ranks = Ranks.start()
    try:
        run = TrainingRun(architecture, recipe, data, args.out, ranks, initial=initial, workers=args.workers)
        if going_on:
            run.resume()
        if not ranks.first:
            return run.run()
        (args.out / ARCHITECTURE).write_text(dump_architecture(architecture), encoding="utf-8")
        (args.out / RECIPE).write_text(dump_recipe(recipe), encoding="utf-8")
        with progress("train", run.steps_left) as step:
            return run.run(step)
    finally:
        ranks.close()


def _initial(path: Path | None, architecture: "Architecture", declared: "Architecture") -> Any:
    """Tensors to begin with. Says which ones of the file could not be used."""
    if path is None:
        return None
    from search.training.initial import initial_weights

    tensors, left_out = initial_weights(architecture, path, declared=declared)
    if left_out:
        log.info(
            "%s is of %d classes, the data has %d; freshly initialised: %s",
            path,
            declared.head.outputs,
            architecture.head.outputs,
            ", ".join(left_out),
        )
    return tensors


def _text(best: dict[str, Any], out: Path, data: str) -> str:
    from search.training.best import REPORT, WEIGHTS
    from search.training.run import CHECKPOINT

    rows = [[name, "-" if iou is None else f"{iou:.2f}"] for name, iou in best["iou_percent"].items()]
    lines = [table(["class", "IoU %"], rows), ""]
    where = f"stage {best['stage']}, epoch {best['epoch']}, chosen by {best['chosen_by']}"
    if best["miou_percent"] is None:
        lines.append(f"{best['architecture']}: {where}")
    else:
        lines.append(f"{best['architecture']}: mIoU {best['miou_percent']:.2f} % on {best['split']}; {where}")
    files = (WEIGHTS, REPORT, "curves.csv", "tensorboard", CHECKPOINT)
    lines.append(f"{out}: {', '.join(files)}, {ARCHITECTURE}, {RECIPE}")
    trained = out / ARCHITECTURE
    lines.append(f"next: squeezenas-tvm evaluate {trained} --data {data} --split test")
    lines.append(f"or:   squeezenas-tvm deploy {trained} --target local-cpu --out {out / 'bundle'}")
    return "\n".join(lines)


if __name__ == "__main__":
    leave(main())
