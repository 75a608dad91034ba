"""Numbers that describe a fused kernel to a model of its latency. One table says what each is and why.

Everything derives from the kernel's description: no framework, no compiler, nothing measured. A feature is
``fixed`` by the structure of a kernel or ``grows`` with its channels and pixels, and none does anything else:
what a model learns as never falling in features that grow never falls with the size of a kernel. So rounding
up to vectors appears as the work that the rounded kernel has, not as the share that is wasted.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import BYTES_PER_ELEMENT, Graph
from cost_models.ir.op import Shape, Sort
from cost_models.ir.ops import Conv2d
from targets.target import multiprocessors

FEATURES_VERSION = 3  # raise it whenever a number or its meaning changes: stored models ask for theirs

Vector = npt.NDArray[np.float64]


class Feature(NamedTuple):
    """What a number means, and why latency may depend on it."""

    unit: str
    trend: Literal["fixed", "grows"]
    reason: str


FEATURES: Mapping[str, Feature] = {
    "window": Feature("taps", "fixed", "kernel height times width: reuse of loaded values, unrolling"),
    "stride": Feature("pixels", "fixed", "strided loads do not fill vectors"),
    "dilation": Feature("pixels", "fixed", "distant taps: more rows in cache, other unrolling"),
    "groups": Feature("groups", "fixed", "0 for depthwise, whose groups grow with its channels"),
    "inputs": Feature("maps", "fixed", "a residual is one more map to read"),
    "elementwise": Feature("operations", "fixed", "activations, sums and products on the way out"),
    "resizes": Feature("operations", "fixed", "interpolation computes an address for every element"),
    "reductions": Feature("operations", "fixed", "pooling and arg-max: one long chain per result"),
    "moves": Feature("operations", "fixed", "copies: stacking, shifting, change of layout"),
    "in_channels": Feature("channels", "grows", "length of the sum behind every output of a convolution"),
    "out_channels": Feature("channels", "grows", "how often a loaded value is used; parallel work"),
    "group_channels": Feature("channels", "grows", "inputs of one output: 1 for depthwise and copies"),
    "rows": Feature("pixels", "grows", "output height: parallel work"),
    "columns": Feature("pixels", "grows", "output width: length of the innermost loop"),
    "macs": Feature("multiply-accumulates", "grows", "the arithmetic of the convolution"),
    "compared": Feature("values", "grows", "each is made and compared, whether or not it is ever stored"),
    "bytes_in": Feature("bytes", "grows", "maps read; what fits a cache is cheaper"),
    "bytes_out": Feature("bytes", "grows", "map written"),
    "bytes_weights": Feature("bytes", "grows", "weights and biases, read again for every tile"),
    "intensity": Feature("multiply-accumulates/byte", "grows", "tells compute-bound from memory-bound"),
    "tiled_macs": Feature("multiply-accumulates", "grows", "of a map filled up to whole vectors and tiles"),
    "tiled_bytes_in": Feature("bytes", "grows", "maps read, packed in tiles: few divide rows well"),
    "tiled_bytes_out": Feature("bytes", "grows", "map written, tile by tile"),
    "vectors": Feature("vectors", "grows", "output with rows filled up to whole vectors or warps"),
    "waves": Feature("waves", "grows", "tasks of 8 vectors or warps over processors, rounded up"),
    "compute_s": Feature("seconds", "grows", "arithmetic at the best rate, channels filled up to vectors"),
    "memory_s": Feature("seconds", "grows", "all bytes at the best bandwidth"),
    "roofline_s": Feature("seconds", "grows", "the longer of the two: no kernel is faster"),
}

_VECTORS_A_TASK = 8
_WARP = 32  # threads
_TILE_ROWS = 16  # tiles divide a map's rows, 23 and 90 badly: they cost as if filled up to this
_VECTOR_BITS, _LEAST_BITS = {"avx512f": 512, "avx": 256}, 128
_Count = Annotated[int, Field(ge=1)]
_Rate = Annotated[float, Field(gt=0)]
_USUAL_MULTIPROCESSORS = 64  # of a GPU that no target knows


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What features take from the device.

    Attributes:
        lanes: values in a vector register; threads in a warp.
        processors: cores; multiprocessors of a GPU.
        macs_per_s, bytes_per_s: the best rates, from data sheets or from measured kernels.
    """

    lanes: _Count
    processors: _Count
    macs_per_s: _Rate
    bytes_per_s: _Rate

    @classmethod
    def of(cls, fingerprint: Mapping[str, Any], macs_per_s: float, bytes_per_s: float) -> "Machine":
        """From the identity of measurements (``targets.Fingerprint.as_dict``); asks TVM about CPUs.

        Where no target's file tells a GPU's multiprocessors it is taken to have 64, which changes no order
        within one device.
        """
        described = json.loads(fingerprint["tvm_target"])
        if described["kind"] == "cuda":
            processors = multiprocessors().get(described.get("arch", ""), _USUAL_MULTIPROCESSORS)
            return cls(lanes=_WARP, processors=processors, macs_per_s=macs_per_s, bytes_per_s=bytes_per_s)
        from targets.tvm_import import tvm

        # TVM's llvm_get_vector_width says 512 of every x86
        known = set(map(str, tvm.target.codegen.llvm_get_cpu_features(tvm.target.Target(described))))
        width = next((bits for feature, bits in _VECTOR_BITS.items() if feature in known), _LEAST_BITS)
        lanes = width // (8 * np.dtype(fingerprint["dtype"]).itemsize)
        processors = max(1, fingerprint["cores"])
        return cls(lanes=lanes, processors=processors, macs_per_s=macs_per_s, bytes_per_s=bytes_per_s)


