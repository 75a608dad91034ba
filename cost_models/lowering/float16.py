"""Float16 networks on TVM: values are stored in float16, sums are taken in float32.

Left alone TVM adds in the type of what it adds. In float16 an average over a map of some thousand pixels then
stops growing where a summand is less than half a unit in the last place, and a convolution loses two to four
bits. GPU libraries do it as it is done here, and onnxruntime and PyTorch do on CPUs, too.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from cost_models.tvm_import import tvm

te, topi = tvm.te, tvm.topi


def sums_in_float32(others: Mapping[str, Any]) -> dict[str, Any]:
    """Legalisations by the name of Relax's operation: float16 operations that sum become such functions.

    What rounds to float16 is in the same function, so that kernels are cut as in float32. Operations in other
    types are legalised as ``others`` say, or as TVM does it.
    """
    wide = {name: partial(_legalize, name, function, others) for name, function in _SUMS.items()}
    return {**others, **wide}


def _legalize(
    name: str, function: Callable[..., Any], others: Mapping[str, Any], builder: Any, call: Any
) -> Any:
    if str(call.ty.dtype) != "float16" or any(len(tensor.ty.shape) < 2 for tensor in call.args):
        return others.get(name, tvm.ir.Op.get(name).get_attr("FLegalize"))(builder, call)

    def rounded(*tensors: Any) -> Any:
        return topi.cast(function(call.attrs, *tensors), "float16")

    return builder.call_te(rounded, *call.args, primfunc_name_hint=name.rpartition(".")[2])


def _conv2d(attrs: Any, data: Any, weight: Any) -> Any:
    stride, padding, dilation = (
        [int(value) for value in values] for values in (attrs.strides, attrs.padding, attrs.dilation)
    )
    return topi.nn.conv(
        data,
        weight,
        stride,
        padding,
        dilation,
        attrs.groups,
        attrs.data_layout,
        attrs.kernel_layout,
        out_dtype="float32",
    )


def _matmul(_attrs: Any, left: Any, right: Any) -> Any:
    k = te.reduce_axis((0, left.shape[-1]), "k")
    batch = _broadcast(left.shape[:-2], right.shape[:-2])

    def value(*at: Any) -> Any:
        *before, i, j = at
        factors = left(*_own(before, left), i, k), right(*_own(before, right), k, j)
        return te.sum(factors[0].astype("float32") * factors[1].astype("float32"), axis=k)

    return te.compute((*batch, left.shape[-2], right.shape[-1]), value, name="matmul")


def _broadcast(first: Sequence[Any], second: Sequence[Any]) -> list[int]:
    pairs = itertools.zip_longest(reversed(first), reversed(second), fillvalue=1)
    return [max(int(a), int(b)) for a, b in pairs][::-1]


def _own(batch: Sequence[Any], tensor: Any) -> list[Any]:
    """The batch as one factor counts it: it may have fewer axes, or one of one value."""
    sides = tensor.shape[:-2]
    mine = batch[len(batch) - len(sides) :]
    return [0 if int(side) == 1 else index for side, index in zip(sides, mine, strict=True)]


def _softmax(attrs: Any, data: Any) -> Any:
    return topi.nn.softmax(topi.cast(data, "float32"), int(attrs.axis))


def _sum(attrs: Any, data: Any) -> Any:
    axes = None if attrs.axis is None else [int(axis) for axis in attrs.axis]
    return topi.sum(topi.cast(data, "float32"), axes, attrs.keepdims)


def _mean(attrs: Any, data: Any) -> Any:
    axes = [int(axis) for axis in attrs.axis]
    count = tvm.tirx.const(1.0, "float32")
    for axis in axes:
        count = count * data.shape[axis]
    return topi.sum(topi.cast(data, "float32"), axes, attrs.keepdims) / count


def _avg_pool2d(attrs: Any, data: Any) -> Any:
    return topi.nn.pool2d(
        topi.cast(data, "float32"),
        kernel=attrs.pool_size,
        stride=attrs.strides,
        dilation=attrs.dilation,
        padding=attrs.padding,
        pool_type="avg",
        ceil_mode=attrs.ceil_mode,
        layout=attrs.layout,
        count_include_pad=attrs.count_include_pad,
    )


_SUMS: Mapping[str, Callable[..., Any]] = {
    "relax.nn.conv2d": _conv2d,
    "relax.matmul": _matmul,
    "relax.nn.softmax": _softmax,
    "relax.sum": _sum,
    "relax.mean": _mean,
    "relax.nn.avg_pool2d": _avg_pool2d,
}
