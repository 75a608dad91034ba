"""The report of a search: the network that was chosen, the front it is on, how the search went."""

import math
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from search.architecture import Architecture, load_architecture
from search.costs.objectives import OBJECTIVES, shown
from search.results import document as search_document
from search.results.document import SearchDocument
from search.spaces.drawing import Drawable
from search.spaces.space import HasIdle
from search.strategies.registry import named
from squeezenas_tvm.reports.blocks import beside_published
from squeezenas_tvm.reports.charts import Series, chart, row
from squeezenas_tvm.reports.drawing import drawn
from squeezenas_tvm.reports.files import CsvRow, header, read_csv
from squeezenas_tvm.reports.front import FoundNetworks, front_section, read_networks
from squeezenas_tvm.reports.moved import by_kind, moved_section
from squeezenas_tvm.reports.page import (
    NONE,
    Heat,
    Markup,
    PageSection,
    Report,
    bar,
    command,
    facts,
    heat_map,
    join,
    paragraph,
    table,
)
from squeezenas_tvm.terminal.shares import share_text
from squeezenas_tvm.training.command import teacher_command, train_command

CURVES, CHOSEN = "curves.csv", "chosen.yaml"
_AGAIN = "the search command with --resume writes it again from the last checkpoint"
_NUMBERS = ("epoch", "loss")
_MAY_LACK = ("loss", "score", "best")  # before, or after, a strategy tries networks out
# Column of curves.csv -> title, column, y axis, scale, colour; which ones there are depends on the strategy.
_CURVES: Mapping[str, tuple[str, str, str, float, int]] = {
    "entropy": ("entropy of the distribution", "entropy", "share of the largest", 1.0, 3),
    **{
        f"entropy_{kind}": (f"entropy of {kind}s", f"entropy_{kind}", "share of the largest", 1.0, 3)
        for kind in ("operation", "path", "width")
    },
    "candidates": ("candidates left", "candidates", "candidates", 1.0, 3),
    "temperature": ("temperature", "temperature", "temperature", 1.0, 4),
    "resource_weight": ("weight of the cost", "resource_weight", "weight", 1.0, 4),
    "alpha": ("weight of the cost, alpha", "alpha", "alpha", 1.0, 4),
    "score": ("score of the network tried", "score", "score", 1.0, 1),
    "best": ("best score so far", "best", "score", 1.0, 1),
}
_LIKELIEST = 3  # other candidates of a position that are named
_MOST_COLUMNS = 20  # of a map of probabilities


def search_report(folder: Path) -> Report:
    """Of a folder of ``search``, as far as it went; without ``search.json`` less is known of it.

    Raises:
        UsageError, SearchError: a file is damaged, or of a newer schema.
    """
    told = search_document.load(folder) if (folder / search_document.FILE).exists() else None
    rows = _rows(folder / CURVES, told) if (folder / CURVES).exists() else []
    networks = read_networks(folder, told)
    chosen = load_architecture(folder / CHOSEN) if (folder / CHOSEN).exists() else None
    state = _state(told, rows, networks)
    sections = front_section(folder, networks, told)
    if chosen is not None and isinstance(space := chosen.search_space, Drawable):
        sections.append(PageSection("Chosen network", drawn(space.drawing(chosen.genotype))))
    elif told is not None and told.chosen is not None and told.choices:
        content = join([_chosen(told, told.chosen.options), beside_published(told)])
        sections.append(PageSection("Chosen network", content))
    elif chosen is not None:
        blocks = table(["position", "block"], list(map(list, chosen.genotype.items())))
        beside = beside_published(told) if told is not None else Markup()
        sections.append(PageSection("Chosen network", join([blocks, beside])))
    sections.append(PageSection("Curves", _curves(rows, told)))
    sections += moved_section(folder, told, _idle(chosen))
    if told is not None and told.chosen is not None and told.choices:
        sections.append(
            PageSection("Final distribution", _distribution(told, told.chosen.options, _idle(chosen)))
        )
    if told is not None and told.sureness:
        sections.append(PageSection("How sure it is", _sureness(told)))
    sections.append(PageSection("Task", _task(told, chosen)))
    sections.append(PageSection("Next", _next(folder, told, ended=networks.finished)))
    target = told.target if told else "a target"
    document = {
        "finished": networks.finished,
        "state": state,
        "epochs": len(rows),
        "judged": len(networks.judged),
        "chosen": networks.document(told),
        "search": told.model_dump(mode="json") if told else None,
    }
    return Report(f"Search for {target}", state, sections, document, _figures(told, rows, networks))


def _rows(path: Path, told: SearchDocument | None) -> list[CsvRow]:
    """Epochs, each with what its network costs in the unit of the column's name."""
    cost = told.cost if told else "latency"
    own = OBJECTIVES[cost]
    columns, column, older = header(path), f"expected_{own.column}", f"expected_{cost}"
    wanted = [*_NUMBERS, *(name for name in columns if name in _CURVES)]
    if column in columns or older not in columns:
        return read_csv(path, (*wanted, column), again=_AGAIN, optional=_MAY_LACK)
    # up to 0.2.0: seconds, bytes, counts
    rows = read_csv(path, (*wanted, older), again=_AGAIN, optional=_MAY_LACK)
    return [CsvRow(row.texts, row.numbers | {column: row.numbers[older] / own.size}) for row in rows]


