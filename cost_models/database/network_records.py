"""Networks that were timed whole, as a table in text: enough to make an estimate's calibration again."""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cost_models.errors import InvalidMeasurement

_COLUMNS = ("space", "blocks", "num_classes", "resolution", "sum_s", "rounds_s", "file", "digest")


@dataclass(frozen=True)
class About:
    """What makes a network again, to whoever knows its search space.

    Attributes:
        blocks: the choice at each position.
        resolution: height and width of the camera's frame, pixels.
    """

    space: str
    blocks: tuple[str, ...]
    num_classes: int
    resolution: tuple[int, int]

    @property
    def description(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> "About":
        """The inverse of ``description``, also after JSON made lists of what is in it."""
        height, width = description["resolution"]
        blocks, classes = tuple(description["blocks"]), int(description["num_classes"])
        return cls(description["space"], blocks, classes, (int(height), int(width)))


@dataclass(frozen=True)
class AboutFile:
    """A network from an ONNX file, by what ``onnx-networks.json`` keeps of it.

    Attributes:
        file: its name.
        sizes: of its inputs, for people.
        digest: of its layers and sizes, which alone says whether two are the same.
    """

    file: str
    sizes: str
    digest: str

    @property
    def description(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


def about_of(description: Mapping[str, Any]) -> About | AboutFile:
    """The inverse of ``description`` of either."""
    return AboutFile(**description) if "digest" in description else About.from_description(description)


@dataclass(frozen=True)
class WholeNetwork:
    """A network timed whole.

    Attributes:
        rounds_s: samples, in seconds, of each round; other networks were timed between two rounds.
        sum_s: of the medians of its kernels, as they were timed one by one.
    """

    about: About | AboutFile
    rounds_s: tuple[tuple[float, ...], ...]
    sum_s: float

    def __post_init__(self) -> None:
        samples_s = [sample for round_s in self.rounds_s for sample in round_s]
        sound = bool(self.rounds_s) and all(self.rounds_s)
        if not sound or not all(math.isfinite(s) and s > 0 for s in (*samples_s, self.sum_s)):
            raise InvalidMeasurement(
                f"a network's rounds must have samples, and samples and sum be finite and > 0 s, "
                f"found {self.rounds_s} and {self.sum_s}"
            )

    @property
    def levels_s(self) -> list[float]:
        """The median of each round."""
        return [statistics.median(samples_s) for samples_s in self.rounds_s]

    @property
    def median_s(self) -> float:
        """Of the rounds' medians: a slow round does not count."""
        return statistics.median(self.levels_s)


def networks_to_csv(networks: Iterable[WholeNetwork]) -> str:
    """One line a network."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for network in networks:
        rounds_s = "; ".join(" ".join(f"{s:.9g}" for s in samples_s) for samples_s in network.rounds_s)
        writer.writerow(_cells(network.about) | {"sum_s": f"{network.sum_s:.9g}", "rounds_s": rounds_s})
    return text.getvalue()


def _cells(about: About | AboutFile) -> dict[str, object]:
    if isinstance(about, AboutFile):
        return {"file": about.file, "resolution": about.sizes, "digest": about.digest}
    resolution = "x".join(map(str, about.resolution))
    blocks = " ".join(about.blocks)
    return {
        "space": about.space,
        "blocks": blocks,
        "num_classes": about.num_classes,
        "resolution": resolution,
    }


def networks_from_csv(text: str) -> list[WholeNetwork]:
    """The inverse of ``networks_to_csv``. Raises ValueError, InvalidMeasurement for other text."""
    try:
        return [_network(line) for line in csv.DictReader(io.StringIO(text), strict=True)]
    except (csv.Error, LookupError, TypeError, AttributeError) as error:  # a line without some of the cells
        raise ValueError(f"no table of networks ({error})") from None


def _network(line: Mapping[str, str]) -> WholeNetwork:
    rounds_s = tuple(tuple(map(float, part.split())) for part in line["rounds_s"].split(";"))
    return WholeNetwork(_about(line), rounds_s, float(line["sum_s"]))


def _about(line: Mapping[str, str]) -> About | AboutFile:
    if line.get("digest"):  # tables of before files were timed have no such column
        return AboutFile(line["file"], line["resolution"], line["digest"])
    height, width = map(int, line["resolution"].split("x"))
    return About(line["space"], tuple(line["blocks"].split()), int(line["num_classes"]), (height, width))
