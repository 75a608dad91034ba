"""Networks side by side on a target: what architectures, ONNX files and bundles cost, how right they are."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from search.architecture import load_architecture
from search.resolution import Resolution
from search.tasks.words import WORDS, Column
from squeezenas_tvm.bundles.manifest import own_manifest
from squeezenas_tvm.bundles.network_files import NETWORK, is_onnx, refuse_other_formats
from squeezenas_tvm.bundles.values import statistics_ms
from squeezenas_tvm.comparing.turns import ROUNDS, Rounds, by_turns
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.predicting.asked import told_apart
from squeezenas_tvm.predicting.models import Models
from squeezenas_tvm.predicting.predict import (
    Network,
    network_of,
    predict_network,
    read_at_own_size,
    read_network,
)
from squeezenas_tvm.profiling.energy import usual_power
from squeezenas_tvm.terminal.progress import progress
from squeezenas_tvm.terminal.shares import share_text
from targets import Target
from targets.support.child_python import child_python

MEASURES = {words.primary.name: words.primary for words in WORDS.values()}
"""The first score of each task, by its name."""
ERROR = WORDS["depth"].primary.name
_TIMEOUT_S = 6 * 3600.0  # of an evaluation


@dataclass(frozen=True)
class Compared:
    """A network on the target.

    Attributes:
        kind: ``architecture``, ``onnx`` or ``bundle``.
        resolution: ``HxW``.
        latency_ms, low_ms, high_ms: nine of ten such networks are meant to lie between; of a bundle that ran
            here, median, 10th and 90th percentile of its runs.
        latency_source: where that is from: shares of measured and predicted kernels, or ``measured here``.
        energy_mj: None where no power was ever measured there.
        miou_percent, rmse_m, pckh_percent: of segmentation, depth and pose; None where nobody knows.
        accuracy_source: who says so.
        on_front: no other network for its task is both faster and more accurate; None without an accuracy.
    """

    name: str
    kind: str
    resolution: str
    latency_ms: float
    low_ms: float
    high_ms: float
    latency_source: str
    macs: int
    params: int
    memory_bytes: int
    energy_mj: float | None
    miou_percent: float | None = None
    rmse_m: float | None = None
    pckh_percent: float | None = None
    accuracy_source: str | None = None
    on_front: bool | None = None

    @property
    def accuracy(self) -> float | None:
        """Higher is better: mIoU, PCKh, or the negative of an error; None where nobody knows."""
        score = self.score
        return None if score is None else -score if self.measure == ERROR else score

    @property
    def measure(self) -> str | None:
        """By what its accuracy is known, one of ``MEASURES``; None where nobody knows it."""
        return next((name for name in MEASURES if getattr(self, name) is not None), None)

    @property
    def score(self) -> float | None:
        """That number."""
        return None if self.measure is None else float(getattr(self, self.measure))


def measure_of(networks: Sequence[Compared]) -> Column | None:
    """By what the accuracy of the first is known that has one: the others' are told if it is by the same."""
    return next((MEASURES[own.measure] for own in networks if own.measure is not None), None)


def compare_networks(
    names: Sequence[str],
    target: Target,
    *,
    data: str | None = None,
    split: str = "val",
    resolution: Resolution | None = None,
    table: Path | None = None,
    shown: bool = True,
) -> list[Compared]:
    """What is known of networks on a target, the fastest first. Bundles that run here are timed, by turns.

    Args:
        names: architectures by name or YAML file, ONNX files, folders of bundles.
        data: what accuracy is measured on, of bundles and of architectures with weights; None: that which
            architectures say of themselves is told.
        split: of that data.
        resolution: of architectures, and of ONNX files that leave theirs open.
        table: folder of the target's table.
        shown: draw how far it is.

    Raises:
        UsageError, SearchError, InvalidGraph, BundleError, CostModelError: before anything long.
        FailedWork: an evaluation failed.
    """
    target.require_timings("compare")
    kinds, networks = zip(*(_network(name, resolution) for name in names), strict=True)
    sources = list(zip(names, kinds, told_apart(names, networks), strict=True))
    models = Models(target, table)
    power_w = usual_power(models.of(None), table)
    found = [_priced(kind, network, models, power_w) for _, kind, network in sources]
    here = [
        place
        for place, (name, kind, _) in enumerate(sources)
        if kind == "bundle" and _runs_here(Path(name), target)
    ]
    rounds = ROUNDS if len(here) > 1 else 1
    for place, samples_ms in zip(
        here, by_turns([Path(names[place]) for place in here], rounds=rounds, shown=shown), strict=True
    ):
        found[place] = _timed(found[place], samples_ms, power_w)
    with progress("compare", len(names), shown=shown) as step:
        for index, (name, _, _) in enumerate(sources):
            found[index] = _judged(found[index], name, data, split)
            step(found[index].name)
    return sorted(_with_front(found), key=lambda network: network.latency_ms)