def features(kernel: Kernel, machine: Machine) -> dict[str, float]:
    """Every feature of ``FEATURES``, in its order."""
    graph, shapes = kernel.graph, kernel.graph.shapes(kernel.input_shapes)
    convolutions = [(node.op, shapes[node.name]) for node in graph.nodes if isinstance(node.op, Conv2d)]
    output = shapes[graph.outputs[0]]
    batch, channels, rows, columns = output if len(output) == 4 else (output[0], 1, *output[1:])
    vectors = batch * channels * rows * math.ceil(columns / machine.lanes)
    found: dict[str, float] = {
        **_counts(kernel),
        "out_channels": channels,
        "rows": rows,
        "columns": columns,
        "bytes_in": sum(_bytes(graph, name, shapes) for name in graph.inputs),
        "bytes_out": _bytes(graph, graph.outputs[0], shapes),
        "compared": kernel.compared,
        "bytes_weights": graph.num_parameters * BYTES_PER_ELEMENT["float32"],
        "vectors": vectors,
        "waves": math.ceil(vectors / _VECTORS_A_TASK / machine.processors),
    }
    if convolutions:
        conv, made = convolutions[0]  # no kernel has two
        found |= _convolution(conv, made, len(graph.inputs), machine)
        others = sum(_bytes(graph, name, shapes) for name in graph.inputs if name != _data_of(kernel))
        found |= _tiled(conv, made, others, machine)
    else:
        channels_in = sum(_channels(graph, name, shapes) for name in graph.inputs)
        found |= _NO_CONVOLUTION | {"in_channels": channels_in} | _other_work(kernel, machine)
        found |= {f"tiled_{name}": found[name] for name in ("macs", "bytes_in", "bytes_out")}
    bytes_moved = found["bytes_in"] + found["bytes_out"] + found["bytes_weights"]
    found["compute_s"] = found.pop("filled_macs") / machine.macs_per_s
    found["memory_s"] = bytes_moved / machine.bytes_per_s
    found["roofline_s"] = max(found["compute_s"], found["memory_s"])
    return {name: float(found[name]) for name in FEATURES}


def matrix(kernels: Sequence[Kernel], machine: Machine) -> Vector:
    """``features`` of every kernel, one row each; columns in the order of ``FEATURES``."""
    rows = [list(features(kernel, machine).values()) for kernel in kernels]
    return np.array(rows, dtype=np.float64).reshape(len(kernels), len(FEATURES))


_NO_CONVOLUTION: dict[str, float] = {"group_channels": 1.0} | dict.fromkeys(
    ("window", "stride", "dilation", "groups", "macs", "intensity", "filled_macs"), 0.0
)


