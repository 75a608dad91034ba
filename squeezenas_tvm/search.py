"""``search``: finds the architecture for a target and a budget, without the device."""

import argparse
import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.costs.objectives import shown
from squeezenas_tvm.cli import Result, leave, positive_int, run_command, table
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.options import add_resolution
from squeezenas_tvm.terminal.progress import progress

if TYPE_CHECKING:
    from search.results.front import Judged
    from search.run import Outcome, SearchTask
    from search.strategies.gumbel.gumbel import Progress

EXAMPLE = (
    "squeezenas-tvm search --target local-cpu --space small --data camvid:CamVid --budget 4ms "
    "--resolution 360x480 --recipe camvid\n"
    "torchrun --nproc_per_node 8 -m squeezenas_tvm.search --target jetson-xavier --data cityscapes:PATH "
    "--budget 30ms --recipe paper"
)
_LIKELIEST = 4  # candidates of a position that are named
KEPT = "the last finished epoch is kept; the same command with --resume goes on from there"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--target", required=True, help="device to search for: a name, or a YAML file")
    parser.add_argument("--space", default="small", help="search space (default %(default)s)")
    parser.add_argument(
        "--data",
        required=True,
        metavar="KIND:PATH",
        help="camvid:PATH, cityscapes:PATH, cityscapes-coarse:PATH, or synthetic",
    )
    parser.add_argument(
        "--budget", metavar="30ms", help="what the network may cost: ms, GMACs, Mparams or MiB"
    )
    parser.add_argument(
        "--objective",
        default=None,
        metavar="COSTS",
        help="what the search pays for: latency, macs, params, memory, or a mix such as latency:3,memory:1 "
        "(default what the budget limits, else latency)",
    )
    parser.add_argument(
        "--alpha", type=float, help="weight of that in the loss; with a budget, where it starts"
    )
    parser.add_argument(
        "--recipe", default="small", help="a shipped one, or a YAML file (default %(default)s)"
    )
    parser.add_argument("--epochs", type=positive_int, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--paths", type=positive_int, metavar="K", help="train K sampled candidates a position in each step"
    )
    parser.add_argument(
        "--networks", type=positive_int, metavar="N", help="how many are drawn and judged after the search"
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="DIR",
        help="folder of the target's table (default results/TARGET, else the shipped one, else its prior)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the search is kept (default results/search-TARGET)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last finished epoch")
    add_resolution(parser, "1024x2048")


def execute(args: argparse.Namespace) -> Result:
    """Search, judge what was found, write the front and the chosen network."""
    from search.parallel.ranks import Ranks
    from search.run import run_search

    task = _task(args)
    out = args.out or Path("results") / f"search-{Path(args.target).stem}"
    ranks = Ranks.start()
    try:
        with _Lines(task, ranks.first) as lines:
            outcome = run_search(task, out, ranks, resume=args.resume, watch=lines)
    except OSError as error:
        if not out.is_dir():
            raise UsageError(f"--out {out} cannot be made: {error.strerror}; name another folder") from None
        raise FailedWork(
            f"{error.filename or out}: {error.strerror or error}; make room there; the last checkpoint is "
            "kept, the same command with --resume goes on from it"
        ) from error
    finally:
        ranks.close()
    document = _document(task, outcome, out, args)
    return Result(document=document, text=_text(task, outcome, out, args) if ranks.first else "")


def _task(args: argparse.Namespace) -> "SearchTask":
    from cost_models.lookup import cost_model
    from search.costs.space_costs import SpaceCosts
    from search.data.datasets import open_data
    from search.problem.goal import Budget, Mix
    from search.resolution import Resolution
    from search.run import SearchTask
    from search.spaces.registry import get_space
    from search.strategies.gumbel.recipe import load_search_recipe
    from targets import load_target

    recipe = load_search_recipe(args.recipe).changed(
        epochs=args.epochs, seed=args.seed, paths=args.paths, alpha=args.alpha, networks=args.networks
    )
    budget = Budget.parse(args.budget) if args.budget else None
    mix = Mix.parse(args.objective or (budget.name if budget else "latency"))
    target, space = load_target(args.target), get_space(args.space)
    resolution = Resolution.parse(args.resolution)
    data = open_data(args.data)
    model = cost_model(target, args.table)
    costs = SpaceCosts.of(model, space, resolution, data.num_classes)
    return SearchTask(space, data, costs, target.name, mix, budget, recipe, resolution, args.data)