def _figures(
    told: SearchDocument | None, rows: Sequence[CsvRow], networks: FoundNetworks
) -> list[tuple[str, str]]:
    """What is read first."""
    found: list[tuple[str, str]] = []
    for one in (one.numbers for one in networks.judged if one.numbers["chosen"] == 1):
        budget = f", budget {shown(told.budget.objective, told.budget.value)}" if told and told.budget else ""
        score = networks.column
        found.append((f"{one['latency_ms']:.3g} ms", f"the chosen network{budget}"))
        found.append((f"{one[networks.score]:.3g} {score.unit}", f"its {score.title} in the search"))
        found.append((f"{one['gmacs']:.3g}", f"GMACs, {one['mparams']:.3g} M parameters"))
    if networks.judged or networks.partly:
        found.append((str(len(networks.judged) or networks.partly), "networks judged"))
    found.append((str(len(rows)), "epochs"))
    return found


def _state(told: SearchDocument | None, rows: Sequence[CsvRow], networks: FoundNetworks) -> str:
    """How far it is, one line."""
    if networks.finished:
        (chosen,) = [one.numbers for one in networks.judged if one.numbers["chosen"] == 1]
        return (
            f"{chosen['latency_ms']:.3g} ms, in the search {networks.said(chosen[networks.score])}: "
            f"chosen of {len(networks.judged)} networks after {len(rows)} epochs"
        )
    epochs = f"{len(rows)}"
    if told and (planned := _planned(told.recipe)):
        epochs += f" of {planned}"
    judged = f", {networks.partly} networks judged" if networks.partly else ""
    return f"not finished: {epochs} epochs{judged}"


def _planned(recipe: Mapping[str, Any]) -> int:
    """Epochs of a recipe, and of what comes before and after them; 0 where it does not say."""
    parts = (recipe, *(recipe.get(name) for name in ("pretraining", "path_training")))
    counts = [part.get("epochs") for part in parts if isinstance(part, Mapping)]
    return sum(count for count in counts if isinstance(count, int))


def _task(told: SearchDocument | None, chosen: Architecture | None) -> Markup:
    if told is None:
        lines = [f"There is no {search_document.FILE} here, so task and final distribution are not known."]
        lines += [f"The chosen network says: {chosen.origin}."] if chosen and chosen.origin else []
        return join(list(map(paragraph, lines)))
    recipe: Mapping[str, Any] = told.recipe
    names = ("epochs", "batch_size", "crop", "seed", "update", "draws", "cost", "paths", "precision")
    details = ", ".join(f"{name} {recipe[name]}" for name in names if recipe.get(name) is not None)
    mix = ", ".join(f"{name} {weight:.0%}" for name, weight in told.mix.items())
    expected = [shown(name, value) for name, value in told.expected.items() if name == told.cost]
    return facts(
        {
            "Target": told.target,
            "Strategy": named(told.strategy),
            "Space": told.space,
            "Data": told.data_spec,
            "Resolution": told.resolution,
            "Budget": _budget(told) or "none",
            "Pays for": mix,
            "Expected at the end": "".join(f"{told.cost} {value}" for value in expected),
            "Latencies are": share_text(told.sources),
            "Recipe": f"{recipe.get('name', NONE)}: {details}",
            "Made by": f"{told.made_by}, {told.at}",
        }
    )


def _budget(told: SearchDocument) -> str:
    return f"{told.budget.objective} {shown(told.budget.objective, told.budget.value)}" if told.budget else ""


def _curves(rows: Sequence[CsvRow], told: SearchDocument | None) -> Markup:
    if not rows:
        return paragraph("No epoch has ended yet.")
    cost = told.cost if told else "latency"
    own = OBJECTIVES[cost]
    limit: tuple[Any, float, str] | None = None
    if told and told.budget:
        limit = ("y", told.budget.value / own.size, f"budget {_budget(told)}")

    def curve(title: str, column: str, y: str, scale: float = 1.0, colour: int = 1, **more: Any) -> Markup:
        numbers = [one.numbers for one in rows if math.isfinite(one.numbers[column])]
        points = [(one["epoch"] + 1, one[column] / scale) for one in numbers]
        return chart(f"{title} by epoch", [Series(title, points, colour=colour)], x="epoch", y=y, **more)

    known = rows[0].numbers
    pictures = [curve("loss", "loss", "loss")] if _told("loss", rows) else []
    pictures.append(curve(f"expected {cost}", f"expected_{own.column}", f"{cost} ({own.unit})", limit=limit))
    pictures += [
        curve(*shown) for column, shown in _CURVES.items() if column in known and _told(column, rows)
    ]
    return row(pictures)


def _told(column: str, rows: Sequence[CsvRow]) -> bool:
    return any(math.isfinite(one.numbers[column]) for one in rows)


