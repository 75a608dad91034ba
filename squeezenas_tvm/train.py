"""``train ARCH``: one architecture through the stages of a recipe; one process, or many under torchrun."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from squeezenas_tvm.cli import Result, first_process_speaks, leave, run_command, table
from squeezenas_tvm.options import seed_number, trials_count
from squeezenas_tvm.training.stopped import stopped

if TYPE_CHECKING:
    from squeezenas_tvm.training.train import Trained

EXAMPLE = (
    "squeezenas-tvm train squeezenas-lat-small --data camvid:data/camvid --recipe camvid \\\n"
    "    --init lat_small.pth --out lat-small-camvid\n"
    "squeezenas-tvm train found/chosen.yaml --data camvid:data/camvid --recipe camvid \\\n"
    "    --init lat_small.pth --out found/trained\n"
    "torchrun --nproc_per_node 8 -m squeezenas_tvm.train squeezenas-lat-small \\\n"
    "    --data cityscapes:data/cityscapes --recipe squeezenas-paper --out lat-small-cityscapes"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("architecture", help="name of a shipped architecture, or a YAML file")
    parser.add_argument(
        "--data",
        required=True,
        metavar="SPEC",
        help="camvid:PATH, cityscapes:PATH, nyudv2:PATH, synthetic, ...; says what is told apart",
    )
    parser.add_argument("--task", help="what to train it for (default: what the architecture is for)")
    parser.add_argument("--recipe", required=True, help="name of a shipped recipe, or a YAML file")
    parser.add_argument(
        "--init",
        metavar="FILE",
        help="weights to begin with, of this network or of another one of its family (then they are "
        "remapped): a file, ARCH=FILE, or an architecture file that names them (default: random ones)",
    )
    parser.add_argument(
        "--new-head", action="store_true", help="of --init take all but what tells the classes apart"
    )
    parser.add_argument(
        "--teacher",
        metavar="ARCH",
        help="learn from the outputs of this network, too: an architecture of any space, with weights, for "
        "the same classes; how, the recipe says (distillation)",
    )
    parser.add_argument("--seed", type=seed_number, metavar="N", help="instead of the recipe's")
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
    """Train; write weights, curves and checkpoints."""
    from search.architecture import load_architecture
    from search.training.recipe import load_recipe
    from squeezenas_tvm.training.train import train_architecture

    architecture, recipe = load_architecture(args.architecture), load_recipe(args.recipe)
    if args.seed is not None:
        recipe = recipe.with_seed(args.seed)
    trained = train_architecture(
        architecture,
        args.data,
        recipe,
        args.out,
        task=args.task,
        initial=args.init,
        new_head=args.new_head,
        teacher=load_architecture(args.teacher) if args.teacher is not None else None,
        workers=args.workers,
        resume=args.resume,
    )
    document = {"out": str(trained.folder), **trained.best}
    return Result(document=document, text=_text(trained))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    with first_process_speaks(execute) as run:
        return run_command(
            "train", add_arguments, run, argv, example=EXAMPLE, kept=lambda args: stopped(args.out)
        )


def _text(trained: "Trained") -> str:
    from search.kept import CHECKPOINT, WEIGHTS
    from search.tasks.words import WORDS
    from search.training.best import REPORT
    from squeezenas_tvm.training.command import commands_after_training
    from squeezenas_tvm.training.train import ARCHITECTURE, RECIPE

    out, best = trained.folder, trained.best
    taught = f", learned from {best['teacher']['name']}" if "teacher" in best else ""
    words, lines = WORDS[best["task"]], list[str]()
    for name, (what, unit) in words.details.items():
        if name in best:
            rows = [[own, "-" if score is None else f"{score:.2f}"] for own, score in best[name].items()]
            lines += [table([what, unit], rows), ""]
    where = f"stage {best['stage']}, epoch {best['epoch']}, chosen by {best['chosen_by']}{taught}"
    score = best[words.primary.name]
    told = "" if score is None else f"{words.primary.text(score)} on {best['split']}; "
    lines.append(f"{best['architecture']}: {told}{where}")
    files = (WEIGHTS, REPORT, "curves.csv", "tensorboard", CHECKPOINT)
    lines.append(f"{out}: {', '.join(files)}, {ARCHITECTURE}, {RECIPE}")
    evaluate, deploy = commands_after_training(out / ARCHITECTURE, best, out)
    lines += [f"next: {evaluate}", f"or:   {deploy}"]
    return "\n".join(lines)


if __name__ == "__main__":
    leave(main())
