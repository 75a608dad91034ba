"""Values of a schedule's index expressions, for many iterations at once, by numpy."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cost_models.tvm_import import tvm, tvm_ffi

Values = NDArray[Any]  # int64, or bool of conditions; one axis for each loop, broadcast

_tirx = tvm.tirx


class UnknownValue(Exception):
    """An index that loops alone do not tell: it is loaded from memory, say."""


def values(expr: Any, known: Mapping[Any, Values]) -> Values:
    """What an expression of integers is.

    Args:
        known: values of variables.

    Raises:
        UnknownValue: a variable is not known, or something in it is not computed here.
    """
    kind = type(expr)
    if kind is _tirx.IntImm:
        return np.asarray(int(expr))
    if kind is _tirx.Var:
        if expr not in known:
            raise UnknownValue(str(expr))
        return known[expr]
    if kind in _OF_TWO:
        with np.errstate(divide="ignore"):  # where a predicate keeps the iteration from happening
            return _OF_TWO[kind](values(expr.a, known), values(expr.b, known))
    if kind is _tirx.Not:
        return np.logical_not(values(expr.a, known))
    if kind is _tirx.Cast and str(expr.ty).startswith(("int", "uint")):
        return values(expr.value, known)
    if kind is _tirx.Select:
        return _chosen([expr.condition, expr.true_value, expr.false_value], known)
    if kind is tvm.ir.Call and str(expr.op.name) == "prim.if_then_else":
        return _chosen(expr.args, known)
    if kind is tvm.ir.Call and str(expr.op.name) == "prim.likely":
        return values(expr.args[0], known)
    raise UnknownValue(str(expr))


def variables(expr: Any) -> list[Any]:
    """The variables in an expression, each as often as it stands there."""
    found: list[Any] = []
    tvm_ffi.structural_walk(expr, (_tirx.Var, found.append))
    return found


def _chosen(parts: Any, known: Mapping[Any, Values]) -> Values:
    condition, one, other = (values(part, known) for part in parts)
    return np.where(condition, one, other)


def _truncated_quotient(a: Values, b: Values) -> Values:
    return (a - np.fmod(a, b)) // b


_OF_TWO: dict[Any, Callable[[Values, Values], Values]] = {
    _tirx.Add: np.add,
    _tirx.Sub: np.subtract,
    _tirx.Mul: np.multiply,
    _tirx.FloorDiv: np.floor_divide,
    _tirx.FloorMod: np.mod,
    _tirx.Div: _truncated_quotient,
    _tirx.Mod: np.fmod,
    _tirx.Min: np.minimum,
    _tirx.Max: np.maximum,
    _tirx.LShift: np.left_shift,
    _tirx.RShift: np.right_shift,
    _tirx.BitwiseAnd: np.bitwise_and,
    _tirx.BitwiseOr: np.bitwise_or,
    _tirx.BitwiseXor: np.bitwise_xor,
    _tirx.EQ: np.equal,
    _tirx.NE: np.not_equal,
    _tirx.LT: np.less,
    _tirx.LE: np.less_equal,
    _tirx.GT: np.greater,
    _tirx.GE: np.greater_equal,
    _tirx.And: np.logical_and,
    _tirx.Or: np.logical_or,
}
