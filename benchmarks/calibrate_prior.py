"""Fit the prior of the Jetson AGX Xavier to the eight latencies that SqueezeNAS published.

    python benchmarks/calibrate_prior.py --write

Prints the rates and, network by network, what the calibration says of it when it has not seen it. With
``--write`` the result goes to cost_models/jetson-xavier/prior.json, from where the package reads it. Nothing
is measured or drawn: the same command gives the same rates.
"""

import argparse
import json
import math
import statistics
from dataclasses import asdict
from pathlib import Path

import numpy as np
from refusals import run_benchmark

from cost_models.device_models.calibration import calibrate
from cost_models.device_models.prior import FILE, Prior
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.kernel_models.accuracy import spearman
from search.architecture import Architecture, Published, list_architectures, load_architecture
from squeezenas_tvm.cli import table
from targets import load_target

TARGET, RESOLUTION = "jetson-xavier", (1024, 2048)
ORIGIN = "SqueezeNAS (arXiv:1908.01748), table 1: eight networks on a Jetson AGX Xavier"
CONDITIONS = "Cityscapes, 1024x2048, batch 1, 30 W, cuDNN 7.3.1; framework and precision are not stated"
SHIPPED = Path(__file__).parent.parent / "cost_models" / TARGET / FILE
COMMAND = "python benchmarks/calibrate_prior.py --write"


def published() -> dict[str, tuple[Architecture, Published]]:
    """Shipped architectures with a published latency on that board, by name."""
    found = {}
    for name in list_architectures():
        architecture = load_architecture(name)
        results = [result for result in architecture.results if result.latency_ms is not None]
        reported = [result for result in results if "Xavier" in result.conditions]
        if reported:
            found[name] = architecture, reported[0]
    return found


def kernels_of(architecture: Architecture) -> list[Kernel]:
    """Fused kernels from the normalised image to logits at its size, as the authors timed it."""
    return split_into_kernels(architecture.network(), {"x": (1, 3, *RESOLUTION)})


def calibrated() -> Prior:
    """The prior, fitted."""
    networks = {name: kernels_of(architecture) for name, (architecture, _) in published().items()}
    seconds = {name: (result.latency_ms or math.nan) / 1e3 for name, (_, result) in published().items()}
    start = Prior.from_peaks(load_target(TARGET))
    return calibrate(start, networks, seconds, origin=ORIGIN, conditions=CONDITIONS)


def as_text(prior: Prior) -> str:
    """The calibration for people."""
    rows = [
        [
            n.name,
            f"{1e3 * n.measured_s:.2f}",
            f"{1e3 * n.left_out_s:.2f}",
            f"{100 * (math.exp(n.error) - 1):+.1f}",
        ]
        for n in prior.networks
    ]
    errors = [abs(math.exp(n.error) - 1) for n in prior.networks]
    rank = spearman(*np.array([(n.left_out_s, n.measured_s) for n in prior.networks]).T)
    rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in prior.macs_per_s.items())
    return "\n".join(
        [
            f"GMAC/s: {rates}; {prior.bytes_per_s / 1e9:.0f} GB/s; {1e6 * prior.overhead_s:.0f} us a kernel; "
            f"channels in steps of {prior.channel_steps[0]} in, {prior.channel_steps[1]} out",
            "",
            table(["network", "published ms", "left out ms", "error %"], rows),
            "",
            f"left out: mean error {100 * statistics.fmean(errors):.1f} %, worst {100 * max(errors):.1f} %, "
            f"rank correlation {rank:.3f}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="into the package")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    prior = calibrated()
    if options.write:
        prior.save(SHIPPED, made_by=COMMAND)
    print(json.dumps(asdict(prior), indent=2) if options.json else as_text(prior))


if __name__ == "__main__":
    run_benchmark(main)