def document(networks: Sequence[Compared]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(network) for network in networks]


def _network(name: str, resolution: Resolution | None) -> tuple[str, Network]:
    """Its kind, and the network itself."""
    if Path(name).is_dir():
        manifest = own_manifest(Path(name))
        network = read_network(Path(name) / NETWORK)
        return "bundle", replace(network, name=manifest["name"], file=name)
    refuse_other_formats(name)
    if is_onnx(name):
        return "onnx", read_at_own_size(Path(name), resolution)
    return "architecture", network_of(load_architecture(name), resolution)


def _priced(kind: str, network: Network, models: Models, power_w: float | None) -> Compared:
    told = predict_network(network, models.of(network.dtype), power_w)
    return Compared(
        name=network.name,
        kind=kind,
        resolution=network.resolution,
        latency_ms=told.median_s * 1e3,
        low_ms=told.low_s * 1e3,
        high_ms=told.high_s * 1e3,
        latency_source=share_text(told.sources),
        macs=told.macs,
        params=told.params,
        memory_bytes=told.peak_memory_bytes,
        energy_mj=None if told.energy_j is None else told.energy_j * 1e3,
    )


def _runs_here(folder: Path, target: Target) -> bool:
    return target.kind == "local" and own_manifest(folder)["target"]["name"] == target.name


def _timed(network: Compared, rounds_ms: Rounds, power_w: float | None) -> Compared:
    """With the latency of the bundle on this machine."""
    stats = statistics_ms([*chain.from_iterable(rounds_ms)])
    return replace(
        network,
        latency_ms=stats["median"],
        low_ms=stats["p10"],
        high_ms=stats["p90"],
        latency_source="measured here",
        energy_mj=None if power_w is None else stats["median"] * power_w,
    )


def _judged(network: Compared, name: str, data: str | None, split: str) -> Compared:
    """With how right it is, where that is known or can be measured."""
    if network.kind == "onnx":
        return network
    architecture = None if network.kind == "bundle" else load_architecture(name)
    if data is None:
        results = architecture.results if architecture else ()
        first = next((own for own in results if own.miou_percent is not None), None)
        if first is None:
            return network
        said = f"{first.source}: {first.conditions}"
        return replace(network, miou_percent=first.miou_percent, accuracy_source=said)
    if architecture is not None and architecture.weights_path is None:
        return network
    scores = _evaluated(name, data, split)
    said = f"{scores['data']} {split}, {scores['frames']} frames, {scores['runs']}"
    known: dict[str, Any] = {name: scores.get(name) for name in MEASURES}
    return replace(network, **known, accuracy_source=said)


def _evaluated(name: str, data: str, split: str) -> Mapping[str, Any]:
    """What ``evaluate`` says, in a process of its own: PyTorch and TVM shall not meet in one."""
    command = child_python("squeezenas_tvm", "evaluate", name, "--data", data, "--split", split, "--json")
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        told = f"{name}: its accuracy cannot be measured: {last.removeprefix('error: ')}"
        raise (UsageError if done.returncode == UsageError.exit_code else FailedWork)(told)
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def _with_front(networks: Sequence[Compared]) -> list[Compared]:
    """Each with whether it is on the front of those whose accuracy is known."""
    known = [own for own in networks if own.accuracy is not None]

    def is_beaten(network: Compared) -> bool:
        return any(
            _at_least(other, network) and not _at_least(network, other)
            for other in known
            if other is not network and other.measure == network.measure
        )

    return [replace(own, on_front=not is_beaten(own)) if own in known else own for own in networks]


def _at_least(one: Compared, other: Compared) -> bool:
    """Whether one is as fast and as accurate."""
    return one.latency_ms <= other.latency_ms and (one.accuracy or 0) >= (other.accuracy or 0)
