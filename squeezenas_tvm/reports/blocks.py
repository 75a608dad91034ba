"""The network that a search chose, block by block beside the published ones of its space."""

from collections.abc import Mapping, Sequence

from search.results.document import SearchDocument
from squeezenas_tvm.reports.charts import row
from squeezenas_tvm.reports.page import Heat, Markup, element, heat_map, join, paragraph
from squeezenas_tvm.reports.published import TrainedNetwork, of_the_space
from squeezenas_tvm.reports.strips import ASIDE, Part, divided_bars, styles_of

_AROUND = "around the blocks"
FOUND = "found"


def beside_published(told: SearchDocument) -> Markup:
    """Bars and a table; nothing where no other network of the space is known."""
    options, costs = tuple(told.chosen.options) if told.chosen else (), told.latency_s.positions
    if len(options) != len(costs) or any(o not in own for o, own in zip(options, costs, strict=True)):
        return Markup()
    others: dict[tuple[str, ...], TrainedNetwork] = {}
    for one in of_the_space(told):  # networks of the same blocks differ in their weights alone
        others.setdefault(one.options, one)
    others.pop(options, None)
    if not others:
        return Markup()
    networks = {FOUND: options, **{one.name: one.options for one in others.values()}}
    said = (
        f"Latencies at {told.resolution} on {told.target}, as the search was told them; the share is of the "
        "whole network. A block that is skipped takes no time where nothing changes its size."
    )
    content = [element("h3", "Beside published networks"), paragraph(said)]
    return join([*content, row([_bars(told, networks)]), _table(told, networks)])


def _total_s(told: SearchDocument, options: Sequence[str]) -> float:
    return sum(_seconds(told, options)) + told.latency_s.around


def _seconds(told: SearchDocument, options: Sequence[str]) -> list[float]:
    return [own[option] for own, option in zip(told.latency_s.positions, options, strict=True)]


def _bars(told: SearchDocument, networks: Mapping[str, Sequence[str]]) -> Markup:
    bars, amounts = {}, dict[str, float]()
    for name, options in networks.items():
        total_s, parts = _total_s(told, options), []
        for index, (option, seconds) in enumerate(zip(options, _seconds(told, options), strict=True)):
            amounts[option] = amounts.get(option, 0.0) + seconds
            share = f"{seconds * 1e3:.3f} ms, {seconds / total_s:.1%}" if total_s else ""
            parts.append(Part(option, seconds * 1e3, f"{name}, position {index}: {option}\n{share}"))
        around = told.latency_s.around
        share = f"{around * 1e3:.3f} ms, {around / total_s:.1%}" if total_s else ""
        parts.append(Part(_AROUND, around * 1e3, f"{name}, {_AROUND}\n{share}"))
        bars[f"{name}: {total_s * 1e3:.3g} ms"] = parts
    title = "Latency of each network, block by block"
    styles, x = {**styles_of(amounts), _AROUND: ASIDE}, f"latency on {told.target} (ms)"
    return divided_bars(title, bars, styles, x=x, wide=True)


def _table(told: SearchDocument, networks: Mapping[str, Sequence[str]]) -> Markup:
    columns = []
    for options in networks.values():
        total_s = _total_s(told, options) or 1.0
        shares = [seconds / total_s for seconds in _seconds(told, options)]
        columns.append([*zip(options, shares, strict=True), ("", told.latency_s.around / total_s)])
    largest = max((share for column in columns for _, share in column[:-1]), default=0.0) or 1.0
    names = [*map(str, range(len(told.latency_s.positions))), _AROUND]
    rows = {
        name: [Heat(f"{option} {share:.1%}".strip(), min(share / largest, 1.0)) for option, share in cells]
        for name, cells in zip(names, zip(*columns, strict=True), strict=True)
    }
    return heat_map("position", list(networks), rows)
