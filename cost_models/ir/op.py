"""What every operation of a network says of itself. The operations stand in ``ops``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from cost_models.errors import InvalidGraph

Shape = tuple[int, ...]
WorkKind = Literal["dense", "pointwise", "grouped", "depthwise", "memory"]
Pattern = Literal["elementwise", "broadcast", "injective", "comm_reduce", "out_elementwise_fusable"]
Sort = Literal["macs", "elementwise", "resizes", "reductions", "moves"]


def as_map(shape: Shape) -> Shape:
    """A shape of any rank as that of a map, batch and channels first; three sides are classes of pixels."""
    if len(shape) in (3, 4):
        return shape
    if len(shape) < 2:
        return 1, math.prod(shape), 1, 1
    return *shape[:2], math.prod(shape[2:-1]), shape[-1] if len(shape) > 2 else 1


@dataclass(frozen=True)
class Op:
    """One operation. Its class says ``pattern`` and ``sort``; InvalidGraph is raised where it does not.

    Attributes:
        arity: number of data inputs; None means one or more.
        input_dtype, output_dtype: of the values read and made.
    """

    arity: ClassVar[int | None] = 1
    input_dtype: ClassVar[str] = "float32"
    output_dtype: ClassVar[str] = "float32"

    @property
    def pattern(self) -> Pattern:
        """What it fuses with, in TVM's words.

        ``elementwise``: joins the kernel that makes its input. ``broadcast`` repeats elements, ``injective``
        moves them: both join what only moves elements. ``out_elementwise_fusable``: takes in what is
        elementwise after it. ``comm_reduce``: takes in what is elementwise or repeats elements before it.
        """
        raise _undescribed(self, "pattern", get_args(Pattern))

    @property
    def sort(self) -> Sort:
        """The feature that counts its work: ``macs``, or one of the numbers of other operations."""
        raise _undescribed(self, "sort", get_args(Sort))

    @property
    def work_kind(self) -> WorkKind:
        """Class of its work; all but ``memory`` have multiply-accumulates."""
        return "memory"

    @property
    def label(self) -> str:
        """What it is called in the labels of kernels."""
        return type(self).__name__.lower()

    def reads(self, place: int) -> str:
        """Type of the values of an input, counted from 0."""
        return self.input_dtype

    def pinned(self, size: tuple[int, int]) -> "Op":
        """The same where its result is always of that height and width; itself unless it takes a size."""
        return self

    def is_idle(self, inputs: Sequence[Shape], output: Shape) -> bool:
        """Whether it gives what it reads as it is, so that nothing runs for it at these sizes."""
        return False

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        """Shape of the result. Raises InvalidGraph, without the node's name, when inputs do not fit."""
        return inputs[0]

    def macs(self, output: Shape) -> int:
        """Multiply-accumulates; counted over convolutions only, as in the SqueezeNAS paper (table 1)."""
        return 0

    def comparisons(self, output: Shape) -> int:
        """What runs where it is more than multiply-accumulates, see ``Foreign.steps``."""
        return 0

    def parameters(self) -> dict[str, Shape]:
        """Trainable tensors, by name."""
        return {}

    def buffers(self) -> dict[str, Shape]:
        """Tensors that are stored but not trained, by name."""
        return {}


def _undescribed(op: Op, attribute: str, allowed: Sequence[str]) -> InvalidGraph:
    return InvalidGraph(
        f"operation {type(op).__name__} does not say its {attribute}: give the class {attribute} = one of "
        f"{', '.join(allowed)} (CONTRIBUTING.md, Add an operation)"
    )
