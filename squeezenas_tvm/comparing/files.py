"""What ``compare`` writes: a table as CSV, and a picture of accuracy over latency."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from io import BytesIO, StringIO
from pathlib import Path

from squeezenas_tvm.comparing.compare import ERROR, Compared, measure_of
from targets.support.files import refuse_others, write_whole

TABLE, PICTURE = "compare.csv", "compare.png"
_ON, _OFF = "#1f6fb4", "#8a93a0"


def check_folder(folder: Path) -> None:
    """Raises InTheWay where files there would be written over."""
    refuse_others([folder / TABLE, folder / PICTURE], "move them away, or name another --out")


def write_comparison(folder: Path, networks: Sequence[Compared], target: str) -> list[Path]:
    """Write both; returns their paths. Raises FailedWrite."""
    folder.mkdir(parents=True, exist_ok=True)
    text = StringIO()
    writer = csv.DictWriter(text, [own.name for own in fields(Compared)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(network) for network in networks)
    write_whole(folder / TABLE, text.getvalue(), "the table")
    write_whole(folder / PICTURE, _picture(networks, target), "the picture")
    return [folder / TABLE, folder / PICTURE]


def _height(own: Compared) -> float:
    """Its accuracy, or its MACs where nobody knows that."""
    return own.macs / 1e9 if own.score is None else own.score


def _picture(networks: Sequence[Compared], target: str) -> bytes:
    """Accuracy over latency; MACs over latency where no accuracy is known."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measure = measure_of(networks)
    known = [own for own in networks if measure is not None and own.measure == measure.name]
    shown = known or list(networks)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for own in shown:
        height = _height(own)
        colour = _ON if own.on_front else _OFF
        bars = [[max(own.latency_ms - own.low_ms, 0)], [max(own.high_ms - own.latency_ms, 0)]]
        axes.errorbar([own.latency_ms], [height], xerr=bars, fmt="none", ecolor=colour, elinewidth=0.8)
        axes.scatter([own.latency_ms], [height], c=colour, marker="o" if own.on_front else "s", zorder=3)
        axes.annotate(
            own.name, (own.latency_ms, height), xytext=(4, 4), textcoords="offset points", fontsize=8
        )
    front = sorted((own for own in known if own.on_front), key=lambda own: own.latency_ms)
    axes.step([own.latency_ms for own in front], [_height(own) for own in front], where="post", c=_ON)
    accuracy = f"{measure.title} ({measure.unit})" if measure else "GMACs"
    if measure is not None and measure.name == ERROR:
        accuracy += ", lower is better"
    axes.set(xlabel=f"latency on {target} (ms)", ylabel=accuracy)
    axes.grid(alpha=0.25)
    picture = BytesIO()
    figure.savefig(picture, dpi=150, format="png")
    return picture.getvalue()
