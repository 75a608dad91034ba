"""``profile --choose-networks``: which networks of a space to measure, where only a few can be."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cost_models.device_models.fewshot import TERMS, choose_networks, work_of
from cost_models.ir.fusion import split_into_kernels
from search.architecture import Architecture, architecture_of, dump_architecture
from search.data.classes import unnamed
from search.resolution import Resolution
from search.spaces import sampling
from search.spaces.camera import segmentation_head
from search.spaces.space import Genotype, SearchSpace, one_hot
from squeezenas_tvm.errors import UsageError
from targets.support.files import refuse_others, write_whole
from targets.support.sealed import says

DRAWN = 2000  # architectures that the few are chosen among
FILE = "measured.csv"

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ToMeasure:
    """Networks that were written to be measured.

    Attributes:
        measured: the CSV file to fill in with their latencies; the architecture files lie beside it.
    """

    architectures: tuple[Architecture, ...]
    measured: Path

    def file(self, architecture: Architecture) -> Path:
        """The YAML file of one of them."""
        return self.measured.parent / f"{architecture.name}.yaml"


def write_networks(
    space: SearchSpace,
    resolution: Resolution,
    count: int,
    folder: Path,
    *,
    num_classes: int = 19,
    seed: int = 0,
) -> ToMeasure:
    """Write an architecture file for each chosen network, and a CSV file for their latencies.

    Args:
        folder: of the target's results; they go into one of their own below it.

    Raises:
        UsageError: the space has fewer networks.
        InTheWay: one of the files is there and differs.
    """
    chosen = choose_architectures(space, resolution, count, num_classes, seed)
    folder = folder / f"networks-{space.name}-{resolution}"
    files = {f"{architecture.name}.yaml": dump_architecture(architecture) for architecture in chosen}
    files[FILE] = _template(list(files), resolution)
    _write_new(folder, files)
    return ToMeasure(tuple(chosen), folder / FILE)


def choose_architectures(
    space: SearchSpace, resolution: Resolution, count: int, num_classes: int = 19, seed: int = 0
) -> list[Architecture]:
    """The networks of a space whose latencies tell most about all others: see ``fewshot.choose_networks``.

    Raises:
        UsageError: the space has fewer networks.
    """
    drawn = draw(space, DRAWN, seed)
    if len(drawn) < count:
        raise UsageError(
            f"space {space.name}: {count} networks to choose of {len(drawn)}; choose fewer, or another space"
        )
    rows = choose_networks(work_of_genotypes(space, resolution, drawn, num_classes), count)
    return [
        architecture_of(
            space,
            drawn[row],
            unnamed(num_classes),
            name=f"{space.name}-{number:02d}",
            origin=f"number {number} of {count} chosen to be measured at {resolution}, seed {seed}",
        )
        for number, row in enumerate(rows, 1)
    ]


def draw(space: SearchSpace, count: int, seed: int) -> list[Genotype]:
    """Different random networks, each with a liking of its own for some options.

    Draws that like all options alike would all be of much the same size. Fewer where the space is small.
    """
    generator, candidates = np.random.default_rng(seed), sampling.candidates_of(space)
    names = list(dict.fromkeys(name for own in candidates for name in own))
    likings = generator.exponential(size=(count, len(names)))
    chances = [likings[:, [names.index(name) for name in own]] for own in candidates]
    choices = np.unique(sampling.draw(candidates, count, generator, chances), axis=0)
    return list(sampling.genotypes(space, choices))


def work_of_genotypes(
    space: SearchSpace, resolution: Resolution, networks: Sequence[Genotype], num_classes: int
) -> Vector:
    """``fewshot.work_of_networks`` of many networks at once: (networks, terms)."""
    runs = space.marginals(one_hot(space, networks))
    total = np.zeros((len(networks), len(TERMS)))
    always = np.ones(len(networks))
    for part in space.parts(resolution, segmentation_head(num_classes)):
        work = work_of(split_into_kernels(part.graph, part.inputs))
        total += runs.get(part.name, always)[:, None] * work
    total[:, TERMS.index("network")] = 1.0
    return total


def _template(networks: list[str], resolution: Resolution) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("network", "resolution", "latency_ms", "note"))
    writer.writerows((network, resolution, "", "") for network in networks)
    return text.getvalue()


def _write_new(folder: Path, files: dict[str, str]) -> None:
    """Write what is not there yet. Raises InTheWay rather than overwrite what somebody has filled in."""
    new = {folder / name: text for name, text in files.items() if not says(folder / name, text)}
    refuse_others(new, "move it away, or give another folder with --out")
    for path, text in new.items():
        write_whole(path, text, "the networks to measure")
