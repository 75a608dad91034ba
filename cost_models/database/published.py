"""Latencies that others measured and published: rows of operations of theirs, on one device.

A row is found by the operation's name, the map that it reads, the channels that it makes, kernel and stride.
Nobody here can add one: what has no row is an error, never a guess or a measurement of another device.
"""

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cost_models.errors import CostModelError, IncompatibleTable
from cost_models.estimate import Estimate, Source
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import Graph, Node
from cost_models.ir.ops import Foreign
from targets.published import PublishedDevice
from targets.support.reading import read_text

FILE = "latencies.csv"
COLUMNS = ("op", "h_in", "w_in", "c_in", "c_out", "kernel", "stride", "dilation", "latency_ms")
_SHIPPED = Path(__file__).parent.parent


@cache
def published_kernel(
    operation: str, size: tuple[int, int], in_channels: int, out_channels: int, kernel: int, stride: int = 1
) -> Kernel:
    """An operation of somebody else's network as a kernel, which only their table can cost.

    Args:
        size: height and width of the map that it reads.
        kernel: side of its convolutions' windows; 0 where it has none.
    """
    name = operation + (f".k{kernel}" if kernel else "") + (f".s{stride}" if stride > 1 else "")
    height, width = (-(-side // stride) for side in size)
    node = Node("n0", Foreign(name, (1, out_channels, height, width), counted=False), ("x0",))
    return Kernel(Graph(("x0",), (node,), ("n0",)), ((1, in_channels, *size),))


@dataclass(frozen=True)
class PublishedTable:
    """The rows of a published device.

    Attributes:
        rows: seconds, by the kernel that stands for the operation.
    """

    device: PublishedDevice
    rows: Mapping[Kernel, float]

    @classmethod
    def of(cls, device: PublishedDevice) -> "PublishedTable":
        """The table that comes with the package. Raises IncompatibleTable, naming the row that is none."""
        path = _SHIPPED / device.name / FILE
        text = read_text(path, IncompatibleTable)
        return cls(device, dict(_rows(csv.reader(io.StringIO(text)), path)))

    def kernels(self, kernels: Sequence[Kernel]) -> list[Estimate | None]:
        """Of those that have a row."""
        seconds = (self.rows.get(kernel) for kernel in kernels)
        return [None if s is None else Estimate.within(s, self.device.within, Source.OTHERS) for s in seconds]

    def digest(self) -> str:
        """Of the rows."""
        told = sorted((kernel.key, seconds) for kernel, seconds in self.rows.items())
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def __str__(self) -> str:
        """How an estimate comes about, one phrase."""
        known = self.device
        where = f"{known.conditions}; {known.origin}"
        return f"sums of rows that others measured ({where}), without {known.without}"

    def missing(self, kernel: Kernel) -> CostModelError:
        """What to raise where a kernel has no row."""
        return CostModelError(
            f"{kernel.label}: no row in the table of {self.device.name}, which others measured "
            f"({self.device.conditions}) and nobody here can extend; ask another target"
        )


def _rows(lines: Iterable[Sequence[str]], path: Path) -> Iterator[tuple[Kernel, float]]:
    header, *rows = [*lines] or [()]
    if tuple(header) != COLUMNS:
        raise IncompatibleTable(
            f"{path}: found the columns {', '.join(header)}; allowed: {', '.join(COLUMNS)}"
        )
    seen: set[Kernel] = set()
    for number, row in enumerate(rows, 1):
        try:
            kernel, seconds = _row(row)
        except ValueError as error:
            raise IncompatibleTable(f"{path}: row {number}: {error}") from None
        if kernel in seen:
            raise IncompatibleTable(f"{path}: row {number}: {kernel.label} has a row already")
        seen.add(kernel)
        yield kernel, seconds


def _row(row: Sequence[str]) -> tuple[Kernel, float]:
    """Raises ValueError for what is none."""
    operation, height, width, inputs, outputs, side, stride, _, latency_ms = row
    sizes = (int(height), int(width))
    kernel = published_kernel(operation, sizes, int(inputs), int(outputs), int(side or 0), int(stride))
    seconds = float(latency_ms) / 1e3
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"takes {latency_ms} ms, allowed: more than 0")
    return kernel, seconds
