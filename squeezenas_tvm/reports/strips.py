"""Strips of reports as inline SVG: bars divided into parts above each other, and shares over epochs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from squeezenas_tvm.reports.axes import Axis, axis_range, is_drawable, number_text
from squeezenas_tvm.reports.charts import WIDTH, text
from squeezenas_tvm.reports.marks import GREY, STYLES
from squeezenas_tvm.reports.page import Markup, element

_SIDE, _TOP, _ROW, _BAR, _BOTTOM = 14, 4, 38, 18, 42
_LEFT, _HIGH, _UNDER = 14, 54, 18  # of a strip of shares
_NAMES, _MOST_NAMES, _WIDE_LETTER = 110, 180, 6.7  # room for names beside its end, and of a letter of them
_LETTER, _INNER = 5.6, 3.5  # of a kind's name in its part: width of a letter, and how far below the middle
_LEGIBLE = 11.0  # pixels from which a share is named at the end


ASIDE = 0  # the style of a kind that is none of those compared


@dataclass(frozen=True)
class Part:
    """Of a bar.

    Attributes:
        kind: what it is of; parts of a kind look alike.
        amount: how long it is.
        told: what it says when it is pointed at.
    """

    kind: str
    amount: float
    told: str


def styles_of(amounts: Mapping[str, float]) -> dict[str, int]:
    """A style for each kind: of the largest ones one of their own, grey for the others."""
    largest = sorted(amounts, key=lambda name: -amounts[name])
    return {name: STYLES[place] if place < len(STYLES) else GREY for place, name in enumerate(largest)}


def divided_bars(
    title: str,
    bars: Mapping[str, Sequence[Part]],
    styles: Mapping[str, int],
    *,
    x: str,
    wide: bool = False,
) -> Markup:
    """A bar for each name, its parts one after the other.

    Args:
        styles: of the kinds that have one; others are grey.
        x: what amounts are, with unit.
        wide: as wide as the page.
    """
    longest = max((sum(part.amount for part in parts) for parts in bars.values()), default=0.0)
    if not (longest > 0 and is_drawable(longest)):
        return element("figure", element("figcaption", f"{title}: nothing yet"))
    high = _TOP + _ROW * len(bars)
    across = Axis(0.0, axis_range([0.0, longest])[1], _SIDE, WIDTH - _SIDE)
    names, marks, written = [], [], []
    for place, (name, parts) in enumerate(bars.items()):
        top = _TOP + _ROW * place
        names.append(text(_SIDE, top + 12, name, "start"))
        start = 0.0
        for part in parts:
            own = _part(part, styles.get(part.kind, GREY), across, start, top + _ROW - _BAR - 2)
            marks.append(own)
            written.append(_inner(part, styles.get(part.kind, GREY), across, start, top + _ROW - _BAR - 2))
            start += part.amount
    whole = {"x": f"{_SIDE}", "y": f"{_TOP}", "width": f"{WIDTH - 2 * _SIDE}", "height": f"{high - _TOP}"}
    plot = element(
        "svg",
        *(element("g", *marks, class_="moved"), *written),
        viewBox=" ".join(whole[name] for name in ("x", "y", "width", "height")),
        **whole,
    )
    label = text(WIDTH / 2, high + _BOTTOM - 6, x, "middle")
    svg = element(
        "svg",
        *(_ticks(across, high), label, *names, plot),
        viewBox=f"0 0 {WIDTH} {high + _BOTTOM}",
        role="img",
        tabindex="0",
        **{"aria-label": title, "data-frame": f"{_SIDE} {_TOP} {WIDTH - _SIDE} {high}"},
        **{"data-x": across.words(), "data-xname": x},
    )
    keys = _keys([part.kind for parts in bars.values() for part in parts if part.amount > 0], styles)
    return element("figure", svg, element("figcaption", *keys), **({"class_": "wide"} if wide else {}))


def _keys(kinds: Iterable[str], styles: Mapping[str, int]) -> list[Markup]:
    """A legend: those with a style, and all others as one."""
    shown = {kind: styles.get(kind, GREY) for kind in kinds}
    keys = [element("span", kind, class_=f"key c{style}") for kind, style in shown.items() if style != GREY]
    if GREY in shown.values():
        keys.append(element("span", "all others", class_=f"key c{GREY}"))
    return keys


def _part(part: Part, style: int, across: Axis, start: float, top: float) -> Markup:
    if part.amount <= 0:
        return Markup()
    left, right = across.at(start), across.at(start + part.amount)
    place = {"x": f"{left:.2f}", "y": f"{top:g}", "width": f"{right - left:.2f}", "height": f"{_BAR}"}
    return element("rect", class_=f"part c{style}", **place, **{"data-t": part.told})


def _inner(part: Part, style: int, across: Axis, start: float, top: float) -> Markup:
    """The kind's name, where it fits into the part."""
    wide = across.at(part.amount) - across.at(0.0)
    if wide < _LETTER * len(part.kind) + 4:
        return Markup()
    place = f"translate({across.at(start + part.amount / 2):.1f} {top + _BAR / 2:g})"
    words = {"transform": place, "y": f"{_INNER}", "text-anchor": "middle", "class_": f"inner c{style}"}
    return element("text", part.kind, **words)


