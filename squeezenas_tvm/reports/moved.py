"""How the choices of a search moved: one strip a decision, how probable each option was over the epochs."""

from collections.abc import Sequence
from pathlib import Path

from search.results.distribution import FILE, EpochChoices, read_distribution
from search.results.document import SearchDocument
from squeezenas_tvm.reports.charts import row
from squeezenas_tvm.reports.marks import GREY
from squeezenas_tvm.reports.page import Markup, PageSection, element, join, paragraph
from squeezenas_tvm.reports.strips import share_strip, styles_of

_MOST_STEPS = 40  # that are drawn of a long search
_MOST_STRIPS = 60


def moved_section(folder: Path, told: SearchDocument | None) -> list[PageSection]:
    """Nothing where the search kept no way, as those of before did.

    Raises InvalidSearch where the file is damaged.
    """
    way = read_distribution(folder / FILE)
    if not way or (told is not None and len(told.decisions) != len(way[0].choices)):
        return []
    count = len(way[0].choices)
    won = told.chosen.options if told is not None and told.chosen is not None else _likeliest(way[-1])
    names = _names(told, count)
    amounts: dict[str, float] = {}
    for own in way[-1].choices:
        for option, share in own.items():
            amounts[option] = amounts.get(option, 0.0) + share
    styles, shown = styles_of(amounts), _some(way)
    strips = [
        _strip(names[index], index, shown, styles, won[index]) for index in range(min(count, _MOST_STRIPS))
    ]
    keys = [
        element("span", option, class_=f"key c{style}") for option, style in styles.items() if style != GREY
    ]
    more = element("span", "all others", class_=f"key c{GREY}") if GREY in styles.values() else Markup()
    left = f" The first {len(strips)} of {count} are shown." if count > len(strips) else ""
    said = (
        "How probable each option was at the end of every epoch; strongly coloured and marked ● is the one "
        f"that {'was chosen' if told is not None and told.chosen is not None else 'leads'}.{left}"
    )
    content = [paragraph(said), element("p", *keys, more, class_="keys"), row(strips)]
    return [PageSection("How the choices moved", join(content))]


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
