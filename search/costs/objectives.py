"""What a network costs, by name: what a search can pay for or limit, and what commands show."""

from collections.abc import Mapping
from dataclasses import dataclass

from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.graph import Graph
from cost_models.ir.memory import peak_bytes
from cost_models.ir.ops import Shape


@dataclass(frozen=True, slots=True)
class Objective:
    """A cost of a network, in seconds, operations, values, bytes of float32 or joules.

    Attributes:
        unit, size: what people read it in, and how much of it one of that is.
        column: what it is called, in that unit, in CSV files.
        peak: a network's is the largest of its parts', not their sum.
    """

    unit: str
    size: float
    column: str
    peak: bool = False


OBJECTIVES: Mapping[str, Objective] = {
    "latency": Objective("ms", 1e-3, "latency_ms"),
    "latency_low": Objective("ms", 1e-3, "low_ms"),
    "latency_high": Objective("ms", 1e-3, "high_ms"),
    "macs": Objective("GMACs", 1e9, "gmacs"),
    "params": Objective("M parameters", 1e6, "mparams"),
    "bytes": Objective("MiB moved", 2**20, "moved_mib"),  # what each kernel reads and writes, once
    "memory": Objective("MiB of maps alive at once", 2**20, "memory_mib", peak=True),
    "energy": Objective("mJ", 1e-3, "energy_mj"),
}


def shown(name: str, value: float) -> str:
    """A cost in the unit that people read."""
    number, unit = value / OBJECTIVES[name].size, OBJECTIVES[name].unit
    return f"{number:.3g} {unit}" if number < 999.5 else f"{number:.0f} {unit}"


def count(graph: Graph, inputs: Mapping[str, Shape], dtype: str = "float32") -> dict[str, int]:
    """Objectives that follow from the layers alone, on whatever device: macs, params, bytes, memory.

    Args:
        dtype: element type of maps and weights.
    """
    kernels = split_into_kernels(graph, inputs)
    return {
        "macs": graph.macs(inputs),
        "params": graph.num_parameters,
        "bytes": sum(kernel.graph.bytes_moved(kernel.input_shapes, dtype) for kernel in kernels),
        "memory": peak_bytes(graph, inputs, dtype),
    }