def _convolution(conv: Conv2d, output: Shape, inputs: int, machine: Machine) -> dict[str, float]:
    """What a convolution adds; ``output`` is its own, before what is fused to it."""
    batch, _, rows, columns = output
    pixels, taps = batch * rows * columns, conv.kernel**2
    macs = conv.macs(output)
    # bytes that its outputs need, not those there are: an odd row at the edge must not lower the intensity
    read = pixels * conv.stride**2 * conv.in_channels
    weights = conv.out_channels * conv.in_channels // conv.groups * taps
    values = read + weights + pixels * conv.out_channels * inputs
    group_channels = conv.in_channels // conv.groups
    if conv.is_depthwise:
        filled_macs = batch * conv.out_channels * rows * _filled(columns, machine.lanes) * taps
    else:
        filled = _filled(conv.out_channels // conv.groups, machine.lanes) * conv.groups
        filled_macs = pixels * group_channels * filled * taps
    return {
        "window": taps,
        "stride": conv.stride,
        "dilation": conv.dilation,
        "groups": 0 if conv.is_depthwise else conv.groups,
        "in_channels": conv.in_channels,
        "group_channels": group_channels,
        "macs": macs,
        "intensity": macs / (values * BYTES_PER_ELEMENT["float32"]),
        "filled_macs": filled_macs,
    }


def _other_work(kernel: Kernel, machine: Machine) -> dict[str, float]:
    """What stands in place of a convolution where other operations multiply: work of a class, no more.

    Steps read through conditions, one by one, where multiply-accumulates fill vectors: with 16 lanes each of
    a transposed convolution takes 10 to 24 times as long, of a max pooling 6 to 8 (TVM's default schedules).
    Threads of a warp read at once.
    """
    steps = kernel.steps * (machine.lanes if machine.lanes < _WARP else 1) or kernel.macs
    if not steps:
        return {"filled_macs": kernel.compared}
    window, groups = _LIKE[kernel.work_class]
    work = {"macs": steps, "filled_macs": steps, "intensity": steps / kernel.bytes_moved}
    return {**work, "window": window, "groups": groups, "stride": 1, "dilation": 1}


# Window and groups that stand for a class of work
_LIKE = {"dense": (9, 1), "pointwise": (1, 1), "grouped": (9, 2), "depthwise": (9, 0), "memory": (1, 1)}


def _tiled(conv: Conv2d, output: Shape, others: int, machine: Machine) -> dict[str, float]:
    """Work and traffic of a convolution on a map that is filled up; ``others`` are bytes of its other inputs.

    Vectors run along a row, tiles divide the rows. What is read is what the outputs need, as for intensity.
    """
    batch, channels, rows, columns = output
    whole_columns = _filled(columns, _part_of(machine.lanes, columns))
    whole = _filled(rows, _part_of(_TILE_ROWS, rows)) * whole_columns
    packed = batch * _power(rows) * whole_columns * BYTES_PER_ELEMENT["float32"]
    return {
        "tiled_macs": conv.macs(output) // (rows * columns) * whole,
        "tiled_bytes_in": packed * conv.in_channels * conv.stride**2 + others,
        "tiled_bytes_out": packed * channels,
    }


def _counts(kernel: Kernel) -> dict[str, float]:
    """How many operations of each sort a kernel has beside its convolution, and how many maps it reads."""
    counts = Counter(node.op.sort for node in kernel.graph.nodes)
    return {"inputs": len(kernel.graph.inputs), **{sort: counts[sort] for sort in _COUNTED}}


# Sorts of operations that have a number of their own; multiply-accumulates are counted one by one
_COUNTED: tuple[Sort, ...] = ("elementwise", "resizes", "reductions", "moves")


def _filled(count: int, lanes: int) -> int:
    """Rounded up to whole vectors."""
    return math.ceil(count / lanes) * lanes


def _part_of(lanes: int, count: int) -> int:
    """The shortest vectors that ``count`` fills more than half of: short rows take short ones."""
    return min(lanes, _power(count))


def _power(count: int) -> int:
    """Rounded up to a power of two."""
    return 1 << (count - 1).bit_length()


def _data_of(kernel: Kernel) -> str:
    """The input that its convolution reads."""
    return next(node.inputs[0] for node in kernel.graph.nodes if isinstance(node.op, Conv2d))


def _bytes(graph: Graph, name: str, shapes: Mapping[str, Shape]) -> int:
    return math.prod(shapes[name]) * BYTES_PER_ELEMENT[graph.dtype(name)]


def _channels(graph: Graph, name: str, shapes: Mapping[str, Shape]) -> int:
    """Channels of an input map; frames are bytes and have them last."""
    shape = shapes[name]
    return shape[-1] if graph.dtype(name) == "uint8" else shape[1] if len(shape) == 4 else 1
