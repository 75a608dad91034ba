"""``predict`` on networks from elsewhere: which file, and what in it only a prior can tell."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cost_models.estimate import Estimate
    from cost_models.ir.fusion import Kernel
    from cost_models.onnx_io.importer import Imported
    from search.resolution import Resolution

ONNX = ".onnx"


def is_onnx(name: str) -> bool:
    """Whether an argument names an ONNX file."""
    return Path(name).suffix.lower() == ONNX


def read(name: str, resolution: "Resolution | None") -> "Imported":
    """The network in a file, at this resolution or at its own.

    Raises InvalidGraph saying why latencies cannot be told for it.
    """
    from cost_models.onnx_io.importer import read_onnx

    return read_onnx(Path(name), resolution)


def outside(network: "Imported", costs: "Mapping[Kernel, Estimate]") -> list[dict[str, Any]]:
    """Operations that no table knows, by kind: where they stand, how many, their share of the kernels' time.

    Args:
        costs: of every kernel of the network.
    """
    from cost_models.ir.fusion import kernel_calls
    from cost_models.ir.ops import Foreign

    operations = {node.name: node.op for node in network.graph.nodes}
    calls = kernel_calls(network.graph, network.inputs)
    total_s = sum(costs[call.kernel].median_s for call in calls)
    found: dict[str, dict[str, Any]] = {}
    for call in calls:
        if not call.kernel.is_foreign:
            continue
        strange = [(name, operations[name]) for name in call.nodes]
        where, op = next((n, o) for n, o in strange if isinstance(o, Foreign) and o.fusion != "elementwise")
        empty = {"operation": op.operation, "names": [], "kernels": 0, "share": 0.0}
        entry = found.setdefault(op.operation, empty)
        entry["names"].append(where)
        entry["kernels"] += 1
        entry["share"] += costs[call.kernel].median_s / total_s
    return sorted(found.values(), key=lambda entry: -float(entry["share"]))


def outside_text(entries: list[dict[str, Any]]) -> str:
    """The same in a sentence's end: ``ConvTranspose up1 and 1 more (2 kernels, 12 % of the time)``."""
    said = []
    for entry in entries:
        first, *others = entry["names"]
        more = f" and {len(others)} more" if others else ""
        kernels = f"{entry['kernels']} kernel{'s' if others else ''}"
        said.append(f"{entry['operation']} {first}{more} ({kernels}, {entry['share']:.0%} of the time)")
    return ", ".join(said)
