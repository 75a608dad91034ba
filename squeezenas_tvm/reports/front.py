"""The networks that a search judged, and their Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.costs.objectives import OBJECTIVES, shown
from search.results.document import SearchDocument
from search.results.record import read_record
from search.strategies.registry import STRATEGIES
from search.tasks.words import WORDS, Column, TaskWords
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.reports.charts import Series, chart, row
from squeezenas_tvm.reports.files import CsvRow, header, read_csv
from squeezenas_tvm.reports.marks import GREY
from squeezenas_tvm.reports.page import Markup, PageSection, element, join, paragraph, table
from squeezenas_tvm.reports.published import of_the_space, trained_below, trained_chart

NETWORKS, RECORD = "networks.csv", "judged.jsonl"
_AGAIN = "the search command with --resume writes it again"
_NUMBERS = (
    *("latency_ms", "low_ms", "high_ms", "gmacs", "mparams", "memory_mib"),
    *("front", "chosen"),
)


@dataclass(frozen=True)
class FoundNetworks:
    """What was judged.

    Attributes:
        judged: lines of networks.csv; none before the search has ended.
        partly: how many are in the record of a search that has not.
        column: what networks are compared by.
        lower_is_better: of that.
    """

    judged: Sequence[CsvRow]
    partly: int = 0
    column: Column = WORDS["segmentation"].primary
    lower_is_better: bool = False

    @property
    def score(self) -> str:
        """Where networks.csv has it."""
        return self.column.name

    def said(self, score: float) -> str:
        """In short, for people: ``mIoU 58.3 %``."""
        return f"{self.column.title} {score:.3g} {self.column.unit}"

    @property
    def finished(self) -> bool:
        return bool(self.judged)

    def document(self, told: SearchDocument | None) -> dict[str, Any] | None:
        """The chosen one, for JSON; ``blocks`` has its options."""
        for one in self.judged:
            if one.numbers["chosen"] == 1:
                known = told.chosen if told is not None else None
                return {**one.numbers, "blocks": known.options if known else one.texts["blocks"].split()}
        return None


def read_networks(folder: Path, told: SearchDocument | None) -> FoundNetworks:
    """Raises UsageError where a file is damaged."""
    ended = (folder / NETWORKS).exists() if told is None else told.finished
    if not ended:
        return FoundNetworks((), sum(1 for _ in read_record(folder / RECORD)))
    path = folder / NETWORKS
    words = WORDS.get(told.task if told else "segmentation", WORDS["segmentation"])
    column = _score_column(words, told, header(path) if path.exists() else [])
    columns = dict.fromkeys((column.name, *_NUMBERS, _cost_column(told)[1]))
    judged = read_csv(path, list(columns), ("blocks",), again=_AGAIN)
    if sum(one.numbers["chosen"] == 1 for one in judged) != 1:
        raise UsageError(f"{path}: one line must be of the chosen network; {_AGAIN}")
    return FoundNetworks(judged, column=column, lower_is_better=words.lower_is_better)


def _score_column(words: TaskWords, told: SearchDocument | None, header: Sequence[str]) -> Column:
    """The task's score, or of a task with another reward that, whose column is the first, too."""
    primary = words.primary
    other = header[0] if header and header[0].endswith("_percent") else primary.name
    if primary.unit != "%" or other == primary.name:
        return primary
    return replace(primary, name=other, title=told.metric if told else primary.title)


