"""``search``: finds the architecture for a target and a budget, without the device."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from squeezenas_tvm.cli import Result, first_process_speaks, leave, positive_int, run_command, table
from squeezenas_tvm.options import add_resolution, seed_number
from squeezenas_tvm.training.stopped import stopped

if TYPE_CHECKING:
    from search.problem.problem import SearchProblem, SearchResult

EXAMPLE = (
    "squeezenas-tvm search --target local-cpu --space small --data camvid:CamVid --budget 4ms "
    "--resolution 360x480 --recipe camvid\n"
    "squeezenas-tvm search --target local-cpu --data camvid:CamVid --budget 4ms --resolution 360x480 "
    "--strategy evolution\n"
    "squeezenas-tvm search --target jetson-xavier --data camvid:CamVid --budget 9ms --resolution 360x480 "
    "--recipe camvid --init lat_small.pth\n"
    "squeezenas-tvm search --target local-cpu --space fasterseg-student:layers=8,base=3 --strategy cosearch "
    "--data camvid:CamVid --budget 3ms --resolution 360x480 --recipe camvid\n"
    "squeezenas-tvm search --target local-cpu --space fastdense@squeezenas-lat-small --strategy ppo "
    "--data camvid:CamVid --budget 12ms --resolution 360x480 --recipe camvid --init lat_small.pth\n"
    "squeezenas-tvm search --target local-cpu --space gas --strategy gas --data camvid:CamVid --budget 7ms "
    "--resolution 360x480 --recipe camvid\n"
    "torchrun --nproc_per_node 8 -m squeezenas_tvm.search --target jetson-xavier --data cityscapes:PATH "
    "--budget 30ms --recipe paper"
)
_LIKELIEST = 4  # candidates of a position that are named
_CHANGES = ("epochs", "seed", "paths", "resource_weight", "networks", "message", "init", "new_head")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--target", required=True, help="device to search for: a name, or a YAML file")
    parser.add_argument("--space", default="small", help="search space (default %(default)s)")
    parser.add_argument(
        "--task",
        default="segmentation",
        help="what it is for: segmentation, depth, pose (default %(default)s)",
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="KIND:PATH",
        help="camvid:PATH, cityscapes:PATH, cityscapes-coarse:PATH, nyudv2:PATH, folder:PATH, or synthetic",
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
        "--table",
        type=Path,
        metavar="DIR",
        help="folder of the target's table (default results/TARGET, else the shipped one, else its prior)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the search is kept (default results/search-TARGET)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in DIR, if any")
    add_resolution(parser, "1024x2048")
    _add_strategy(parser)


def _add_strategy(parser: argparse.ArgumentParser) -> None:
    """How to search, and what of the recipe is otherwise."""
    from search.strategies.registry import STRATEGIES

    parser.add_argument(
        "--strategy",
        choices=list(STRATEGIES),
        default="gumbel",
        help=f"{'; '.join(f'{name}: {info.summary}' for name, info in STRATEGIES.items())} "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--resource-weight",
        "--alpha",
        type=float,
        metavar="WEIGHT",
        help="of what is paid for, in the loss of gumbel, cosearch and gas; with a budget, where it starts",
    )
    parser.add_argument(
        "--recipe",
        default="small",
        help="one of the strategy's, or a YAML file (default %(default)s)",
    )
    parser.add_argument("--epochs", type=positive_int, help="instead of the recipe's")
    parser.add_argument("--seed", type=seed_number, help="instead of the recipe's")
    parser.add_argument(
        "--paths", type=positive_int, metavar="K", help="train K sampled candidates a position in each step"
    )
    parser.add_argument(
        "--networks",
        type=positive_int,
        metavar="N",
        help="how many are judged, or tried",
    )
    parser.add_argument(
        "--message",
        choices=("gcn", "linear", "none"),
        help="of gas: how a cell's logits take over from those of the cell before (default the recipe's)",
    )
    parser.add_argument(
        "--init",
        metavar="WEIGHTS",
        help="weights to begin with: of gumbel, and of scoring by paths or trainings, those of a network of "
        "the family, remapped into every candidate or network (a file, ARCH=FILE, or an architecture file "
        "that names them); of scoring: {kind: progressive, ...} those of the encoder that decoders are "
        "searched over",
    )
    parser.add_argument(
        "--new-head",
        action="store_true",
        default=None,
        help="of remapped weights take all but what tells the classes apart",
    )


def execute(args: argparse.Namespace) -> Result:
    """Search, judge what was found, write the front and the chosen network."""
    from search.resolution import Resolution
    from search.results.described import describe
    from squeezenas_tvm.searching.search import default_folder, search_space
    from squeezenas_tvm.training.command import train_command
    from targets import load_device

    target = load_device(args.target)
    target.require_timings("search")
    args.out = args.out or default_folder(target)  # where what is kept is looked for
    found = search_space(
        target=target,
        space=args.space,
        task=args.task,
        data=args.data,
        budget=args.budget,
        objective=args.objective,
        strategy=args.strategy,
        recipe=args.recipe,
        resolution=Resolution.parse(args.resolution),
        table=args.table,
        out=args.out,
        resume=args.resume,
        changes={name: value for name in _CHANGES if (value := getattr(args, name)) is not None},
    )
    out = found.folder
    document = {**describe(found.problem, found.result).model_dump(mode="json"), "folder": str(out)}
    train = train_command(args.data, out, args.strategy, args.task, document["recipe"])
    text = _text(found.problem, found.result, out, train)
    return Result(document={**document, "train": train}, text=text)


def _text(problem: "SearchProblem", result: "SearchResult", out: Path, train: str) -> str:
    from search.costs.objectives import shown
    from search.strategies.registry import STRATEGIES
    from squeezenas_tvm.terminal.shares import share_text
    from squeezenas_tvm.training.command import teacher_command

    cost, chosen, budget = problem.cost, result.chosen, problem.budget
    lines = [_decided(problem, result), ""]
    if reading := STRATEGIES[problem.strategy].reading:
        lines.append(f"Of a search {reading}.")
    spent = f"Expected {cost} at the end: {shown(cost, result.summary['expected'][cost])}"
    lines.append(f"{spent}, budget {budget}." if budget else f"{spent}.")
    lines.append(
        f"Chosen of {len(result.networks)} networks: {shown(cost, chosen.cost(cost))}, in the search "
        f"{problem.task.shown(chosen.score)}; as trained for itself it will differ."
    )
    if budget and chosen.cost(cost) > budget.value:
        lines.append(f"No network that was judged keeps the budget of {budget}: this is the cheapest.")
    lines.append(f"Latencies are {share_text(problem.costs.sources)}.")
    lines.append(f"Front: {out / 'networks.csv'}, {out / 'front.png'}, {out / 'front'}")
    lines.append(f"Train it: {train}")
    if taught := teacher_command(problem.data_spec, out, problem.strategy, problem.task.name):
        lines.append(f"To learn from its teacher (--teacher {taught[1]}), train that first: {taught[0]}")
    return "\n".join(lines)


def _decided(problem: "SearchProblem", result: "SearchResult") -> str:
    """Decision by decision: what was chosen, and where there is a distribution, what was likely."""
    from search.spaces.drawing import Drawable
    from squeezenas_tvm.reports.drawing import words

    names = [decision.name.removeprefix("blocks.") for decision in problem.space.decisions]
    choices: Sequence[dict[str, float]] = result.summary.get("choices", ())
    if isinstance(problem.space, Drawable):
        options = dict(zip(names, result.chosen.options, strict=True))
        return table(*words(problem.space.drawing(options)))
    if not choices:
        return table(["", "chosen"], [list(row) for row in zip(names, result.chosen.options, strict=True)])
    rows = []
    for name, left, chosen in zip(names, choices, result.chosen.options, strict=True):
        likely = sorted(left.items(), key=lambda choice: -choice[1])[:_LIKELIEST]
        rows.append([name, chosen, str(len(left)), ", ".join(f"{n} {share:.0%}" for n, share in likely)])
    return table(["", "chosen", "left", "likeliest"], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    with first_process_speaks(execute) as run:
        return run_command(
            "search", add_arguments, run, argv, example=EXAMPLE, kept=lambda args: stopped(args.out)
        )


if __name__ == "__main__":
    leave(main())
