"""Networks with the accuracy that was reported for them, at the latency that they have here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.architecture import Architecture, list_architectures, load_architecture
from search.results.document import SearchDocument
from squeezenas_tvm.reports.charts import Series, chart
from squeezenas_tvm.reports.files import read_json
from squeezenas_tvm.reports.marks import STYLES
from squeezenas_tvm.reports.page import Markup

_TRAINED = ("best.json", "architecture.yaml")
_AGAIN = "the train command with --resume writes it again from the last checkpoint"
_SCORE = "miou_percent"


@dataclass(frozen=True)
class TrainedNetwork:
    """A network that somebody trained.

    Attributes:
        name: for people.
        options: that it is made of, if it is a chain of blocks.
        miou_percent: as it was reported.
        conditions: what it was trained and scored on; networks of other conditions do not compare.
        latency_ms: here; ``low_ms`` and ``high_ms`` end its interval, where it has one.
    """

    name: str
    options: tuple[str, ...]
    miou_percent: float | None
    conditions: str
    latency_ms: float
    low_ms: float | None = None
    high_ms: float | None = None


def conditions_of(network: Architecture) -> tuple[float | None, str]:
    """mIoU in percent that was reported for it, and on what; None where nobody told any."""
    for one in network.results:
        if one.miou_percent is not None:
            return one.miou_percent, one.conditions.partition(";")[0]
    return None, ""


def of_the_space(told: SearchDocument) -> list[TrainedNetwork]:
    """The shipped networks of a search's space, at the costs that the search went by; of chains alone.

    Those of the same blocks are there once for each that was trained.
    """
    if not told.is_chain or told.task != "segmentation":
        return []
    shipped = (load_architecture(name) for name in list_architectures())
    found = (_placed(one, told, *conditions_of(one)) for one in shipped if one.space == told.space)
    return sorted((one for one in found if one is not None), key=lambda one: one.latency_ms)


def trained_below(folder: Path, told: SearchDocument) -> list[TrainedNetwork]:
    """Those of a search's space that were trained into folders of its own.

    Raises:
        UsageError, SearchError: a file of a training is damaged.
    """
    found = []
    for best in sorted(folder.glob(f"*/{_TRAINED[0]}")):
        if told.is_chain and (best.parent / _TRAINED[1]).is_file():
            network = load_architecture(best.parent / _TRAINED[1])
            known = read_json(best, 1, _AGAIN)
            score = known.get(_SCORE)
            if network.space == told.space and isinstance(score, int | float):
                own = network.model_copy(update={"name": best.parent.name})
                on = f"{known.get('data')} {known.get('split')}, trained here"
                found.append(_placed(own, told, float(score), on))
    return [one for one in found if one is not None]


def _placed(
    network: Architecture, told: SearchDocument, miou_percent: float | None, conditions: str
) -> TrainedNetwork | None:
    """None where the search knows no cost of one of its blocks."""
    blocks, costs = tuple(network.blocks or ()), told.latency_s.positions
    if len(blocks) != len(costs) or any(block not in own for block, own in zip(blocks, costs, strict=True)):
        return None
    seconds = sum(own[block] for block, own in zip(blocks, costs, strict=True)) + told.latency_s.around
    return TrainedNetwork(network.name, blocks, miou_percent, conditions, seconds * 1e3)


def trained_chart(
    title: str, networks: Sequence[TrainedNetwork], *, x: str, logarithmic: str = "", wide: bool = False
) -> Markup:
    """Reported accuracy over latency, a style for each of the conditions; nothing where none was reported."""
    known = [one for one in networks if one.miou_percent is not None]
    if not known:
        return Markup()
    y = "mIoU as reported (%)"
    return chart(title, list(_series(known)), x=x, y=y, logarithmic=logarithmic, wide=wide)


def _series(networks: Sequence[TrainedNetwork]) -> Iterable[Series]:
    for index, conditions in enumerate(dict.fromkeys(one.conditions for one in networks)):
        own = [one for one in networks if one.conditions == conditions]
        known = all(one.low_ms is not None for one in own)
        yield Series(
            conditions,
            [(one.latency_ms, one.miou_percent or 0.0) for one in own],
            "dots",
            STYLES[index % len(STYLES)],
            radius=4.0,
            intervals=[(one.low_ms or 0.0, one.high_ms or 0.0) for one in own] if known else (),
            told=[_told(one) for one in own],
            labels=[one.name for one in own],
        )


def _told(one: TrainedNetwork) -> str:
    ends = f" ({one.low_ms:.3g} to {one.high_ms:.3g})" if one.low_ms and one.high_ms else ""
    return (
        f"{one.name}\n{one.latency_ms:.3g} ms{ends}, mIoU {one.miou_percent:.4g} %\n{one.conditions}\n"
        f"{' '.join(one.options)}"
    ).rstrip()
