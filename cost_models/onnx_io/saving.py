"""ONNX models that are written or handed on, of any size: a message of protobuf ends at 2 GiB."""

import math
from pathlib import Path
from typing import BinaryIO

import onnx
from onnx import ModelProto, TensorProto, numpy_helper

LARGEST_MESSAGE = 2**31 - 1  # bytes
_REST = 2**24  # what nodes, names and shapes may take; weights are counted
_NAME = 2**10  # what a tensor's name and shape may take
_WEIGHTS_FROM = 1024  # bytes; what is smaller stays in the file
_ELEMENT_BYTES = 8  # at most


def is_small(model: ModelProto) -> bool:
    """Whether a model fits one message; nothing is written, which could fail or take as much memory again."""
    return sum(map(_bytes, model.graph.initializer)) + _REST <= LARGEST_MESSAGE


def fits_message(tensor: TensorProto) -> bool:
    """Whether a tensor can be copied at all, which protobuf does by writing it."""
    return _bytes(tensor) + _NAME <= LARGEST_MESSAGE


def _bytes(tensor: TensorProto) -> int:
    """Of the values that a tensor holds itself; what lies in another file takes none."""
    if tensor.data_location == TensorProto.EXTERNAL:
        return 0
    return len(tensor.raw_data) or _ELEMENT_BYTES * math.prod(tensor.dims)


def save_model(model: ModelProto, path: Path) -> None:
    """Write a model; the weights of one that fits no message into a file beside it, ``NAME.onnx.data``.

    ONNX's own way takes the weights out of the model that is written.
    """
    if is_small(model):
        onnx.save_model(model, path)
        return
    there = ModelProto()
    there.ir_version = model.ir_version
    there.opset_import.extend(model.opset_import)
    graph = there.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    with path.with_name(f"{path.name}.data").open("wb") as file:
        for tensor in model.graph.initializer:
            graph.initializer.append(_moved(tensor, file))
    onnx.save_model(there, path)


def _moved(tensor: TensorProto, file: BinaryIO) -> TensorProto:
    """A tensor whose values lie in a file; itself where they are few."""
    if _bytes(tensor) < _WEIGHTS_FROM:
        return tensor
    values = tensor.raw_data or numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data
    made = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    made.data_location = TensorProto.EXTERNAL
    place = {"location": Path(file.name).name, "offset": file.tell(), "length": len(values)}
    for key, value in place.items():
        made.external_data.add(key=key, value=str(value))
    file.write(values)
    return made
