"""The largest channel of a resized map as one kernel, which need not make that map.

TVM's FuseOps joins nothing to the reduction that reads it; ``ir.fusion`` cuts as it is done here.
"""

from typing import Any

from cost_models.tvm_import import relax

_CENTRED = ("half_pixel", "align_corners")
_CORNERS = 2  # slices: of a single row with aligned corners, and of what was filled up


def joins_labels() -> Any:
    """Relax pass, to run before TVM's legalisation.

    A linear resize, its upper left corner, the argmax over channels and the type uint8 of that become one
    primitive function, where nothing else reads what is between them.
    """
    patterns = [
        (f"labels{slices}{'.byte' * byte}", *_pattern(slices, byte))
        for byte in (True, False)
        for slices in range(_CORNERS, -1, -1)
    ]
    return relax.transform.FuseOpsByPattern(
        [(name, pattern, {"resize": resize, **corners}, _fits) for name, pattern, resize, corners in patterns]
    )


def _pattern(slices: int, byte: bool) -> tuple[Any, Any, dict[str, Any]]:
    """The whole, its resize, and the slices by name."""
    dpl = relax.dpl
    resize = made = dpl.is_op("relax.image.resize2d")(dpl.wildcard(), dpl.wildcard())
    corners = {}
    for index in range(slices):
        made = dpl.is_op("relax.strided_slice")(made, *(dpl.wildcard() for _ in range(4)))
        corners[f"corner{index}"] = made
    made = corners["largest"] = dpl.is_op("relax.argmax")(made)
    if byte:
        made = corners["byte"] = dpl.is_op("relax.astype")(made)
    return made, resize, corners


def _fits(context: Any) -> bool:
    """Whether the operations are those that ``ir`` has under these names."""
    found = context.annotated_expr
    resize, largest = found["resize"], found["largest"]
    mode = resize.attrs.coordinate_transformation_mode
    centred = mode in _CENTRED or (mode == "pytorch_half_pixel" and 1 not in _sides(resize))
    byte = str(found["byte"].attrs.dtype) == "uint8" if "byte" in found else True
    between = [call for call in found.values() if not call.same_as(context.matched_expr)]
    return (
        all(_read_once(context, call) for call in between)
        and resize.attrs.method == "linear"
        and resize.attrs.layout == "NCHW"
        and centred
        and int(largest.attrs.axis) == 1
        and not largest.attrs.keepdims
        and byte
        and all(_is_corner(found[name]) for name in found if name.startswith("corner"))
    )


def _read_once(context: Any, call: Any) -> bool:
    """Whether one operation reads it, and nobody gets it back."""
    var = context.value_to_bound_var[call]
    return isinstance(var, relax.DataflowVar) and len(context.var_usages.get(var, ())) == 1


def _sides(resize: Any) -> list[int]:
    return [int(side) for side in resize.ty.shape.values[2:]]


def _is_corner(call: Any) -> bool:
    """Whether a slice begins at 0 and takes every element."""
    _, _, begin, _, strides = call.args
    return all(int(v.value) == 0 for v in begin.fields) and all(int(v.value) == 1 for v in strides.fields)
