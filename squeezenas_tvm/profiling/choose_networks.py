"""``profile --choose-networks``: which networks of a space to measure, where only a few can be."""

import argparse
import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from squeezenas_tvm.cli import Result
from squeezenas_tvm.errors import UsageError

if TYPE_CHECKING:
    from search.architecture import Architecture
    from search.resolution import Resolution
    from search.spaces.chain import ChainSpace

DRAWN = 2000  # architectures that the few are chosen among
FILE = "measured.csv"

Choices = npt.NDArray[np.int64]
Vector = npt.NDArray[np.float64]


def choose(args: argparse.Namespace) -> Result:
    """Write an architecture file for each chosen network, and a CSV file for their latencies."""
    from cost_models.device_models.fewshot import LEAST_NETWORKS
    from cost_models.lookup import results_folder
    from search.architecture import dump_architecture
    from search.resolution import Resolution
    from search.spaces.registry import get_space
    from targets import load_target

    target, space = load_target(args.target), get_space(args.space)
    resolution = Resolution.parse(args.resolution)
    if args.choose_networks < LEAST_NETWORKS:
        raise UsageError(
            f"--choose-networks {args.choose_networks}: fewer than {LEAST_NETWORKS} tell nothing; allowed: "
            f"{LEAST_NETWORKS} or more, 10 are usual"
        )
    chosen = choose_architectures(space, resolution, args.choose_networks, args.classes, args.seed)
    folder = results_folder(target.name, args.out, args.dtype) / f"networks-{space.name}-{resolution}"
    files = {f"{architecture.name}.yaml": dump_architecture(architecture) for architecture in chosen}
    files[FILE] = _template(list(files), resolution)
    _write_new(folder, files)
    measured = folder / FILE
    document = {
        "target": target.name,
        "space": space.name,
        "resolution": str(resolution),
        "networks": [{"file": str(folder / f"{a.name}.yaml"), "blocks": list(a.blocks)} for a in chosen],
        "measured": str(measured),
    }
    text = (
        f"{len(chosen)} networks of {space.name} to measure on {target.name} at {resolution}: {folder}\n"
        f"1. Measure each on the device, from camera frame to class indices; for example: squeezenas-tvm "
        f"deploy {folder / chosen[0].name}.yaml --target {args.target} --resolution {resolution} "
        f"--out BUNDLE, and run the bundle there.\n"
        f"2. Write the milliseconds into {measured}, column latency_ms.\n"
        f"3. squeezenas-tvm profile --target {args.target} --from-networks {measured}"
    )
    return Result(document=document, text=text)


def choose_architectures(
    space: "ChainSpace", resolution: "Resolution", count: int, num_classes: int = 19, seed: int = 0
) -> "list[Architecture]":
    """The networks of a space whose latencies tell most about all others: see ``fewshot.choose_networks``.

    Raises:
        UsageError: the space has fewer networks.
    """
    from cost_models.device_models.fewshot import choose_networks
    from search.architecture import Architecture

    drawn = draw(space, DRAWN, seed)
    if len(drawn) < count:
        raise UsageError(
            f"space {space.name}: {count} networks to choose of {len(drawn)}; choose fewer, or another space"
        )
    rows = choose_networks(work_of_choices(space, resolution, drawn, num_classes), count)
    return [
        Architecture(
            space=space.name,
            blocks=[p.candidates[i] for p, i in zip(space.positions, drawn[row], strict=True)],
            num_classes=num_classes,
            name=f"{space.name}-{number:02d}",
            origin=f"number {number} of {count} chosen to be measured at {resolution}, seed {seed}",
        )
        for number, row in enumerate(rows, 1)
    ]


def draw(space: "ChainSpace", count: int, seed: int) -> Choices:
    """Different random networks, each with a liking of its own for some candidates: (networks, positions).

    Draws that like all candidates alike would all be of much the same size. Fewer where the space is small.
    """
    from search.spaces import sampling

    generator = np.random.default_rng(seed)
    candidates = [position.candidates for position in space.positions]
    names = list(dict.fromkeys(name for own in candidates for name in own))
    likings = generator.exponential(size=(count, len(names)))
    chances = [likings[:, [names.index(name) for name in own]] for own in candidates]
    return np.unique(sampling.draw(candidates, count, generator, chances), axis=0)


def work_of_choices(
    space: "ChainSpace", resolution: "Resolution", choices: Choices, num_classes: int
) -> Vector:
    """``fewshot.work_of_networks`` of many networks at once: (networks, terms)."""
    from cost_models.device_models.fewshot import TERMS, work_of
    from cost_models.ir.fusion import split_into_kernels

    def work(part: Any) -> Vector:
        return work_of(split_into_kernels(part.graph, part.inputs))

    blocks: list[list[Vector]] = [[] for _ in space.positions]
    for index, _, part in space.blocks(resolution):
        blocks[index].append(work(part))
    fixed = sum((work(part) for part in space.fixed_parts(resolution, num_classes)), np.zeros(len(TERMS)))
    total = sum((np.array(row)[choices[:, index]] for index, row in enumerate(blocks)), fixed)
    total = np.array(total)
    total[:, TERMS.index("network")] = 1.0
    return total


def _template(networks: list[str], resolution: "Resolution") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("network", "resolution", "latency_ms", "note"))
    writer.writerows((network, resolution, "", "") for network in networks)
    return text.getvalue()


def _write_new(folder: Path, files: dict[str, str]) -> None:
    """Write what is not there yet. Raises UsageError rather than overwrite what somebody has filled in."""
    from targets.support.files import write_whole

    for name, text in files.items():
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"{path}: is there already, and differs; move it away, or give another folder with --out"
            )
    for name, text in files.items():
        write_whole(folder / name, text, "the networks to measure")
