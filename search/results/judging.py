"""The last step of a search: what its strategy proposes is judged, and nothing is judged twice."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from search.parallel.ranks import Ranks
from search.problem.judged import Judged
from search.problem.problem import SearchProblem, Watch, judged_costs
from search.problem.strategy import SearchStrategy
from search.results.record import read_record
from targets.support.files import write_whole
from targets.support.strict_json import json_text

Options = tuple[str, ...]


def judge(
    problem: SearchProblem,
    strategy: SearchStrategy,
    networks: Sequence[Options],
    record: Path,
    ranks: Ranks,
    watch: Watch,
) -> list[Judged]:
    """Judge each network; what ``record`` holds already, from a run that was interrupted, is not done again.

    Args:
        networks: options in the order of the space's decisions.
        record: JSON lines of the first process, one appended as soon as a network is judged.
    """
    own = dict(read_record(record)) if ranks.first else {}
    if ranks.first:  # without a last line that was cut off
        write_whole(record, "".join(map(_line, own.items())), "the record of judged networks")
    known = _shared(networks, own, ranks)
    names = [decision.name for decision in problem.space.decisions]
    found = []
    for options in networks:
        genotype = dict(zip(names, options, strict=True))
        score = known.get(options)
        if score is None:
            score = strategy.score(genotype)
            if ranks.first:
                with record.open("a", encoding="utf-8") as lines:
                    lines.write(_line((options, score)))
        found.append(Judged(options=options, score=score, **judged_costs(problem.costs, genotype)))
        watch.judged(found[-1], len(found))
    return found


def _shared(
    networks: Iterable[Options], known: Mapping[Options, float], ranks: Ranks
) -> dict[Options, float]:
    """What the first process knows, in all of them: together they judge the rest."""
    import torch

    networks = list(networks)
    rows = [[options in known, known.get(options, 0.0)] for options in networks]
    told = ranks.sum(torch.tensor(rows, dtype=torch.float64, device=ranks.device)).tolist()
    return {options: score for options, (there, score) in zip(networks, told, strict=True) if there}


def _line(judged: tuple[Options, float]) -> str:
    return json_text({"options": judged[0], "score": judged[1]}) + "\n"