class _Lines:
    """What a search says of itself while it runs; nothing from processes other than the first."""

    def __init__(self, task: "SearchTask", shown: bool) -> None:
        self._task, self._shown = task, shown
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """A part of the search, of ``total`` pieces."""
        self._stack.close()
        self._step = (
            self._stack.enter_context(progress(title, total, done)) if self._shown else lambda text: None
        )

    def step(self, now: "Progress") -> None:
        """After each step of gradient descent."""
        cost = self._task.cost
        spent = f"expected {cost} {shown(cost, now.expected[cost])}"
        if self._task.budget:
            spent += f" of {shown(cost, self._task.budget.value)}"
        self._step(
            f"epoch {now.epoch + 1} of {self._task.recipe.all_epochs}, loss {now.loss:.3f}, {spent}, "
            f"temperature {now.temperature:.2f}, entropy {now.entropy:.0%}, {now.left} candidates left"
        )

    def judged(self, network: "Judged", count: int) -> None:
        """After each network judged."""
        cost = self._task.cost
        self._step(f"mIoU {100 * network.miou:.1f} %, {cost} {shown(cost, network.cost(cost))}")


def _document(task: "SearchTask", outcome: "Outcome", out: Path, args: argparse.Namespace) -> dict[str, Any]:
    from search.results.document import describe

    described = describe(task, outcome).model_dump(mode="json")
    return {**described, "folder": str(out), "train": train_command(args.data, out)}


def train_command(data_spec: str, out: Path) -> str:
    """What trains the network that a search chose, by the shipped recipe for such data.

    Args:
        data_spec, out: of the search.
    """
    recipe = "squeezenas-paper" if data_spec.startswith("cityscapes") else "camvid"
    words = ["squeezenas-tvm", "train", str(out / "chosen.yaml"), "--data", data_spec]
    return shlex.join([*words, "--recipe", recipe, "--out", str(out / "trained")])


def _text(task: "SearchTask", outcome: "Outcome", out: Path, args: argparse.Namespace) -> str:
    rows = []
    for position, (choices, chosen) in enumerate(zip(outcome.choices, outcome.chosen.blocks, strict=True)):
        likely = sorted(choices.items(), key=lambda choice: -choice[1])[:_LIKELIEST]
        left = ", ".join(f"{name} {share:.0%}" for name, share in likely)
        rows.append([str(position), chosen, str(len(choices)), left])
    cost, chosen_network = task.cost, outcome.chosen
    lines = [table(["", "chosen", "left", "likeliest"], rows), ""]
    spent = f"Expected {cost} of the final distribution: {shown(cost, outcome.expected[cost])}"
    lines.append(f"{spent}, budget {task.budget}." if task.budget else f"{spent}.")
    lines.append(
        f"Chosen of {len(outcome.networks)} networks: {shown(cost, chosen_network.cost(cost))}, mIoU of its "
        f"path {100 * chosen_network.miou:.1f} %; as trained for itself it will differ."
    )
    if task.budget and chosen_network.cost(cost) > task.budget.value:
        lines.append(f"No network that was drawn keeps the budget of {task.budget}: this is the cheapest.")
    lines.append(f"Front: {out / 'networks.csv'}, {out / 'front.png'}, {out / 'front'}")
    lines.append(f"Train it: {train_command(args.data, out)}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("search", add_arguments, execute, argv, example=EXAMPLE, kept=KEPT)


if __name__ == "__main__":
    leave(main())
