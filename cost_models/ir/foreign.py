"""Operations of networks from elsewhere that ours cannot say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cost_models.ir.op import Op, Pattern, Shape, Sort, WorkKind


@dataclass(frozen=True)
class Foreign(Op):
    """An operation of somebody else's network that the others here cannot say; only what it costs is known.

    It stands at fixed sizes, and can be neither written nor run.

    Attributes:
        operation: what its network calls it, as in ``ConvTranspose``.
        shape: of the result.
        work: multiply-accumulates.
        weights: values it has of its own.
        kind: class of its work.
        fusion: its ``pattern``.
        steps: what runs where that is more than ``work``: comparisons of a window, sums over zeros between
            pixels. Each is like a multiply-accumulate of a depthwise convolution that fills no vectors.
        counted: whether ``work`` and ``steps`` are all that it does; else nobody knows how long it takes.
    """

    arity: ClassVar[int | None] = None
    operation: str
    shape: Shape
    work: int = 0
    weights: int = 0
    kind: WorkKind = "memory"
    fusion: Pattern = "out_elementwise_fusable"
    steps: int = 0
    counted: bool = True

    @property
    def pattern(self) -> Pattern:
        return self.fusion

    @property
    def sort(self) -> Sort:
        if self.work:
            return "macs"
        if self.fusion in ("broadcast", "injective"):
            return "moves"
        return "elementwise" if self.fusion == "elementwise" else "reductions"

    @property
    def work_kind(self) -> WorkKind:
        return self.kind if self.work else "memory"

    @property
    def label(self) -> str:
        return self.operation.lower()

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        return self.shape

    def macs(self, output: Shape) -> int:
        return self.work

    def comparisons(self, output: Shape) -> int:
        return self.steps

    def parameters(self) -> dict[str, Shape]:
        return {"weight": (self.weights,)} if self.weights else {}
