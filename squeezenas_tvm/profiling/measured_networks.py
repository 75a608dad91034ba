"""A CSV file of networks and their latencies on a device, as people fill it in."""

import csv
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from squeezenas_tvm.errors import UsageError
from targets.support.reading import TEXT_BYTES, read_text

if TYPE_CHECKING:
    from cost_models.device_models.fitted_device import MeasuredNetwork
    from cost_models.ir.fusion import Kernel

NEEDED, FREE = ("network", "resolution", "latency_ms"), ("runs", "note")
_MANY = 1e7  # ms: hours; such a number is a typing error, or microseconds


@dataclass(frozen=True, slots=True)
class _Row:
    """A line that makes sense."""

    line: int
    name: str
    kernels: "tuple[Kernel, ...]"
    seconds: float


def read_networks(path: Path) -> "tuple[list[MeasuredNetwork], list[str]]":
    """Networks and their latencies: a CSV file with the columns network, resolution, latency_ms.

    A network is the name of a shipped architecture, or the path of a YAML or ONNX file relative to the CSV
    file, and runs from camera frame to class indices; an ONNX file as it is. One that was measured several
    times counts once, with the median. The columns runs and note are for people.

    Returns:
        The networks, and notes on those that were measured several times.

    Raises:
        UsageError: names every fault with its line.
    """
    from cost_models.device_models.fewshot import LEAST_NETWORKS
    from cost_models.device_models.fitted_device import MeasuredNetwork

    faults: list[str] = []
    measured: dict[tuple[Kernel, ...], list[_Row]] = {}
    for line, cells in _lines(path, faults):
        row = _row(line, cells, path.parent, faults)
        if row is not None:
            measured.setdefault(row.kernels, []).append(row)
    if not faults and len(measured) < LEAST_NETWORKS:
        faults.append(
            f"{len(measured)} different networks are too few; measure at least {LEAST_NETWORKS}, better 10, "
            "which `profile --choose-networks 10` picks"
        )
    if faults:
        raise UsageError(f"{path}: {'; '.join(faults)}")
    networks, notes = [], []
    for kernels, rows in measured.items():
        seconds = [row.seconds for row in rows]
        networks.append(MeasuredNetwork(rows[0].name, kernels, statistics.median(seconds)))
        if len(set(seconds)) > 1:
            lines = ", ".join(str(row.line) for row in rows)
            notes.append(f"{rows[0].name} was measured several times (lines {lines}): the median counts.")
    return networks, notes


def _lines(path: Path, faults: list[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Number and cells of every line; none where the columns are wrong."""
    text = read_text(path, UsageError, most_bytes=TEXT_BYTES)
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True, restkey="", restval="")
    try:
        columns = reader.fieldnames or []
        faults += _column_faults(columns)
        if faults:
            return
        for cells in reader:
            if cells.pop("", None):
                faults.append(f"line {reader.line_num}: more cells than the {len(columns)} columns")
            else:
                yield reader.line_num, {name: cell.strip() for name, cell in cells.items()}
    except csv.Error as error:
        faults.append(f"line {reader.line_num}: {error}")


def _column_faults(columns: Sequence[str]) -> list[str]:
    from targets.support.text import near_miss

    known = (*NEEDED, *FREE)
    faults = [f"unknown column {c!r}{near_miss(c, known)}" for c in columns if c not in known]
    faults += [f"no column {name!r}" for name in NEEDED if name not in columns]
    faults += [f"column {name!r} is there twice" for name in known if list(columns).count(name) > 1]
    return [*faults, f"allowed: {', '.join(NEEDED)}, and perhaps {', '.join(FREE)}"] if faults else []


def _row(line: int, cells: Mapping[str, str], folder: Path, faults: list[str]) -> _Row | None:
    from cost_models.errors import CostModelError
    from search.errors import SearchError

    found: list[str] = []
    seconds = _seconds(cells["latency_ms"], found)
    name = cells["network"]
    kernels: tuple[Kernel, ...] = ()
    try:
        kernels = _kernels(name, cells["resolution"], folder)
    except (SearchError, CostModelError) as error:
        found.append(str(error))
    if found:
        faults += [f"line {line}: {fault}" for fault in found]
        return None
    return _Row(line, f"{name} {cells['resolution']}".strip(), kernels, seconds)


def _seconds(text: str, faults: list[str]) -> float:
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < _MANY:
        faults.append(
            f"latency_ms is {text!r}, allowed: a number above 0, in milliseconds"
            + ("; leave networks out that were not measured" if not text else "")
        )
    return milliseconds / 1e3


def _kernels(network: str, resolution: str, folder: Path) -> "tuple[Kernel, ...]":
    """Kernels in the order they run. Raises SearchError or CostModelError where there is no such network."""
    from search.architecture import load_architecture
    from search.costs.kernel_table import network_kernels
    from search.resolution import Resolution

    if Path(network).suffix == ".onnx":
        from cost_models.ir.fusion import split_into_kernels
        from cost_models.onnx_io.importer import read_onnx

        imported = read_onnx(folder / network, Resolution.read(resolution) if resolution else None)
        return tuple(split_into_kernels(imported.graph, imported.inputs))
    is_file = Path(network).suffix in (".yaml", ".yml")
    architecture = load_architecture(folder / network if is_file else network)
    return tuple(network_kernels(architecture, Resolution.parse(resolution)))
