"""Searches that try networks out, at equal numbers of tried networks.

    python benchmarks/strategies.py results/ppo results/random results/evolution --json

Each folder is one of ``search`` with ``--strategy ppo``, ``random`` or ``evolution``, finished or not. Told
are the best reward after so many networks, the mean of the best three distinct ones, networks an hour, and
what giving up weak networks early saved: the seconds of the log beside as many distinct networks, each
as long as those that went through all parts. Searches that ran beside other work are slower; rewards do
not hang on that. ``--best DIR`` writes each finished search's best three as architectures to train:
``DIR/ppo-1.yaml``, the best, to ``ppo-3.yaml``.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from records import Records
from refusals import run_benchmark

from search.architecture import architecture_for, dump_architecture
from search.data.datasets import open_data
from search.results.document import load
from search.run import TRIED
from search.spaces.registry import get_space
from search.strategies.sampling.tried import Tried
from squeezenas_tvm.errors import UsageError
from targets.support.files import write_whole

_BEST = 3


def told_of(folder: Path, marks: Sequence[int]) -> dict[str, Any]:
    """What the log of a search tells.

    Args:
        marks: numbers of networks after which it is asked; those that it did not come to are left out.

    Raises UsageError where there is no log.
    """
    log, seconds = _log(folder)
    first = {tried.options: s for tried, s in reversed([*zip(log, seconds, strict=True)])}  # then it is known
    whole = [first[tried.options] for tried in dict.fromkeys(log) if not (tried.stopped or tried.failed)]
    total_s = sum(seconds)
    found: dict[str, Any] = {
        "search": folder.name,
        "networks": len(log),
        "distinct": len(first),
    }
    found["best"] = {mark: max(t.reward for t in log[:mark]) for mark in marks if mark <= len(log)}
    distinct = {tried.options: tried.reward for tried in log}
    found["best_three"] = statistics.fmean(sorted(distinct.values())[-_BEST:])
    found |= {
        "networks_an_hour": 3600 * len(log) / total_s,
        "given_up": sum(tried.stopped is not None for tried in log),
        "failed": sum(tried.failed is not None for tried in log),
        "whole_s": statistics.median(whole) if whole else None,
        "saved": 1 - total_s / (len(first) * statistics.fmean(whole)) if whole else None,
    }
    return found


def write_best(folder: Path, out: Path) -> list[Path]:
    """The best networks of a finished search as architecture files, the best first. Returns the files."""
    document = load(folder)
    space, data = get_space(document.space), open_data(document.data_spec, document.task)
    rewards = {tried.options: tried.reward for tried in _log(folder)[0]}
    names = [decision.name for decision in space.decisions]
    files = []
    out.mkdir(parents=True, exist_ok=True)
    for number, options in enumerate(sorted(rewards, key=rewards.__getitem__, reverse=True)[:_BEST], 1):
        genotype = dict(zip(names, options, strict=True))
        architecture = architecture_for(space, genotype, data, searched_for=document.target)
        files.append(out / f"{folder.name}-{number}.yaml")
        write_whole(files[-1], dump_architecture(architecture), "the architecture")
    return files


def _log(folder: Path) -> tuple[list[Tried], list[float]]:
    """The networks of a search, and the seconds of each."""
    rows = Records(folder / TRIED).all
    if not rows:
        raise UsageError(
            f"{folder}: no {TRIED} with networks; give folders of search --strategy ppo, random, ..."
        )
    rows = [row for row in rows if not row.get("final")]  # their scores are of longer trainings
    seconds = [row.pop("seconds") for row in rows]
    return [Tried.of(row) for row in rows], seconds


def table_of(rows: Sequence[Mapping[str, Any]], marks: Sequence[int]) -> str:
    """In Markdown."""
    head = [
        "search",
        *(f"best of {mark}" for mark in marks),
        "best three",
        "an hour",
        "given up",
        "time saved",
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        best = [f"{row['best'][mark]:.3f}" if mark in row["best"] else "-" for mark in marks]
        saved = "-" if row["saved"] is None else f"{row['saved']:.0%}"
        given_up = f"{row['given_up']} of {row['networks']}"
        rest = [f"{row['best_three']:.3f}", f"{row['networks_an_hour']:.0f}", given_up, saved]
        lines.append(f"| {' | '.join([row['search'], *best, *rest])} |")
    return "\n".join(lines)


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("searches", nargs="+", type=Path, metavar="DIR", help="folders of searches")
    parser.add_argument(
        "--at", nargs="+", type=int, default=[20, 40, 60], metavar="N", help="networks (default 20 40 60)"
    )
    parser.add_argument("--best", type=Path, metavar="DIR", help="write each search's best three there")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    args = parser.parse_args()
    rows = [told_of(folder, args.at) for folder in args.searches]
    for folder in args.searches if args.best else ():
        write_best(folder, args.best)
    print(json.dumps(rows, indent=2) if args.json else table_of(rows, args.at))


if __name__ == "__main__":
    run_benchmark(main)