def front_section(folder: Path, networks: FoundNetworks, told: SearchDocument | None) -> list[PageSection]:
    """All that were judged, by cost and accuracy, beside published ones; nothing before the end."""
    if not networks.finished:
        return []
    cost, column = _cost_column(told)
    unit = OBJECTIVES[cost].unit
    front = sorted((n for n in networks.judged if n.numbers["front"]), key=lambda n: n.numbers[column])
    chosen = [n for n in networks.judged if n.numbers["chosen"] == 1]
    groups = [
        ("judged networks", networks.judged, GREY, 2.2),
        ("Pareto front", front, 1, 3.8),
        ("chosen", chosen, 2, 5.5),
    ]
    series = [
        Series(
            name,
            [(n.numbers[column], n.numbers[networks.score]) for n in group],
            "dots",
            colour,
            radius,
            [(n.numbers["low_ms"], n.numbers["high_ms"]) for n in group] if cost == "latency" else (),
            told=[_told(name, n, networks) for n in group],
        )
        for name, group, colour, radius in groups
    ]
    series.insert(1, Series("", [(n.numbers[column], n.numbers[networks.score]) for n in front], "steps"))
    limit: tuple[Any, float, str] | None = None
    if told and told.budget and told.budget.objective == cost:
        value = told.budget.value
        limit = ("x", value / OBJECTIVES[cost].size, f"budget {shown(cost, value)}")
    picture = chart(
        "Accuracy and cost of the judged networks",
        series,
        x=f"{cost} ({unit})",
        y=f"{networks.column.title} in the search ({networks.column.unit}{_lower(networks)})",
        limit=limit,
        wide=True,
    )
    known = STRATEGIES.get(told.strategy if told else "gumbel")  # of before search.json there was no other
    how = f" {known.judging}" if known else ""
    said = (
        f"{len(networks.judged)} networks{how}; on the front: {len(front)}. As trained for itself a "
        f"network's {networks.column.title} will differ."
    )
    content = [paragraph(said), row([picture]), *_as_trained(folder, told), _table(networks, front)]
    return [PageSection("Front", join(content))]


def _as_trained(folder: Path, told: SearchDocument | None) -> list[Markup]:
    """Published networks of the space, and those that were trained below the search, at their costs here."""
    if told is None:
        return []
    networks = [*of_the_space(told), *trained_below(folder, told)]
    x = f"latency on {told.target} at {told.resolution} (ms)"
    picture = trained_chart("Reported accuracy and latency here", networks, x=x)
    if not picture:
        return []
    said = (
        "Networks of the space as they were trained for themselves, by others and here: accuracies compare "
        "where data and size are the same; latencies are all of this target and size."
    )
    return [element("h3", "As trained"), paragraph(said), row([picture])]


def _told(group: str, network: CsvRow, networks: FoundNetworks) -> str:
    n = network.numbers
    return (
        f"{group}\n{n['latency_ms']:.3f} ms ({n['low_ms']:.3f} to {n['high_ms']:.3f})\n"
        f"{networks.said(n[networks.score])}\n{n['gmacs']:.3f} GMACs, {n['mparams']:.3f} M parameters\n"
        f"{network.texts['blocks']}"
    )


def _lower(networks: FoundNetworks) -> str:
    return ", lower is better" if networks.lower_is_better else ""


def _cost_column(told: SearchDocument | None) -> tuple[str, str]:
    """What the front was drawn over, and where networks.csv has it."""
    cost = told.cost if told else "latency"
    return cost, OBJECTIVES[cost].column


def _table(networks: FoundNetworks, front: Sequence[CsvRow]) -> str:
    lines = []
    for index, network in enumerate(front):
        n = network.numbers
        lines.append(
            [
                f"front/{index:02d}.yaml" + (" (chosen)" if n["chosen"] else ""),
                *(networks.column.number(n[networks.score]), f"{n['latency_ms']:.3f}"),
                *(f"{n['low_ms']:.3f} to {n['high_ms']:.3f}", f"{n['gmacs']:.3f}"),
                *(f"{n['mparams']:.3f}", f"{n['memory_mib']:.1f}", network.texts["blocks"]),
            ]
        )
    names = [
        "front",
        f"{networks.column.title} {networks.column.unit}",
        "ms",
        "interval",
        "GMACs",
        "M parameters",
        "MiB of maps",
    ]
    return table([*names, "blocks"], lines)
