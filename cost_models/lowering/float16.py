"""Float16 networks on TVM: values are stored in float16, sums are taken in float32.

Left alone TVM adds in the type of what it adds. In float16 an average over a map of some thousand pixels then
stops growing where a summand is less than half a unit in the last place, and a convolution loses two to four
bits. GPU libraries do it as it is done here, and onnxruntime and PyTorch do on CPUs, too.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cost_models.tvm_import import relax, tvm

topi = tvm.topi


def sums_in_float32() -> Any:
    """Relax pass, to run before TVM's own legalisation: float16 operations that sum become such functions.

    What rounds to float16 is in the same function, so that kernels are cut as in float32. Operations in other
    types are legalised as TVM does it.
    """
    wide = {name: partial(_legalize, name, function) for name, function in _SUMS.items()}
    return relax.transform.LegalizeOps(wide)


def _legalize(name: str, function: Callable[..., Any], builder: Any, call: Any) -> Any:
    if str(call.ty.dtype) != "float16":
        return tvm.ir.Op.get(name).get_attr("FLegalize")(builder, call)

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
    "relax.mean": _mean,
    "relax.nn.avg_pool2d": _avg_pool2d,
}
