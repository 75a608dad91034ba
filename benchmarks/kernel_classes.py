"""Where the time of deployed networks goes by class of kernel, ours beside onnxruntime's, and the peak.

    python benchmarks/kernel_classes.py squeezenas-lat-small --resolution 512x1024 --json

Each network from a camera's frame to the class of each pixel, as ``deploy`` makes it (default schedules, or
those of ``--measurements``), in runs in which each kernel is timed; onnxruntime by its own profiler, the same
file. They take turns, each turn in a process of its own. The peak is numpy's product of matrices as it runs
in between.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from deployed_networks import OWN, check_names, write_network
from records import say
from refusals import run_benchmark

from search.resolution import Resolution
from squeezenas_tvm.bundles.kernel_times import machine_peaks
from squeezenas_tvm.bundles.runner import Bundle
from squeezenas_tvm.errors import FailedWork
from targets import load_target

CLASSES = ("pointwise", "dense", "grouped", "depthwise", "labels", "rest")
_WARM_UP, _RUNS = 3, 10
_LABELS = ("ArgMax", "Resize")


@dataclass(frozen=True, slots=True)
class Spent:
    """A kernel, or an operation of onnxruntime, in a run: class, multiply-accumulates, milliseconds."""

    kind: str
    macs: int
    ms: float


def ours(bundle: Path) -> list[Spent]:
    """The kernels of a bundle of ours."""
    loaded = Bundle.load(bundle)
    frame = np.full(loaded.inputs[0]["shape"], 128, np.uint8)
    times = loaded.kernel_times([frame], _RUNS, _WARM_UP)
    return [Spent(kind_of(own.kernel), (own.macs or 0) * own.calls, own.median_ms) for own in times.kernels]


def kind_of(label: str) -> str:
    """The class of a kernel by its label, such as ``conv1x1g2+relu 16x32x64->16x32x64``."""
    first = label.partition(" ")[0]
    if "argmax" in first:
        return "labels"
    if first.startswith("dw"):
        return "depthwise"
    if not (conv := re.match(r"conv(\d+x\d+)(\w*)", first)):
        return "rest"
    if re.search(r"g\d", conv[2]):
        return "grouped"
    return "pointwise" if conv[1] == "1x1" else "dense"


def theirs(model: Path, threads: int) -> list[Spent]:
    """What onnxruntime's profiler tells of the same network; medians of its runs."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        (wanted,) = session.get_inputs()
        for _ in range(_WARM_UP + _RUNS):
            session.run(None, {wanted.name: np.full(wanted.shape, 128, np.uint8)})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return spent_of(events)


def spent_of(events: Sequence[Mapping[str, Any]]) -> list[Spent]:
    """A profile of onnxruntime as operations of a run."""
    took: dict[str, list[float]] = defaultdict(list)
    about: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            took[event["name"]].append(event["dur"] / 1e3)
            about[event["name"]] = event["args"]
    middle = {name: statistics.median(own[_WARM_UP:] or own) for name, own in took.items()}
    return [Spent(*_described(about[name]), ms) for name, ms in middle.items()]


def _described(told: Mapping[str, Any]) -> tuple[str, int]:
    """Class and multiply-accumulates of an operation, by its shapes."""
    operation = told["op_name"]
    if operation in _LABELS:
        return "labels", 0
    if "Conv" not in operation:
        return "rest", 0
    inputs, outputs = (
        [next(iter(value.values())) for value in told[f"{side}_type_shape"]] for side in ("input", "output")
    )
    weights = inputs[1]
    macs = prod(outputs[0]) * prod(weights[1:])
    if weights[1] == 1 and weights[0] > 1 and inputs[0][1] > 1:
        return "depthwise", macs
    if inputs[0][1] > weights[1]:
        return "grouped", macs
    return ("pointwise" if prod(weights[2:]) == 1 else "dense"), macs


def by_class(found: Sequence[Spent]) -> dict[str, dict[str, float]]:
    """Milliseconds and multiply-accumulates of each class that occurs."""
    return {
        kind: {"ms": sum(own.ms for own in found if own.kind == kind),
               "macs": sum(own.macs for own in found if own.kind == kind)}
        for kind in CLASSES
        if any(own.kind == kind for own in found)
    }  # fmt: skip


def row_of(name: str, size: Resolution, setting: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A network: medians over turns, by class."""
    from squeezenas_tvm.bundles.deploy import Wishes, deploy_onnx

    model, bundle = folder / f"{name}.onnx", folder / name
    write_network(name, size, "classes", model)
    wishes = Wishes(measurements=setting.measurements or folder / "none", shown=False)
    deploy_onnx(model, load_target(setting.target), bundle, wishes)
    turns: dict[str, list[dict[str, Any]]] = {"ours": [], "onnxruntime": []}
    peaks = []
    for number in range(setting.rounds):
        say(f"{name}: turn {number + 1} of {setting.rounds}")
        for whose, file in (("ours", bundle), ("onnxruntime", model)):
            turns[whose].append(_turn(whose, file, setting.threads))
        peaks.append(machine_peaks())
    return {
        "network": name,
        "resolution": str(size),
        "threads": setting.threads,
        "peak": asdict(max(peaks, key=lambda own: own.macs_per_s)),
        **{whose: _middle(own) for whose, own in turns.items()},
    }


def _turn(whose: str, file: Path, threads: int) -> dict[str, Any]:
    environ = {**os.environ, "TVM_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    words = [sys.executable, __file__, "--turn", whose, str(file), "--threads", str(threads)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise FailedWork(f"{file}: {whose} does not run: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _middle(turns: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        kind: {name: statistics.median(turn[kind][name] for turn in turns) for name in ("ms", "macs")}
        for kind in turns[0]
    }


def table_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """In Markdown: milliseconds, and the share of the peak of those that multiply."""
    yield "| network | class | MMACs | ours ms | of the peak | onnxruntime ms | of the peak |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        peak = row["peak"]["macs_per_s"]
        for kind in CLASSES:
            sides = [row[whose].get(kind, {"ms": 0.0, "macs": 0.0}) for whose in ("ours", "onnxruntime")]
            if not any(side["ms"] for side in sides):
                continue
            macs = sides[0]["macs"]
            cells = []
            for side in sides:
                share = f"{macs / (side['ms'] / 1e3) / peak:.0%}" if macs and side["ms"] else "-"
                cells += [f"{side['ms']:.2f}", share]
            yield f"| {row['network']} | {kind} | {macs / 1e6:.0f} | {' | '.join(cells)} |"


def main() -> None:
    """One turn where that is asked for; else all networks."""
    args = _parser().parse_args()
    if args.turn:
        whose, file = args.turn
        found = ours(Path(file)) if whose == "ours" else theirs(Path(file), args.threads)
        print(json.dumps(by_class(found)))
        return
    check_names(args.network)
    size = Resolution.parse(args.resolution)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row_of(name, size, args, Path(folder)) for name in args.network]
    print(json.dumps(rows, indent=1) if args.json else "\n".join(table_of(rows)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("network", nargs="*", default=list(OWN), help=f"(default {' '.join(OWN)})")
    parser.add_argument("--target", default="local-cpu")
    parser.add_argument("--resolution", default="512x1024", metavar="HxW")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    parser.add_argument("--measurements", type=Path, metavar="DIR", help="tuned schedules on record")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--turn", nargs=2, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    run_benchmark(main)
