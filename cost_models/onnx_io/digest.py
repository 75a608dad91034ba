"""What tells networks apart that compile to different kernels: layers, sizes, types. No PyTorch, no TVM."""

import hashlib
from collections.abc import Mapping, Sequence

from onnx import NodeProto

from cost_models.onnx_io.reader import Steps

_SCALED = ("Resize", "Upsample")  # vectors of numbers say how


def digest_of(found: Steps) -> str:
    """32 hexadecimal digits: of what runs, at its sizes and in its types, and of what decides how it runs.

    Names have no part in it, nor have values of weights: a network that was trained again is the same. Single
    numbers count, since TVM writes them into kernels.
    """
    names = {key: f"input {index}" for index, key in enumerate(found.inputs)}
    text = hashlib.sha256(f"opset {found.opset}".encode())
    for key in found.inputs:
        text.update(_typed(found, key).encode())
    for node in (*found.weight_nodes, *found.nodes):
        by_value = node.op_type in _SCALED
        text.update(_spelled(node, [_value(found, key, names, by_value=by_value) for key in node.input]))
        text.update("; ".join(_typed(found, key) for key in node.output).encode())
        names |= {key: f"made {len(names)}" for key in node.output if key and key not in names}
    text.update(" ".join(names.get(key, "known") for key in found.outputs).encode())
    return text.hexdigest()[:32]


def _value(found: Steps, key: str, names: Mapping[str, str], *, by_value: bool) -> str:
    if not key or key in names:
        return names.get(key, "none")
    constant = found.constants.get(key)
    if constant is not None and (by_value or constant.size == 1 or constant.dtype.kind != "f"):
        content = hashlib.sha256(constant.tobytes()).hexdigest()
        return f"constant {content} {_typed(found, key)}"
    return f"weights {_typed(found, key)}"


def _typed(found: Steps, key: str) -> str:
    return f"{found.dtypes.get(key)} {found.shapes.get(key)}"


def _spelled(node: NodeProto, inputs: Sequence[str]) -> bytes:
    attributes = sorted(node.attribute, key=lambda attribute: attribute.name)
    given = b"\x00".join(attribute.SerializeToString(deterministic=True) for attribute in attributes)
    return f"\n{node.op_type}({', '.join(inputs)}) {len(node.output)} ".encode() + given
