"""The two steps of a cubic resize, for ``resize_template``: four inputs and four weights in each direction.

As TVM writes it, an output is sixteen inputs, each with two weights that are polynomials of its coordinates.
Of a row of the result the weights between rows are the same everywhere. Those along rows, and the columns
that they are for, are computed once and kept, since all rows and channels have them in common.
"""

from collections.abc import Sequence
from typing import Any

from cost_models.schedules.conv_template import substitute
from cost_models.tvm_import import tvm, tvm_ffi

te, tirx = tvm.te, tvm.tirx

TAPS = 4
TABLES = ("columns", "weights")  # names of the blocks that are computed once
_ZERO = tirx.const(0, "int64")


def is_cubic(resize: Any) -> bool:
    """Whether a block that resizes a map blends four rows of four columns."""
    return all(len(_taps(resize, axis)) == TAPS for axis in (2, 3))


def along(resize: Any, source: Any, shape: Sequence[Any], name: str) -> Any:
    """The step along rows alone, of ``source``."""
    width = shape[3]
    columns = te.compute(
        (TAPS, width), lambda tap, x: _of(tap, [p.astype("int32") for p in _at(resize, 3, x)]), name=TABLES[0]
    )
    weights = te.compute((TAPS, width), lambda tap, x: _of(tap, _weights(resize, 3, x)), name=TABLES[1])

    last = tirx.const(int(source.shape[3]) - 1, "int32")

    def column(tap: int, x: Any) -> Any:
        at = columns(tap, x)
        if isinstance(source.op, te.PlaceholderOp):
            return at
        return te.max(te.min(at, last), 0)  # TVM must know what part of a scratch row is read

    def compute(n: Any, c: Any, y: Any, x: Any) -> Any:
        return _sum([source(n, c, y, column(tap, x)) * weights(tap, x) for tap in range(TAPS)])

    return te.compute(shape, compute, name=name)


def between(resize: Any, source: Any, shape: Sequence[Any], name: str) -> Any:
    """The step between rows alone, of ``source``."""

    def compute(n: Any, c: Any, y: Any, x: Any) -> Any:
        pairs = zip(_at(resize, 2, y), _weights(resize, 2, y), strict=True)
        return _sum([source(n, c, row, x) * weight for row, weight in pairs])

    return te.compute(shape, compute, name=name)


def _taps(resize: Any, axis: int) -> list[Any]:
    """The different places along an axis that an output is made of."""
    found: list[Any] = []

    def seen(load: Any) -> None:
        index = load.indices[axis] if len(load.indices) == 4 else None
        if not any(tvm_ffi.structural_equal(index, other) for other in found):
            found.append(index)

    tvm_ffi.structural_walk(resize.body.value, (tvm.ir.expr.TensorLoad, seen))
    return found


def _at(resize: Any, axis: int, place: Any) -> list[Any]:
    """Rows (2) or columns (3) of the input that a row or column of the result reads."""
    known = {resize.iter_vars[axis].var: place}
    return [substitute(tap, known, lambda load: load) for tap in _taps(resize, axis)]


def _weights(resize: Any, axis: int, place: Any) -> list[Any]:
    """The weight of each of them: what comes of ones there and zeros elsewhere.

    At any place of the other direction: its weights add up to one.
    """
    axes = [iv.var for iv in resize.iter_vars]
    known = {axes[2]: _ZERO, axes[3]: _ZERO} | {axes[axis]: place}
    one, none = (tirx.const(value, resize.body.value.ty.dtype) for value in (1.0, 0.0))
    found = []
    for tap in _taps(resize, axis):
        here = substitute(tap, known, lambda load: load)

        def ones(load: Any, here: Any = here) -> Any:
            return one if tvm_ffi.structural_equal(load.indices[axis], here) else none

        found.append(tvm.sym.Analyzer().simplify(substitute(resize.body.value, known, ones)))
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
