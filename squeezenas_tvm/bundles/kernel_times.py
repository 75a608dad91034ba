"""Where the time of a deployed network goes, kernel by kernel. Travels in the bundle, needs numpy alone.

TVM tells before and after each call of a run. What the clock itself takes, some microseconds a call, is
outside the kernels; the whole run is timed without it, too.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:
    from squeezenas_tvm.bundles.manifest import read_kernels
else:  # in a bundle: it lies beside this file
    from manifest import read_kernels

LISTED = 15
_OWN = "vm.builtin"  # what TVM's calls begin with that are no kernels
_SIDE = 768  # of the matrices of the peak
_COPIED_BYTES = 1 << 26
_REPEATS = 8


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a device can do at best.

    Attributes:
        macs_per_s: multiply-accumulates.
        bytes_per_s: read and written, from and to memory.
        source: who says so.
    """

    macs_per_s: float
    bytes_per_s: float
    source: str


@dataclass(frozen=True, slots=True)
class KernelTime:
    """A distinct kernel of a run.

    Attributes:
        kernel: its label, or TVM's name where the bundle does not tell one.
        calls: in a run.
        median_ms: of all of them.
        share: of the time of all kernels, 0 to 1.
        macs, bytes_moved: of a call; None where they are not known.
        roofline_ms: the least time of all calls by the peaks; None where one of these is not known.
    """

    kernel: str
    calls: int
    median_ms: float
    share: float
    macs: int | None
    bytes_moved: int | None
    roofline_ms: float | None


@dataclass(frozen=True, slots=True)
class KernelTimes:
    """All kernels of a run.

    Attributes:
        kernels: the longest first.
        whole_ms: median of runs without a clock in them.
        peaks: None where nobody knows them.
    """

    kernels: tuple[KernelTime, ...]
    whole_ms: float
    peaks: Peaks | None

    @property
    def kernels_ms(self) -> float:
        """Of all kernels."""
        return sum(own.median_ms for own in self.kernels)


class Stopwatch:
    """An instrument of TVM's virtual machine: seconds and calls of each function, what it calls left out."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait  # until the device has done what it was asked
        self._open: list[list[float]] = []  # started at, and seconds of calls inside
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def __call__(self, _function: Any, name: str, before: Any, *_rest: Any) -> int:
        self._wait()
        if before:
            self._open.append([time.perf_counter(), 0.0])
            return 0
        started_s, inside_s = self._open.pop()
        took_s = time.perf_counter() - started_s
        if self._open:
            self._open[-1][1] += took_s
        self.seconds[name] = self.seconds.get(name, 0.0) + took_s - inside_s
        self.calls[name] = self.calls.get(name, 0) + 1
        return 0


def kernel_times(folder: Path, watched: Sequence[Stopwatch], whole_ms: float, device: str) -> KernelTimes:
    """What stopwatches of several runs tell, a stopwatch a run.

    Args:
        folder: of the bundle.
        whole_ms: of a run without one.
        device: TVM's name of its kind; a CPU's peaks are measured here where the bundle has none.

    Raises BundleError where the bundle's list of kernels cannot be used.
    """
    known, peaks = _known(folder)
    if peaks is None and device == "cpu":
        peaks = machine_peaks()
    groups: dict[str, list[str]] = {}
    for name in watched[0].seconds:
        if not name.startswith(_OWN):
            groups.setdefault(known.get(name, {}).get("kernel", name), []).append(name)
    took_ms = {
        label: 1e3 * statistics.median(sum(run.seconds[name] for name in own) for run in watched)
        for label, own in groups.items()
    }
    total_ms = sum(took_ms.values())
    found = []
    for label in sorted(groups, key=lambda label: -took_ms[label]):
        told = known.get(groups[label][0], {})
        macs, moved = told.get("macs"), told.get("bytes_moved")
        calls = sum(watched[0].calls[name] for name in groups[label])
        share, least_ms = took_ms[label] / total_ms, _least_ms(macs, moved, calls, peaks)
        found.append(KernelTime(label, calls, took_ms[label], share, macs, moved, least_ms))
    return KernelTimes(tuple(found), whole_ms, peaks)


def machine_peaks() -> Peaks:
    """Of this machine's processor: numpy's product of matrices, and copies of what no cache holds.

    Takes about a second. The best of several rounds counts.
    """
    a, b = (np.full((_SIDE, _SIDE), 0.5, np.float32) for _ in range(2))
    product = np.empty_like(a)
    parts = np.array_split(np.zeros(_COPIED_BYTES, np.uint8), _threads())
    copies = [np.zeros_like(part) for part in parts]
    with ThreadPoolExecutor(len(parts)) as pool:
        product_s = _best_s(lambda: np.matmul(a, b, out=product))
        copy_s = _best_s(lambda: [*pool.map(np.copyto, copies, parts)])
    source = f"measured: numpy's matrix product, and copies by {len(parts)} threads"
    return Peaks(_SIDE**3 / product_s, 2 * _COPIED_BYTES / copy_s, source)


def told(times: KernelTimes) -> Iterator[str]:
    """For people, a line each: a table of the kernels that take longest, and what they come to."""
    rows = [("kernel", "calls", "ms", "share", "GMAC/s", "GB/s", "of roofline"), *map(_row, times.kernels)]
    shown = rows[: LISTED + 1]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join((row[0].ljust(widths[0]), *rest))
    if others := times.kernels[LISTED:]:
        yield f"{len(others)} others take {sum(own.share for own in others):.0%}."
    rest_ms = times.whole_ms - times.kernels_ms
    yield (
        f"All kernels take {times.kernels_ms:.3f} ms, each alone under the clock; a run without it "
        f"{times.whole_ms:.3f} ms ({rest_ms:+.3f} ms)."
    )
    if peaks := times.peaks:
        yield (
            f"Roofline: {peaks.macs_per_s / 1e9:.1f} GMAC/s, {peaks.bytes_per_s / 1e9:.1f} GB/s "
            f"({peaks.source}). What lies in a cache is not held by the latter."
        )


def _row(own: KernelTime) -> tuple[str, ...]:
    def rate(amount: int | None) -> str:
        return "-" if amount is None else f"{amount * own.calls / own.median_ms / 1e6:.1f}"

    reached = "-" if own.roofline_ms is None else f"{own.roofline_ms / own.median_ms:.0%}"
    first = (own.kernel, str(own.calls), f"{own.median_ms:.3f}", f"{own.share:.1%}")
    return (*first, rate(own.macs), rate(own.bytes_moved), reached)


def _least_ms(macs: int | None, moved: int | None, calls: int, peaks: Peaks | None) -> float | None:
    if peaks is None or macs is None or moved is None:
        return None
    return 1e3 * calls * max(macs / peaks.macs_per_s, moved / peaks.bytes_per_s)


def _known(folder: Path) -> tuple[Mapping[str, Mapping[str, Any]], Peaks | None]:
    """What a bundle tells of its kernels, by TVM's names, and the peaks of its target."""
    document = read_kernels(folder)
    by_name = {name: own for own in document["kernels"] for name in own["functions"]}
    peaks = document["peaks"]
    return by_name, Peaks(**peaks) if peaks else None


def _threads() -> int:
    """That may run at once here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _best_s(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some rounds."""
    took_s = []
    for _ in range(_REPEATS):
        started_s = time.perf_counter()
        work()
        took_s.append(time.perf_counter() - started_s)
    return min(took_s)
