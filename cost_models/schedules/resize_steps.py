"""The two steps of a resize: along rows, and between rows, each a blend of a few inputs.

As TVM writes it, an output is every one of 1, 4 or 16 inputs times a weight of each direction; where these
lie and what they weigh are expressions of its coordinates. Of a row of the result what is needed between
rows is the same everywhere. What is needed along rows is computed once and kept in tables, since all rows and
channels have it in common: else its roundings and bounds take longer than the blending.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cost_models.schedules.conv_template import substitute
from cost_models.tvm_import import tvm, tvm_ffi

te, tirx = tvm.te, tvm.tirx

TABLES = ("columns", "weights")  # names of the blocks that are computed once
_MOST_TAPS = 4
_ROW, _COLUMN = 2, 3
_ZERO = tirx.const(0, "int64")

Column = Callable[[Any], Any]


@dataclass(frozen=True)
class Blend:
    """What an element of a resized NCHW map is made of.

    Attributes:
        axes: image, channel, row and column of the element.
        value: of it, at these; reads one map.
    """

    axes: tuple[Any, ...]
    value: Any

    @staticmethod
    def of(resize: Any) -> "Blend":
        """What a block blends.

        Raises:
            ValueError: it is no NCHW resize, or has more than four rows or columns in an element.
        """
        if len(resize.iter_vars) != 4:
            raise ValueError(f"{resize.name_hint} makes no NCHW map")
        blend = Blend(tuple(iv.var for iv in resize.iter_vars), resize.body.value)
        if not all(1 <= len(taps) <= _MOST_TAPS for taps in (blend._rows, blend._columns)):
            raise ValueError(f"{resize.name_hint} blends more than {_MOST_TAPS} rows or columns")
        return blend

    def along(self, source: Any, shape: Sequence[Any], name: str, column: Column = lambda x: x) -> Any:
        """The step along rows alone, of ``source``; column x of it is ``column(x)`` of the resized map."""
        taps, width = len(self._columns), shape[_COLUMN]

        def place(tap: Any, x: Any) -> Any:
            return _of(tap, [at.astype("int32") for at in self._at(_COLUMN, column(x))])

        columns = te.compute((taps, width), place, name=TABLES[0])
        weights = te.compute(
            (taps, width), lambda tap, x: _of(tap, self._weights(_COLUMN, column(x))), name=TABLES[1]
        )
        last = tirx.const(int(source.shape[_COLUMN]) - 1, "int32")

        def read(tap: int, x: Any) -> Any:
            at = columns(tap, x)
            if isinstance(source.op, te.PlaceholderOp):
                return at
            return te.max(te.min(at, last), 0)  # TVM must know what part of a scratch row is read

        def compute(n: Any, c: Any, y: Any, x: Any) -> Any:
            return _sum([source(n, c, y, read(tap, x)) * weights(tap, x) for tap in range(taps)])

        return te.compute(shape, compute, name=name)

    def between(self, source: Any, shape: Sequence[Any], name: str) -> Any:
        """The step between rows alone, of ``source``."""

        def compute(n: Any, c: Any, y: Any, x: Any) -> Any:
            pairs = zip(self._at(_ROW, y), self._weights(_ROW, y), strict=True)
            return _sum([source(n, c, row, x) * weight for row, weight in pairs])

        return te.compute(shape, compute, name=name)

    @cached_property
    def _rows(self) -> list[Any]:
        return self._taps(_ROW)

    @cached_property
    def _columns(self) -> list[Any]:
        return self._taps(_COLUMN)

    def _taps(self, axis: int) -> list[Any]:
        """The different places along an axis that an element is made of."""
        found: list[Any] = []

        def seen(load: Any) -> None:
            index = load.indices[axis] if len(load.indices) == 4 else None
            if not any(tvm_ffi.structural_equal(index, other) for other in found):
                found.append(index)

        tvm_ffi.structural_walk(self.value, (tvm.ir.expr.TensorLoad, seen))
        return found

    def _at(self, axis: int, place: Any) -> list[Any]:
        """Rows or columns of the input that a row or column of the result reads."""
        taps = self._rows if axis == _ROW else self._columns
        return [substitute(tap, {self.axes[axis]: place}, lambda load: load) for tap in taps]

    def _weights(self, axis: int, place: Any) -> list[Any]:
        """The weight of each of them: what comes of ones there and zeros elsewhere.

        At any place of the other direction: its weights add up to one.
        """
        known = {self.axes[_ROW]: _ZERO, self.axes[_COLUMN]: _ZERO} | {self.axes[axis]: place}
        one, none = (tirx.const(value, self.value.ty.dtype) for value in (1.0, 0.0))
        found = []
        for here in self._at(axis, place):

            def ones(load: Any, here: Any = here) -> Any:
                return one if tvm_ffi.structural_equal(load.indices[axis], here) else none

            found.append(tvm.sym.Analyzer().simplify(substitute(self.value, known, ones)))
        return found


def _of(tap: Any, values: Sequence[Any]) -> Any:
    """One of several values, by its number."""
    *others, chosen = values
    for number in reversed(range(len(others))):
        chosen = tirx.Select(tap == number, others[number], chosen)
    return chosen


def _sum(terms: Sequence[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
