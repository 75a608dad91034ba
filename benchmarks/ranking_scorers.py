"""How well scores that cost little rank networks that were all trained: the bench of ``ranking.py``.

    python benchmarks/ranking_scorers.py truth.jsonl more.jsonl --json
    python benchmarks/ranking_scorers.py truth.jsonl --scores scores.jsonl --data camvid:CamVid \
        --init lat_small.pth --trained 1 --paths 0 16
    python benchmarks/ranking_scorers.py truth.jsonl --scores scores.jsonl       # those again, in seconds

A score is judged by Kendall's and Spearman's rank correlation with the mIoU of the trained networks, and by
its regret: within three budgets (the fastest quarter, half, three quarters of the networks) the mIoU of the
best network less that of the one with the highest score. ``seed 1`` is the least error: the mIoU of a second
training. ``loss of epoch K``: the mean loss on the way of that training. ``model of K``: trees fitted to
genotype, latency and size of K of the networks and asked about the others, mean of ten draws. With
``--data``: paths through one supernet that learnt for so many epochs from remapped weights (0: not at all),
drawn uniformly or fairly, taught or not, with batch statistics of their own or without; trees fitted to the
scores of these paths and of more; shorter trainings of each network for itself; scores of networks before
they are trained.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from records import Records, say
from refusals import run_benchmark
from scipy.stats import kendalltau, spearmanr

from search.spaces.registry import get_space
from search.spaces.space import SearchSpace
from search.strategies.sampling.guesses import features, fit_trees
from squeezenas_tvm.errors import UsageError

BUDGETS = (0.25, 0.5, 0.75)
_DRAWS = 10
_LEAST = 8  # networks

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """A score beside the truth.

    Attributes:
        regret: points of mIoU within each of ``BUDGETS``.
        count: networks that it was judged on.
    """

    kendall: float
    spearman: float
    regret: tuple[float, ...]
    count: int


@dataclass(frozen=True)
class Truth:
    """Networks that were trained, by their numbers.

    Attributes:
        losses: (networks, epochs), of their training.
        again: mIoU of those with a second seed.
    """

    space: SearchSpace
    genotypes: list[list[str]]
    latency_ms: Vector
    gmacs: Vector
    mparams: Vector
    miou: Vector
    losses: Vector
    again: Mapping[int, float]

    @classmethod
    def load(cls, paths: Sequence[Path], space: SearchSpace) -> "Truth":
        """Raises UsageError where too few were trained."""
        rows = [row for path in paths for row in Records(path).all]
        first = {row["network"]: row for row in rows if row["seed"] == 0}
        if len(first) < _LEAST:
            raise UsageError(
                f"{paths[0]}: {len(first)} networks; allowed: {_LEAST} or more; train them with "
                "python benchmarks/ranking.py"
            )
        order = sorted(first)
        column = {
            name: np.array([first[number][name] for number in order], np.float64)
            for name in ("latency_ms", "gmacs", "mparams", "miou", "losses")
        }
        again = {
            order.index(r["network"]): r["miou"] for r in rows if r["seed"] == 1 and r["network"] in first
        }
        return cls(space, [first[number]["genotype"] for number in order], **column, again=again)

    def described(self) -> Vector:
        """A row a network, for models."""
        costs = {"latency": self.latency_ms, "macs": self.gmacs, "params": self.mparams}
        return features(self.space, self.genotypes, costs)

    def judge(self, scores: Vector, rows: Sequence[int] | None = None) -> Judged:
        """A score of all networks, or of those in ``rows``; higher is better."""
        some = np.arange(len(self.miou)) if rows is None else np.array(rows)
        miou, latency_ms = self.miou[some], self.latency_ms[some]
        regret = []
        for share in BUDGETS:
            within = np.flatnonzero(latency_ms <= np.quantile(latency_ms, share))
            chosen = within[scores[within].argmax()]
            regret.append(float(miou[within].max() - miou[chosen]))
        kendall, spearman = kendalltau(scores, miou).statistic, spearmanr(scores, miou).statistic
        return Judged(float(kendall), float(spearman), tuple(regret), len(some))


def known_scores(truth: Truth) -> dict[str, Judged]:
    """Of what needs no data."""
    found = {
        "latency": truth.judge(truth.latency_ms),
        "MACs": truth.judge(truth.gmacs),
        "parameters": truth.judge(truth.mparams),
    }
    for epoch, losses in enumerate(truth.losses.T[:-1], 1):
        found[f"loss of epoch {epoch}"] = truth.judge(-losses)
    if len(truth.again) >= _LEAST:
        rows = sorted(truth.again)
        found["seed 1"] = truth.judge(np.array([truth.again[row] for row in rows]), rows)
    for count in (12, 24, 36):
        if count + _LEAST <= len(truth.miou):
            found[f"model of {count}"] = _of_models(truth, count)
    return found


def _of_models(truth: Truth, count: int) -> Judged:
    """Means over draws."""
    table = truth.described()
    drawn = []
    for seed in range(_DRAWS):
        rows = np.random.default_rng(seed).permutation(len(truth.miou))
        known, asked = rows[:count], rows[count:]
        told = fit_trees(table[known], truth.miou[known])(table[asked])
        drawn.append(truth.judge(told, [*map(int, asked)]))
    regret = np.mean([found.regret for found in drawn], axis=0)
    kendall, spearman = (
        float(np.mean([getattr(f, name) for f in drawn])) for name in ("kendall", "spearman")
    )
    return Judged(kendall, spearman, tuple(map(float, regret)), len(truth.miou) - count)


def main() -> None:
    """Judge and print."""
    args = _parser().parse_args()
    truth = Truth.load(args.truth, get_space(args.space))
    found = known_scores(truth)
    records = Records(args.scores) if args.scores else None
    for row in records.all if records else ():
        found[row["name"]] = truth.judge(_scores_of(row, truth, args.scores))
    if args.data:
        from ranking_networks import scores_of_networks

        for name, scores in scores_of_networks(truth.genotypes, args):
            if records:
                records.add({"name": name, "genotypes": truth.genotypes, "scores": scores.tolist()})
            found[name] = truth.judge(scores)
            say(line_of(name, found[name]))
    if args.json:
        print(json.dumps({name: asdict(judged) for name, judged in found.items()}, indent=2))
    else:
        print(table_of(found))


def _scores_of(row: Mapping[str, Any], truth: Truth, path: Path) -> Vector:
    """In the order of the truth. Raises UsageError where a network has none."""
    scores = {tuple(genotype): score for genotype, score in zip(row["genotypes"], row["scores"], strict=True)}
    missing = sum(tuple(genotype) not in scores for genotype in truth.genotypes)
    if missing:
        raise UsageError(
            f"{path}: {row['name']}: {missing} of {len(truth.genotypes)} networks have no score; take "
            "that line away and score them again"
        )
    return np.array([scores[tuple(genotype)] for genotype in truth.genotypes], np.float64)


def line_of(name: str, judged: Judged) -> str:
    """A row of a table in Markdown."""
    regret = ", ".join(f"{points:.1f}" for points in judged.regret)
    return f"| {name} | {judged.kendall:.2f} | {judged.spearman:.2f} | {regret} | {judged.count} |"


def table_of(found: Mapping[str, Judged]) -> str:
    """In Markdown."""
    budgets = ", ".join(f"{share:.0%}" for share in BUDGETS)
    head = [
        f"| score | Kendall | Spearman | regret within the fastest {budgets} | networks |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *(line_of(name, judged) for name, judged in found.items())])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("truth", nargs="+", type=Path, help="what ranking.py wrote")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="where scores are kept and found again")
    parser.add_argument("--space", default="small", help="default %(default)s")
    parser.add_argument("--data", metavar="KIND:PATH", help="for scores that need frames")
    parser.add_argument("--resolution", default="360x480", metavar="HxW")
    parser.add_argument("--init", metavar="WEIGHTS", help="that candidates begin with, remapped")
    parser.add_argument("--new-head", action="store_true", help="leave out what tells classes apart")
    parser.add_argument("--untrained", action="store_true", help="judge scores before any training")
    parser.add_argument(
        "--trained", nargs="*", type=int, default=[], metavar="EPOCHS", help="each network for itself"
    )
    parser.add_argument("--paths", nargs="*", type=int, default=[], metavar="EPOCHS", help="of supernets")
    parser.add_argument("--sampling", choices=("uniform", "fair"), default="uniform", help="of those paths")
    parser.add_argument("--teacher", metavar="ARCH", help="with weights, that those paths learn from as well")
    parser.add_argument("--distillation", type=float, default=1.0, help="its weight (default %(default)s)")
    parser.add_argument(
        "--more", type=int, default=0, help="random networks whose paths trees are fitted to as well"
    )
    parser.add_argument(
        "--frames", type=int, default=34, help="by which paths are judged (default %(default)s)"
    )
    parser.add_argument("--crop", nargs=2, type=int, default=[192, 256], help="of their training")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser


if __name__ == "__main__":
    run_benchmark(main)
