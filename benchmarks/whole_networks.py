"""Deployed networks against their estimate and against onnxruntime, interleaved in one process.

    python benchmarks/whole_networks.py --table results/local-cpu --resolution 256x512 --json

Every network is deployed with the schedules on record, then timed in rounds: TVM, onnxruntime, TVM, ... with
the same number of threads. Compare ratios of one run; milliseconds belong to the machine and its load.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from refusals import run_benchmark

from cost_models.errors import IncompatibleTable, MissingEntry
from cost_models.lookup import results_folder
from search.architecture import Architecture, list_architectures, load_architecture
from search.resolution import Resolution
from squeezenas_tvm.api import estimate_latency
from squeezenas_tvm.bundles.deploy import Wishes, deploy_architecture
from targets import Target, load_target
from targets.local_machine import LocalMachine

ROUNDS, RUNS = 5, 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("architectures", nargs="*")
    parser.add_argument("--table", type=Path, help="default results/local-cpu")
    parser.add_argument("--resolution", default="256x512")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    resolution, folder = Resolution.parse(args.resolution), results_folder("local-cpu", args.table)
    names = args.architectures or [name for name in list_architectures() if "small" in name and "nas" in name]
    found = [_compare(name, resolution, folder) for name in names]
    if args.json:
        print(json.dumps(found, indent=2))
        return
    for entry in found:
        print(
            ", ".join(
                f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in entry.items()
            )
        )


def _compare(name: str, resolution: Resolution, folder: Path) -> dict[str, Any]:
    architecture, target = load_architecture(name), load_target("local-cpu")
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "bundle"
        deployed = deploy_architecture(architecture, target, resolution, bundle, Wishes(measurements=folder))
        frame = np.random.default_rng(0).integers(0, 256, (*resolution, 3), dtype=np.uint8)
        ours, theirs = _interleaved(_tvm(bundle, frame), _onnxruntime(bundle, frame))
    estimated_ms = _estimated_ms(architecture, target, folder, resolution)
    return {
        "name": name,
        "resolution": str(resolution),
        "threads": LocalMachine.detect().physical_cores,
        "tuned_kernels": deployed.manifest.tuned_kernels,
        "estimated_ms": estimated_ms,
        "tvm_ms": statistics.median(ours),
        "tvm_p90_ms": float(np.percentile(ours, 90)),
        "onnxruntime_ms": statistics.median(theirs),
        "onnxruntime_p90_ms": float(np.percentile(theirs, 90)),
        "tvm_to_onnxruntime": statistics.median(ours) / statistics.median(theirs),
        "estimated_to_tvm": estimated_ms / statistics.median(ours) if estimated_ms else None,
    }


def _estimated_ms(
    architecture: Architecture, target: Target, folder: Path, resolution: Resolution
) -> float | None:
    """From what lies in ``folder``; None where no kernel was measured there, or one that nothing tells."""
    try:
        return estimate_latency(architecture, target, resolution, table=folder).median_s * 1e3
    except (MissingEntry, IncompatibleTable):
        return None


def _tvm(bundle: Path, frame: Any) -> Callable[[], list[float]]:
    from squeezenas_tvm.bundles.runner import Bundle

    loaded = Bundle.load(bundle)
    return lambda: loaded.time_ms(loaded.frame(frame), RUNS, 2)


def _onnxruntime(bundle: Path, frame: Any) -> Callable[[], list[float]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = LocalMachine.detect().physical_cores
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # idle spinning would slow TVM down
    session = onnxruntime.InferenceSession(
        str(bundle / "network.onnx"), options, providers=["CPUExecutionProvider"]
    )

    def run() -> list[float]:
        samples = []
        for _ in range(2 + RUNS):
            started = time.perf_counter()
            session.run(None, {"frame": frame[None]})
            samples.append((time.perf_counter() - started) * 1e3)
        return samples[2:]

    return run


def _interleaved(*runs: Callable[[], list[float]]) -> list[list[float]]:
    samples: list[list[float]] = [[] for _ in runs]
    for _ in range(ROUNDS):
        for kept, run in zip(samples, runs, strict=True):
            kept.extend(run())
    return samples


if __name__ == "__main__":
    os.environ.setdefault("TVM_NUM_THREADS", str(LocalMachine.detect().physical_cores))
    run_benchmark(main)
