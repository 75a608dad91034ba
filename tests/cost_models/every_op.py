"""An example of every operation, and what has to be known of each."""

from collections.abc import Iterator
from typing import NamedTuple, get_args

from cost_models.errors import InvalidGraph
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.op import Op, Pattern, Shape, Sort
from cost_models.ir.ops import (
    OPS,
    Activation,
    Add,
    ArgMax,
    AroundPeak,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Crop,
    Expand,
    Foreign,
    GlobalAvgPool,
    MaxPool2d,
    Mul,
    Normalize,
    Pad,
    PeakPoints,
    PlaceOfMax,
    Plane,
    Resize,
    RowMax,
    ShiftByOne,
    Standardize,
    TakeRow,
    ToByte,
)
from cost_models.onnx_io.exporter import WRITERS, to_onnx
from cost_models.onnx_io.importer import from_onnx
from search.networks.graph_module import FUNCTIONS, MODULES

MAP = (1, 8, 6, 10)
LARGE = (1, 3, 256, 260)  # which any random index is in


class Sample(NamedTuple):
    """An operation and the shapes that it reads."""

    op: Op
    inputs: tuple[Shape, ...] = (MAP,)

    @property
    def graph(self) -> Graph:
        names = tuple(f"x{index}" for index in range(len(self.inputs)))
        builder = GraphBuilder(names)
        return builder.build(builder.add("op", self.op, *names))

    @property
    def shapes(self) -> dict[str, Shape]:
        return dict(zip(self.graph.inputs, self.inputs, strict=True))

    @property
    def kernel(self) -> Kernel:
        return Kernel(self.graph, self.inputs)


SAMPLES: dict[type[Op], Sample] = {
    type(sample.op): sample
    for sample in (
        Sample(Conv2d(8, 12, 3, stride=2, padding=1, groups=2, bias=True)),
        Sample(BatchNorm2d(8)),
        Sample(Activation("hswish")),
        Sample(Add(), (MAP, MAP)),
        Sample(Mul(), (MAP, (1, 8, 1, 1))),
        Sample(Concat(), (MAP, (1, 4, 6, 10))),
        Sample(AvgPool2d((3, 2), (2, 2))),
        Sample(MaxPool2d(3, 2, 1)),
        Sample(Standardize(8)),
        Sample(GlobalAvgPool()),
        Sample(Resize(align_corners=False, size=(9, 20))),
        Sample(Expand((6, 10)), ((1, 8, 1, 1),)),
        Sample(ShiftByOne(), ((1, 8, 7, 10),)),
        Sample(Pad(size=(9, 10))),
        Sample(Crop((5, 8))),
        Sample(Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)), ((1, 6, 10, 3),)),
        Sample(ArgMax()),
        Sample(ToByte(), ((1, 6, 10),)),
        Sample(Plane(), ((1, 1, 6, 10),)),
        Sample(RowMax()),
        Sample(PlaceOfMax(), ((1, 8, 10),)),
        Sample(TakeRow(), (LARGE, (1, 3, 1))),
        Sample(AroundPeak(), (LARGE, (1, 3, 1), (1, 3, 1))),
        Sample(PeakPoints(4), ((1, 3, 5), (1, 3, 1), (1, 3, 1))),
        Sample(Foreign("Softmax", MAP)),
    )
}

# Batch normalisation is folded into a convolution before anything is written or runs as a kernel; what is
# somebody else's can be costed alone.
NEVER_WRITTEN: tuple[type[Op], ...] = (BatchNorm2d, Foreign)
NEVER_RUN: tuple[type[Op], ...] = (Foreign,)


def missing(kind: type[Op]) -> list[str]:
    """What nobody said of an operation; empty where all is known."""
    return [part for part, known in _parts(kind) if not known]


def _parts(kind: type[Op]) -> Iterator[tuple[str, bool]]:
    yield "OPS of cost_models/ir/ops.py", OPS.get(kind.__name__) is kind
    yield "WRITERS of cost_models/onnx_io/exporter.py", kind in WRITERS or kind in NEVER_WRITTEN
    runs = kind in FUNCTIONS or kind in MODULES or kind in NEVER_RUN
    yield "FUNCTIONS or MODULES of search/networks/graph_module.py", runs
    yield "SAMPLES of tests/cost_models/every_op.py", kind in SAMPLES
    if kind in SAMPLES:
        sample = SAMPLES[kind]
        yield "a pattern", _said(sample.op, "pattern", get_args(Pattern))
        yield "a sort", _said(sample.op, "sort", get_args(Sort))
        multiplies = sample.graph.macs(sample.shapes) > 0
        yield "a work_kind for its MACs", (sample.op.work_kind != "memory") is multiplies
        if kind in WRITERS:
            yield "EXACT of cost_models/onnx_io/ops.py", reread(sample) == sample.op


def _said(op: Op, attribute: str, allowed: tuple[str, ...]) -> bool:
    try:
        return getattr(op, attribute) in allowed
    except InvalidGraph:
        return False


def reread(sample: Sample) -> Op:
    """The operation as it comes back from ONNX."""
    (node,) = from_onnx(to_onnx(sample.graph, sample.shapes), name="sample").graph.nodes
    return node.op