def _chosen(told: SearchDocument, blocks: Sequence[str]) -> Markup:
    """Position by position."""
    latencies = [told.latency_s.positions[index][block] for index, block in enumerate(blocks)]
    total_s = sum(latencies) + told.latency_s.around
    lines = []
    for index, (block, own_s) in enumerate(zip(blocks, latencies, strict=True)):
        choices = told.choices[index]
        others = sorted((name for name in choices if name != block), key=lambda name: -choices[name])
        likely = ", ".join(f"{name} {choices[name]:.0%}" for name in others[:_LIKELIEST])
        share = own_s / total_s if total_s else 0.0
        lines.append(
            [
                *(
                    str(index),
                    block,
                    bar(choices[block], f"{choices[block]:.0%}"),
                    f"{own_s * 1e3:.3f}" if own_s else "0",
                ),
                *(bar(share, f"{share:.1%}"), str(len(choices)), likely),
            ]
        )
    header = ["position", "block", "probability", "ms", "of the latency", "candidates left", "others"]
    around = f"{told.latency_s.around * 1e3:.3f} ms ({told.latency_s.around / (total_s or 1):.0%})"
    return join([table(header, lines), paragraph(f"What is around the blocks takes {around}.")])


def _idle(chosen: Architecture | None) -> frozenset[str]:
    """Decisions that change nothing in the chosen network."""
    space = chosen.search_space if chosen is not None else None
    return space.idle(chosen.genotype) if chosen is not None and isinstance(space, HasIdle) else frozenset()


def _distribution(told: SearchDocument, blocks: Sequence[str], idle: Set[str]) -> Markup:
    """A map for each kind of decision; of those with many options, the likeliest."""
    kinds = by_kind(told, len(blocks)).values()
    removed = " † and the epoch stand where a candidate was removed." if told.removed else ""
    content = [paragraph(f"Probability of each candidate in percent; the chosen one is framed.{removed}")]
    many = [places for places in kinds if _has_many(told, places)]
    content += [_likeliest(told, blocks, [place for own in many for place in own], idle)] if many else []
    content += [_map(told, blocks, own, idle) for own in kinds if own not in many]
    return join(content)


def _has_many(told: SearchDocument, places: Sequence[int]) -> bool:
    """Whether they have more options than a map has room for."""
    return any(len(told.choices[place]) > _MOST_COLUMNS for place in places)


def _likeliest(told: SearchDocument, blocks: Sequence[str], places: Sequence[int], idle: Set[str]) -> Markup:
    lines = []
    for place in places:
        choices, block = told.choices[place], blocks[place]
        others = sorted((name for name in choices if name != block), key=lambda name: -choices[name])
        likely = ", ".join(f"{name} {_percent(choices[name])} %" for name in others[:_LIKELIEST])
        chosen = NONE if told.decisions[place] in idle else f"{block} {_percent(choices[block])} %"
        lines.append([told.decisions[place], chosen, likely, str(len(choices))])
    return table(["decision", "chosen", "likeliest others", "options"], lines)


def _map(told: SearchDocument, blocks: Sequence[str], places: Sequence[int], idle: Set[str]) -> Markup:
    offered = told.latency_s.positions if told.is_chain else told.choices
    names = list(dict.fromkeys(name for place in places for name in offered[place]))
    gone = {(one.position, one.candidate): one.epoch + 1 for one in told.removed}
    rows = {}
    for place in places:
        choices, decision = told.choices[place], told.decisions[place]
        rows[str(place) if told.is_chain else decision] = [
            Heat(
                _percent(choices[name]),
                math.sqrt(choices[name]),
                marked=name == blocks[place] and decision not in idle,
            )
            if name in choices
            else Heat(f"†{gone[place, name]}" if (place, name) in gone else "")
            for name in names
        ]
    return heat_map("position" if told.is_chain else "decision", names, rows)


def _sureness(told: SearchDocument) -> Markup:
    """Of each kind of decision, whoever learned it."""
    rows = [
        [name, kind, bar(sure.top, f"{sure.top:.1%}"), bar(sure.entropy, f"{sure.entropy:.1%}")]
        for name, kinds in told.sureness.items()
        for kind, sure in kinds.items()
    ]
    said = [paragraph(f"Warning: {told.undecided}.")] if told.undecided else []
    header = ["network", "decisions", "likeliest option", "entropy, of the most"]
    explained = (
        "Means over the decisions of a kind. An entropy of 100 % is that of options that are all alike."
    )
    return join([*said, table(header, rows), paragraph(explained)])


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.095 else f"{100 * share:.1f}"


def _next(folder: Path, told: SearchDocument | None, *, ended: bool) -> Markup:
    if not ended:
        return paragraph("The search has not ended: the command that started it goes on with --resume.")
    if told is None:
        return command(train_command("KIND:PATH", folder))
    given = (told.data_spec, folder, told.strategy, told.task)
    lines = [command(train_command(*given, told.recipe))]
    if taught := teacher_command(*given):
        first = f"To learn from its teacher (--teacher {taught[1]}), train that first:"
        lines += [paragraph(first), command(taught[0])]
    return join(lines)
