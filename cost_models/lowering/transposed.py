"""Transposed convolutions as ordinary ones, see ``ir.sub_pixel``: TVM would put zeros between the pixels."""

from typing import Any

from cost_models.ir.sub_pixel import SubPixel, sub_pixel, sub_pixel_weights
from cost_models.tvm_import import relax, tvm

te = tvm.te


def transposed_convolutions() -> Any:
    """Relax pass, to run before legalisation: each becomes a convolution and, where that is not the result, a
    function that shuffles its pixels.

    Those with dilation, and of maps that are not 2-D, stay TVM's.
    """
    return tvm.transform.module_pass(_rewritten, opt_level=0)


def _rewritten(mod: Any, _context: Any) -> Any:
    rewriter = _Rewriter(mod)
    for name, function in mod.functions_items():
        if isinstance(function, relax.Function):
            rewriter.builder_.update_func(name, rewriter.visit_expr(function))
    return rewriter.builder_.get()


@relax.expr_functor.mutator
class _Rewriter(relax.expr_functor.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: Any) -> Any:
        call = self.visit_expr_post_order(call)
        if call.op != tvm.ir.Op.get("relax.nn.conv2d_transpose"):
            return call
        plan = _plan(call)
        if plan is None:
            return call
        data, weight = call.args
        (top, left), (bottom, right) = plan.before, plan.after
        conv = relax.op.nn.conv2d(
            data,
            self._weights(weight, plan, int(call.attrs.groups)),
            padding=(top, left, bottom, right),
            groups=int(call.attrs.groups),
        )
        if plan.is_plain:
            return conv
        made = self.builder_.emit(conv)
        return self.builder_.call_te(lambda x: _shuffled(x, plan), made, primfunc_name_hint="sub_pixel")

    def _weights(self, weight: Any, plan: SubPixel, groups: int) -> Any:
        """As numbers where they are known; else operations on weights, which TVM computes where it can."""
        if isinstance(weight, tvm.ir.GenericConst):
            values = sub_pixel_weights(weight.value.numpy(), plan, groups)
            return relax.const(values, str(values.dtype))
        channels, outputs, *kernel = _sides(weight)
        (taps_y, taps_x), (stride_y, stride_x) = plan.taps, plan.stride
        top, left = plan.lead
        bottom, right = taps_y * stride_y - top - kernel[0], taps_x * stride_x - left - kernel[1]
        value = relax.op.nn.pad(weight, [0, 0, 0, 0, top, bottom, left, right])
        shape = (groups, channels // groups, outputs, taps_y, stride_y, taps_x, stride_x)
        emit = self.builder_.emit
        value = emit(relax.op.reshape(emit(value), shape))
        turned = emit(relax.op.flip(emit(relax.op.flip(value, 3)), 5))
        value = emit(relax.op.permute_dims(turned, [0, 2, 4, 6, 1, 3, 5]))
        return emit(relax.op.reshape(value, (-1, channels // groups, taps_y, taps_x)))


def _plan(call: Any) -> SubPixel | None:
    attrs = call.attrs
    layouts = (attrs.data_layout, attrs.kernel_layout, attrs.out_layout)
    if layouts != ("NCHW", "IOHW", "NCHW") or any(int(step) != 1 for step in attrs.dilation):
        return None
    stride, cut, more = (
        [int(value) for value in values] for values in (attrs.strides, attrs.padding, attrs.output_padding)
    )
    return sub_pixel(_sides(call.args[0])[2:], _sides(call.args[1])[2:], stride, cut, more)


def _sides(expr: Any) -> list[int]:
    return [int(side) for side in expr.ty.shape]


def _shuffled(conv: Any, plan: SubPixel) -> Any:
    """Row ``stride * q + a`` of the large map is row q of the a-th channel that belongs to it."""
    batch, channels = (int(side) for side in conv.shape[:2])
    (stride_y, stride_x), (first_y, first_x) = plan.stride, plan.first

    def pixel(n: Any, c: Any, y: Any, x: Any) -> Any:
        row, column = y + first_y, x + first_x
        place = row % stride_y * stride_x + column % stride_x
        return conv[n, c * plan.phases + place, row // stride_y, column // stride_x]

    return te.compute((batch, channels // plan.phases, *plan.size), pixel, name="sub_pixel")
