"""How good are the tiles that convolutions get by default, beside others that were measured?

    python benchmarks/tile_choice.py squeezenas-lat-large --resolution 512x1024 --out rows.jsonl --json

For every distinct convolution of the networks: the tile that ``cost_models.schedules.tile_model`` chooses,
and ``--tiles`` others, half of them those that its model holds for the best, half drawn from its better
half. All are built and timed once by turns; the fastest three are timed again, by turns with the default,
and the ratio told is that of these later timings: of many, the fastest was lucky. Nothing is tuned, nothing
is kept but ``--out``, where finished kernels are: a run that was stopped goes on from there.
"""

import argparse
import dataclasses
import json
import math
import random
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployed_networks import OWN
from plain_loop import build
from records import Records, say
from refusals import run_benchmark

from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.runner.runner import RunSettings, arguments_of, run_kernel
from cost_models.schedules.conv_template import Conv, Tile, find_conv, schedule_conv
from cost_models.schedules.tile_model import Cpu, all_tiles, choose_tile
from cost_models.tvm_import import tvm
from search.architecture import load_architecture
from search.costs.kernel_table import network_graph
from search.resolution import Resolution
from squeezenas_tvm.cli import table
from squeezenas_tvm.errors import FailedWork
from targets import load_target, open_session

FIRST = RunSettings(number=1, repeat=3, min_repeat_s=0.01)
AGAIN = RunSettings(number=1, repeat=5, min_repeat_s=0.02)
ROUNDS, FASTEST = 4, 3


def convolutions(names: Sequence[str], size: Resolution, target: Any) -> dict[Kernel, Conv]:
    """Distinct kernels that the template covers."""
    found: dict[Kernel, Conv] = {}
    for name in names:
        for kernel in dict.fromkeys(network_graph(load_architecture(name), size).kernels):
            try:
                found.setdefault(kernel, find_conv(kernel_module(kernel, target)))
            except ValueError:
                continue  # no convolution
    return found


def some_tiles(conv: Conv, cpu: Cpu, count: int, seed: int = 0) -> list[Tile]:
    """The default one first, then others."""
    ranked = sorted(all_tiles(conv, cpu), key=lambda entry: entry[1])
    tiles = [tile for tile, _ in ranked[: len(ranked) // 2 + 1]]
    best, rest = tiles[: count // 2], tiles[count // 2 :]
    drawn = random.Random(seed).sample(rest, min(count - len(best), len(rest)))
    return list(dict.fromkeys([choose_tile(conv, cpu), *best, *drawn]))


def row_of(kernel: Kernel, conv: Conv, count: int, target: Any, session: Any) -> dict[str, Any]:
    """A kernel: the default tile's time over the best one's, and which that is."""
    tiles = some_tiles(conv, Cpu.of(target), count)
    with tempfile.TemporaryDirectory() as folder:
        paths = dict(_built(conv, tiles, target, Path(folder)))
        first = {tile: s for tile in paths if (s := _median_s(conv, tile, paths[tile], session, FIRST))}
        if tiles[0] not in first:
            raise FailedWork(f"{kernel.label}: does not run with its default tile")
        again = dict.fromkeys([tiles[0], *sorted(first, key=first.__getitem__)[:FASTEST]])
        rounds: dict[Tile, list[float]] = {tile: [] for tile in again}
        for _ in range(ROUNDS):
            for tile in again:
                rounds[tile].append(_median_s(conv, tile, paths[tile], session, AGAIN) or math.inf)
    medians = {tile: statistics.median(seconds) for tile, seconds in rounds.items()}
    best = min(medians, key=medians.__getitem__)
    return {
        "label": kernel.label,
        "kind": kind_of(conv),
        "tiles": len(first),
        "default_ms": medians[tiles[0]] * 1e3,
        "best_ms": medians[best] * 1e3,
        "default": dataclasses.asdict(tiles[0]),
        "best": dataclasses.asdict(best),
    }


def kind_of(conv: Conv) -> str:
    """Of convolutions that are alike for a processor."""
    if conv.depthwise:
        return "depthwise" if conv.stride == (1, 1) else "depthwise, strided"
    return "1x1" if conv.taps == (1, 1) else "others"


def _built(conv: Conv, tiles: Sequence[Tile], target: Any, folder: Path) -> Iterator[tuple[Tile, Path]]:
    for number, tile in enumerate(tiles):
        path = folder / f"{number}.so"
        build(_module(conv, tile), target, path)
        yield tile, path


def _module(conv: Conv, tile: Tile) -> Any:
    return tvm.IRModule({"main": schedule_conv(conv, tile).with_attr("global_symbol", "main")})


def _median_s(conv: Conv, tile: Tile, path: Path, session: Any, settings: RunSettings) -> float | None:
    run = run_kernel(session, path, arguments_of(_module(conv, tile)), settings)
    return None if run.error else statistics.median(run.samples_s)


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By kind and of all: geometric mean and most of the default's time over the best's."""
    kinds = {"all": list(rows)} | {
        kind: [row for row in rows if row["kind"] == kind] for kind in sorted({row["kind"] for row in rows})
    }
    found = {}
    for kind, own in kinds.items():
        over = [row["default_ms"] / row["best_ms"] for row in own]
        found[kind] = {
            "kernels": len(own),
            "mean": statistics.geometric_mean(over),
            "most": max(over),
            "time": sum(row["default_ms"] for row in own) / sum(row["best_ms"] for row in own),
        }
    return found


def _text(found: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        [kind, str(own["kernels"]), *(f"{own[key]:.2f}" for key in ("mean", "most", "time"))]
        for kind, own in found.items()
    ]
    return table(["default over best", "kernels", "mean", "most", "all their time"], rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=OWN, help="architectures (default all of the house)")
    parser.add_argument("--target", default="local-cpu", help="this machine's (default %(default)s)")
    parser.add_argument("--resolution", default="512x1024", metavar="HxW")
    parser.add_argument("--tiles", type=int, default=40, help="beside the default (default %(default)s)")
    parser.add_argument("--out", type=Path, help="file that keeps finished kernels, a line each")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    args = parser.parse_args()
    target, records, rows = load_target(args.target), Records(args.out), []
    tvm_target, size = target.tvm_target(), Resolution.parse(args.resolution)
    found = convolutions(args.networks, size, tvm_target)
    with open_session(target, timeout_s=86400.0) as session:
        for number, (kernel, conv) in enumerate(found.items(), 1):
            row = records.find(kernel=kernel.key)
            row = row or records.add(
                {"kernel": kernel.key, **row_of(kernel, conv, args.tiles, tvm_target, session)}
            )
            rows.append(row)
            over = row["default_ms"] / row["best_ms"]
            say(f"{number} of {len(found)}: {row['label']}: default {over:.2f} times the best")
    told = ratios(rows)
    document = {"machine": target.fingerprint().as_dict(), "ratios": told, "kernels": rows}
    print(json.dumps(document, indent=2) if args.json else _text(told))


if __name__ == "__main__":
    run_benchmark(main)
