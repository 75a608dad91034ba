"""Functions that LLVM has no vectors for, as arithmetic that it has: exponential and error function on CPUs.

TVM calls the C library for each value, and a loop with such a call is not vectorised at all. Both functions
here are right to a few units in the last place of float32 (tests compare them with float64).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from cost_models.tvm_import import tvm

te, tirx, topi = tvm.te, tvm.tirx, tvm.topi

_MOST, _LEAST = 88.722839, -87.336548  # beyond them e**x is infinite, or taken for 0
_LN2 = (0.693359375, -2.12194440e-4)  # in two parts: multiples of the first are exact
# e**r = 1 + r + r**2 * polynomial, |r| <= ln(2) / 2: weighted least squares in float64, relative error 3e-9
_EXP = (
    0.49999993453543807,
    0.1666652058643409,
    0.04166838647948037,
    0.008368721090907064,
    0.0013814693642108938,
)
# erf(x) = x * quotient of polynomials of x**2, |x| <= 3.9, and 1 beyond; the same, relative error 2e-8
_ERF_END = 3.9
_ERF_TOP = (
    *(1.1283791476299905, 0.18966658783174406, 0.05266805488797127),
    *(0.0037383367281318396, 0.000285062133751626, 2.0664770845579308e-06),
)
_ERF_BOTTOM = (
    *(1.0, 0.5014204186957987, 0.1138188633814934),
    *(0.014914258410202155, 0.001157374162491853, 3.827005681010234e-05),
)


def _float(value: float) -> Any:
    return tirx.const(value, "float32")


def _polynomial(coefficients: Sequence[float], x: Any) -> Any:
    value = _float(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + _float(coefficient)
    return value


def _with(value: Any, body: Callable[[Any], Any]) -> Any:
    """An expression of a value that is computed once."""
    name = tirx.Var("value", value.ty)
    return tirx.Let(name, value, body(name))


def exp_value(x: Any) -> Any:
    """e**x of a float32 expression: a power of two by its exponent's bits, times a polynomial of the rest.

    Values that would be smaller than normal numbers of float32 are 0.
    """

    def of_whole(x: Any, whole: Any) -> Any:
        power = whole.astype("int32")
        half = power >> 1  # the largest power would be infinite, and is multiplied in two parts
        scales = [tirx.reinterpret("float32", (part + 127) << 23) for part in (half, power - half)]
        rest = (x - whole * _float(_LN2[0])) - whole * _float(_LN2[1])
        value = _with(rest, lambda r: _polynomial(_EXP, r) * r * r + r + _float(1.0)) * scales[0] * scales[1]
        infinite = tirx.Select(x > _float(_MOST), tirx.infinity("float32"), value)
        return tirx.Select(x < _float(_LEAST), _float(0.0), infinite)

    def of_one(x: Any) -> Any:
        inside = tirx.max(tirx.min(x, _float(_MOST)), _float(_LEAST))
        return _with(tirx.floor(inside * _float(1 / math.log(2)) + _float(0.5)), partial(of_whole, x))

    return _with(x, of_one)


def erf_value(x: Any) -> Any:
    """The error function of a float32 expression."""

    def of_inside(x: Any) -> Any:
        return x * _with(x * x, lambda z: _polynomial(_ERF_TOP, z) / _polynomial(_ERF_BOTTOM, z))

    return _with(tirx.max(tirx.min(x, _float(_ERF_END)), _float(-_ERF_END)), of_inside)


def _of_each(value: Callable[[Any], Any], name: str) -> Callable[..., Any]:
    def function(_attrs: Any, x: Any) -> Any:
        return te.compute(x.shape, lambda *at: value(x(*at)), name=name)

    return function


def _gelu(_attrs: Any, x: Any) -> Any:
    half = _float(0.5)

    def value(*at: Any) -> Any:
        return x(*at) * (half + erf_value(x(*at) * _float(math.sqrt(0.5))) * half)

    return te.compute(x.shape, value, name="gelu")


def _softmax(attrs: Any, x: Any) -> Any:
    """As TVM writes it, with the exponential from above."""
    axis = int(attrs.axis) % len(x.shape)
    k, q = (te.reduce_axis((0, x.shape[axis]), name) for name in ("k", "q"))
    rows = [side for i, side in enumerate(x.shape) if i != axis]

    def put(at: tuple[Any, ...], place: Any) -> tuple[Any, ...]:
        return (*at[:axis], place, *at[axis:])

    def row(at: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*at[:axis], *at[axis + 1 :])

    largest = te.compute(rows, lambda *at: te.max(x(*put(at, k)), axis=k), name="softmax_max")
    powers = te.compute(x.shape, lambda *at: exp_value(x(*at) - largest(*row(at))), name="softmax_exp")
    total = te.compute(rows, lambda *at: te.sum(powers(*put(at, q)), axis=q), name="softmax_sum")
    return te.compute(x.shape, lambda *at: powers(*at) / total(*row(at)), name="softmax")


def _group_norm(attrs: Any, x: Any, gamma: Any, beta: Any) -> Any:
    """Two passes, as layer normalisation; for channels first and all that comes after them."""
    groups, sides = int(attrs.num_groups), [int(side) for side in x.shape]
    channels, within = sides[1], [sides[1] // int(attrs.num_groups), *sides[2:]]
    count = _float(float(math.prod(within)))

    def summed(value: Callable[..., Any], name: str) -> Any:
        ks = [te.reduce_axis((0, side), f"k{i}") for i, side in enumerate(within)]

        def total(n: Any, g: Any) -> Any:
            return te.sum(value(n, g, x(n, g * within[0] + ks[0], *ks[1:])), axis=ks)

        return te.compute((sides[0], groups), total, name=name)

    total = summed(lambda _n, _g, value: value, "group_sum")
    mean = te.compute(total.shape, lambda n, g: total(n, g) / count, name="group_mean")

    def squared(n: Any, g: Any, value: Any) -> Any:
        return (value - mean(n, g)) * (value - mean(n, g))

    squares = summed(squared, "group_squares")
    scale = te.compute(
        total.shape,
        lambda n, g: tirx.rsqrt(squares(n, g) / count + _float(float(attrs.epsilon))),
        name="group_scale",
    )

    def value(n: Any, c: Any, *at: Any) -> Any:
        g = c // (channels // groups)
        made = (x(n, c, *at) - mean(n, g)) * scale(n, g)
        made = made * gamma(c) if attrs.scale else made
        return made + beta(c) if attrs.center else made

    return te.compute(x.shape, value, name="group_norm")


def _is_channels_first(call: Any) -> bool:
    rank = len(call.args[0].ty.shape)
    axes = sorted(int(axis) % rank for axis in call.attrs.axes)
    return int(call.attrs.channel_axis) % rank == 1 and axes == [*range(2, rank)]


_FUNCTIONS: Mapping[str, tuple[Callable[..., Any], Callable[[Any], bool]]] = {
    "relax.exp": (_of_each(exp_value, "exp"), lambda _call: True),
    "relax.erf": (_of_each(erf_value, "erf"), lambda _call: True),
    "relax.nn.gelu": (_gelu, lambda _call: True),
    "relax.nn.softmax": (_softmax, lambda _call: True),
    "relax.nn.group_norm": (_group_norm, _is_channels_first),
}


def vector_functions() -> dict[str, Any]:
    """Legalisations for CPUs, by the name of Relax's operation; other types than float32 are left to TVM."""
    return {name: partial(_legalize, name) for name in _FUNCTIONS}


def _legalize(name: str, builder: Any, call: Any) -> Any:
    function, fits = _FUNCTIONS[name]
    if str(call.ty.dtype) != "float32" or not fits(call):
        return tvm.ir.Op.get(name).get_attr("FLegalize")(builder, call)
    return builder.call_te(
        lambda *tensors: function(call.attrs, *tensors),
        *call.args,
        primfunc_name_hint=name.rpartition(".")[2],
    )
