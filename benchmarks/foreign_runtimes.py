"""One network in one run-time, in a process of its own: what ``foreign_networks.py`` asks for times.

    python benchmarks/foreign_runtimes.py tvm BUNDLE --outputs out.npz --threads 2 --runs 5
    python benchmarks/foreign_runtimes.py onnxruntime net.onnx --outputs out.npz --threads 2 --runs 5

Runs it once on numbers drawn from seed 0 and keeps what it gives; then answers each line of its input with
milliseconds of some runs, as JSON. What goes in is there before a run, and what comes out stays there.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from refusals import run_benchmark
from served import failure

RUNTIMES = ("tvm", "onnxruntime")
TURN_MS = 5e3  # after so long a turn ends, however many runs it was to have
SLOWEST, LOOKS = 5, 3  # kernels of each network that are named, and runs in which they are timed


def serve(runtime: str, path: Path, outputs: Path, threads: int, runs: int) -> None:
    """Run the network once and keep what it gives; then answer each line with milliseconds of some runs."""
    try:
        made = (_tvm if runtime == "tvm" else _onnxruntime)(path, threads)
        np.savez(outputs, *made.run())
        print(json.dumps(made.more()), flush=True)
        for _ in sys.stdin:
            samples_ms = [made.timed_ms()]  # the first warms up, unless it takes long
            while len(samples_ms) <= runs and sum(samples_ms) < TURN_MS:
                samples_ms.append(made.timed_ms())
            print(json.dumps({"samples_ms": samples_ms[1:] or samples_ms}), flush=True)
    except Exception as error:
        print(json.dumps(failure(error)), flush=True)


def _image(shape: Sequence[int]) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@dataclass(frozen=True)
class Made:
    """A network in a runtime.

    Attributes:
        run: gives its outputs.
        timed_ms: milliseconds of a run alone.
        more: what else there is to tell of it.
    """

    run: Callable[[], list[Any]]
    timed_ms: Callable[[], float]
    more: Callable[[], dict[str, Any]]


def _tvm(folder: Path, threads: int) -> Made:
    """The bundle, and its slowest kernels."""
    os.environ["TVM_NUM_THREADS"] = str(threads)
    from squeezenas_tvm.bundles.runner import Bundle

    bundle = Bundle.load(folder)
    images = [_image(value["shape"]) for value in bundle.inputs]

    def run() -> list[Any]:
        return bundle.run(images)

    def timed_ms() -> float:
        return bundle.time_ms(images, 1, 0)[0]

    return Made(run, timed_ms, lambda: {"slowest": _slowest(bundle._vm, run)})


def _slowest(machine: Any, run: Callable[[], Any]) -> list[dict[str, Any]]:
    """The kernels that take most of a run, all calls of each together; medians of several runs."""
    began: list[float] = []
    spent: dict[str, list[float]] = defaultdict(list)

    def instrument(_function: Any, name: str, before: bool, *_rest: Any) -> int:
        if before:
            began.append(time.perf_counter())
        else:
            spent[name].append((time.perf_counter() - began.pop()) * 1e3)
        return 0  # go on

    machine.set_instrument(instrument)
    for _ in range(LOOKS):
        run()
    machine.set_instrument(lambda *_: 0)
    in_runs = {name: np.reshape(ms, (LOOKS, -1)) for name, ms in spent.items()}
    found = {name: float(np.median(ms.sum(1))) for name, ms in in_runs.items()}
    total = sum(found.values())
    return [
        {"kernel": name, "calls": in_runs[name].shape[1], "ms": found[name], "share": found[name] / total}
        for name in sorted(found, key=lambda name: -found[name])[:SLOWEST]
    ]


def _onnxruntime(path: Path, threads: int) -> Made:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    images = {value.name: _image(value.shape) for value in session.get_inputs()}
    bound = session.io_binding()
    for name, image in images.items():
        bound.bind_cpu_input(name, image)
    for value in session.get_outputs():
        bound.bind_output(value.name)

    def timed_ms() -> float:
        started = time.perf_counter()
        session.run_with_iobinding(bound)
        return (time.perf_counter() - started) * 1e3

    version = onnxruntime.__version__
    return Made(lambda: list(session.run(None, images)), timed_ms, lambda: {"version": version})


def main() -> None:
    """Be such a process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runtime", choices=RUNTIMES)
    parser.add_argument("of", type=Path, help="a bundle, or an ONNX file")
    parser.add_argument("--outputs", type=Path, required=True, help="file for what the first run gives")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--runs", type=int, required=True, help="timed runs of a turn")
    args = parser.parse_args()
    serve(args.runtime, args.of, args.outputs, args.threads, args.runs)


if __name__ == "__main__":
    run_benchmark(main)
