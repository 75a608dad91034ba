"""How the choices of a search moved: one strip a decision, how probable each option was over the epochs."""

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from search.results.distribution import FILE, EpochChoices, read_distribution
from search.results.document import SearchDocument
from squeezenas_tvm.reports.charts import row
from squeezenas_tvm.reports.marks import GREY
from squeezenas_tvm.reports.page import Markup, PageSection, element, join, paragraph
from squeezenas_tvm.reports.strips import share_strip, styles_of

_MOST_STEPS = 40  # that are drawn of a long search
_MOST_STRIPS = 80


def moved_section(folder: Path, told: SearchDocument | None, idle: Set[str]) -> list[PageSection]:
    """Nothing where the search kept no way, as those of before did.

    Args:
        idle: decisions that change nothing in the chosen network.

    Raises InvalidSearch where the file is damaged.
    """
    way = read_distribution(folder / FILE)
    if not way or (told is not None and len(told.decisions) != len(way[0].choices)):
        return []
    count, shown = len(way[0].choices), _some(way)
    names, chosen = _names(told, count), told is not None and told.chosen is not None
    won = list(told.chosen.options) if told is not None and told.chosen is not None else _likeliest(way[-1])
    kinds = by_kind(told, min(count, _MOST_STRIPS))
    said = (
        "How probable each option was at the end of every epoch; strongly coloured and marked ● is the one "
        f"that {'was chosen' if chosen else 'leads'}."
    )
    said += f" The first {_MOST_STRIPS} of {count} are shown." if count > _MOST_STRIPS else ""
    said += " What changes nothing in the chosen network is pale." if idle else ""
    content = [paragraph(said)]
    for kind, places in kinds.items():
        styles = _styles([way[-1].choices[place] for place in places])
        marks = ["" if names[place] in idle else won[place] for place in places]
        strips = [
            _strip(names[place], place, shown, styles, mark)
            for place, mark in zip(places, marks, strict=True)
        ]
        content += [element("h3", kind)] if len(kinds) > 1 else []
        content += [_keys(styles), row(strips)]
    return [PageSection("How the choices moved", join(content))]


def by_kind(told: SearchDocument | None, count: int) -> dict[str, list[int]]:
    """Places of the first decisions, by what they are about: the first word of their names."""
    kinds: dict[str, list[int]] = {}
    for place in range(count):
        kind = told.decisions[place].partition(".")[0] if told is not None else ""
        kinds.setdefault(kind, []).append(place)
    return kinds


def _styles(last: Sequence[Mapping[str, float]]) -> dict[str, int]:
    """Of the options of some decisions, by how probable they are at the end."""
    amounts: dict[str, float] = {}
    for own in last:
        for option, share in own.items():
            amounts[option] = amounts.get(option, 0.0) + share
    return styles_of(amounts)


def _keys(styles: Mapping[str, int]) -> Markup:
    keys = [
        element("span", option, class_=f"key c{style}") for option, style in styles.items() if style != GREY
    ]
    more = element("span", "all others", class_=f"key c{GREY}") if GREY in styles.values() else Markup()
    return element("p", *keys, more, class_="keys")


def _strip(name: str, index: int, way: Sequence[EpochChoices], styles: dict[str, int], won: str) -> Markup:
    options = dict.fromkeys(option for epoch in way for option in epoch.choices[index])
    shares = {option: [epoch.choices[index].get(option, 0.0) for epoch in way] for option in options}
    return share_strip(name, shares, [epoch.epoch + 1 for epoch in way], styles, won)


def _names(told: SearchDocument | None, count: int) -> list[str]:
    if told is None or told.is_chain:
        return [f"position {index}" for index in range(count)]
    return told.decisions


def _likeliest(epoch: EpochChoices) -> list[str]:
    return [max(own, key=lambda name: own[name], default="") for own in epoch.choices]


def _some(way: Sequence[EpochChoices]) -> list[EpochChoices]:
    """So many that a page stays small, the first and the last among them."""
    count = min(len(way), _MOST_STEPS)
    places = {round(index * (len(way) - 1) / max(count - 1, 1)) for index in range(count)}
    return [way[place] for place in sorted(places)]