def _ticks(across: Axis, low: float) -> Markup:
    line = element("path", d=f"M{across.start:g} {low:g}H{across.end:g}", class_="axis")
    marks = [
        element("path", d=f"M{across.at(value):.1f} {low:g}v4", class_="axis") for value in across.ticks()
    ]
    numbers = [text(across.at(value), low + 15, number_text(value), "middle") for value in across.ticks()]
    return element("g", line, *marks, *numbers, class_="ticks")


def share_strip(
    title: str,
    shares: Mapping[str, Sequence[float]],
    steps: Sequence[int],
    styles: Mapping[str, int],
    chosen: str,
) -> Markup:
    """How shares that add up to one moved from epoch to epoch, above each other.

    Args:
        title: what is shared; stands below.
        shares: of each option, from 0 to 1, as many as there are steps.
        steps: numbers of the epochs, rising.
        styles: of options.
        chosen: the option that won; the others are paler.
    """
    last = steps[-1] if len(steps) > 1 else steps[0] + 1  # an epoch alone is as wide as there is room
    names = _names_room(shares)
    across = Axis(steps[0], last, _LEFT, WIDTH - names)
    up = Axis(0.0, 1.0, _TOP + _HIGH, _TOP)
    below, areas, ends = [0.0] * len(steps), [], dict[str, tuple[float, float]]()
    for option, own in shares.items():
        above = [low + share for low, share in zip(below, own, strict=True)]
        outline = _outline([across.at(step) for step in steps], below, above, across, up)
        style = f"area c{styles.get(option, GREY)}" + ("" if option == chosen else " dim")
        said = {"data-name": option, "data-s": " ".join(f"{100 * share:.3g}" for share in own)}
        if any(own):
            areas.append(element("path", d=outline, class_=style, **said))
        ends[option] = (up.at((below[-1] + above[-1]) / 2), own[-1])
        below = above
    bottom, wide = _TOP + _HIGH, WIDTH - names - _LEFT
    whole = {"x": f"{_LEFT}", "y": f"{_TOP}", "width": f"{wide}", "height": f"{_HIGH}"}
    moved = element("g", *areas, class_="moved")
    plot = element("svg", moved, viewBox=f"{_LEFT} {_TOP} {wide} {_HIGH}", **whole)
    ticks = [text(_LEFT, bottom + 13, str(steps[0]), "start")]
    ticks += [text(WIDTH - names, bottom + 13, str(last), "end")] if len(steps) > 1 else []
    svg = element(
        "svg",
        *(element("g", *ticks, class_="ticks"), *_ends(ends, chosen, names), plot),
        viewBox=f"0 0 {WIDTH} {_TOP + _HIGH + _UNDER}",
        role="img",
        tabindex="0",
        **{"aria-label": title, "data-frame": f"{_LEFT} {_TOP} {WIDTH - names} {bottom}"},
        **{"data-x": across.words(), "data-xname": "epoch", "data-steps": " ".join(map(str, steps))},
    )
    return element("figure", svg, element("figcaption", title), class_="strip")


def _names_room(options: Iterable[str]) -> float:
    """So much that the longest name fits, with a mark and a share."""
    return min(max(_NAMES, 10 + _WIDE_LETTER * max(len(f"● {own} 100%") for own in options)), _MOST_NAMES)


def _ends(ends: Mapping[str, tuple[float, float]], chosen: str, room: float) -> list[Markup]:
    """Beside the end of a strip: the option that won, and others as far as there is room.

    Args:
        ends: of each option, where its share lies at the end, and how large it is.
        room: for names; what is longer is cut.
    """
    names, taken = [], list[float]()
    most = int((room - 10) / _WIDE_LETTER) - len("●  100%")
    for option in sorted(ends, key=lambda name: (name != chosen, -ends[name][1])):
        (middle, share), mark = ends[option], "● " if option == chosen else ""
        legible = mark or share * _HIGH >= _LEGIBLE
        if legible and all(abs(middle - other) >= _LEGIBLE for other in taken):
            taken.append(middle)
            shown = option if len(option) <= most else f"{option[: most - 1]}…"
            names.append(text(WIDTH - room + 5, middle + 4, f"{mark}{shown} {share:.0%}", "start"))
    return names


def _outline(
    places: Sequence[float], below: Sequence[float], above: Sequence[float], across: Axis, up: Axis
) -> str:
    if len(places) == 1:
        places, below, above = [across.start, across.end], [*below, *below], [*above, *above]
    top = [f"{x:.1f} {up.at(y):.1f}" for x, y in zip(places, above, strict=True)]
    back = [f"{x:.1f} {up.at(y):.1f}" for x, y in zip(places, below, strict=True)]
    return f"M{'L'.join([*top, *reversed(back)])}z"
