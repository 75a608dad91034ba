"""Peaks of maps: written as ONNX, and read back by functions that answer None for all else."""

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from cost_models.ir.graph import Node
from cost_models.ir.ops import AroundPeak, Op, PeakPoints, PlaceOfMax, RowMax, TakeRow
from cost_models.ir.peaks import AROUND, FLATTEST
from cost_models.onnx_io.model_file import attributes
from cost_models.onnx_io.reader import Steps
from cost_models.onnx_io.writer import Writer

Found = tuple[Op, tuple[str, ...]] | None
# From the end of an operation back to what it reads: which input is followed, and what made it.
_TO_ROWS = ((0, "Where"), (0, "Equal"), (0, "Unsqueeze"))
_TO_PLACE = ((0, "Sub"), (1, "Abs"), (0, "Sub"), (1, "Abs"), (0, "Add"), (0, "Unsqueeze"))
_TO_MOVE = ((0, "Add"), (1, "Mul"), (0, "Div"))
_TO_CELLS = ((0, "Add"), (0, "Add"), (0, "Mul"), (0, "Cast"), (0, "Concat"))


def write_row_max(writer: Writer, node: Node) -> None:
    """Of ``RowMax``."""
    axes = writer.constant(f"{node.name}.axes", [3], np.int64)
    writer.emit("ReduceMax", [node.inputs[0], axes], node.name, keepdims=0)


def write_take_row(writer: Writer, node: Node) -> None:
    """Of ``TakeRow``: all other rows are put out, and what is left is added up."""
    maps, rows = node.inputs
    at = writer.emit("Unsqueeze", [rows, writer.ints(node, "side", 3)], f"{node.name}.at")
    own = _is_place(writer, node, at, 2, 4)
    zero = writer.constant(f"{node.name}.zero", 0, writer.dtype)
    kept = writer.emit("Where", [own, maps, zero], f"{node.name}.kept")
    writer.emit("ReduceSum", [kept, writer.ints(node, "axes", 2)], node.name, keepdims=0)


def write_around_peak(writer: Writer, node: Node) -> None:
    """Of ``AroundPeak``, likewise."""
    maps, *places = node.inputs
    same = []
    for axis, index in enumerate(places):  # 0: rows, 1: columns
        name, last = f"{node.name}.{axis}", writer.shapes[maps][2 + axis] - 1
        shifts = np.array(AROUND)[:, axis].reshape(1, 1, -1, 1, 1)
        at = writer.emit("Unsqueeze", [index, writer.ints(node, f"{axis}.sides", 3, 4)], f"{name}.at")
        near = writer.emit("Add", [at, writer.constant(f"{name}.shifts", shifts, np.int64)], f"{name}.near")
        # beyond an edge the one on the other side
        first = writer.emit("Abs", [near], f"{name}.first")
        end = writer.constant(f"{name}.last", last, np.int64)
        left = writer.emit("Abs", [writer.emit("Sub", [end, first], f"{name}.left")], f"{name}.beyond")
        mirrored = writer.emit("Sub", [end, left], f"{name}.places")
        same.append(_is_place(writer, node, mirrored, 3 + axis, 5))
    own = writer.emit("And", same, f"{node.name}.own")
    deep = writer.emit("Unsqueeze", [maps, writer.ints(node, "deep", 2)], f"{node.name}.maps")
    zero = writer.constant(f"{node.name}.zero", 0, writer.dtype)
    kept = writer.emit("Where", [own, deep, zero], f"{node.name}.kept")
    writer.emit("ReduceSum", [kept, writer.ints(node, "axes", 3, 4)], node.name, keepdims=0)


def _is_place(writer: Writer, node: Node, at: str, axis: int, rank: int) -> str:
    """Whether a place along an axis of as many as the maps have, counted from behind, is that one."""
    count = writer.shapes[node.inputs[0]][axis - rank]
    places = np.arange(count).reshape([count if side == axis else 1 for side in range(rank)])
    known = writer.constant(f"{node.name}.{axis}.places.known", places, np.int64)
    return writer.emit("Equal", [at, known], f"{node.name}.{axis}.own")


def write_peak_points(writer: Writer, node: Node) -> None:
    """Of ``PeakPoints``."""
    assert isinstance(node.op, PeakPoints)
    (values, rows, columns), stride = node.inputs, node.op.stride

    def step(kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        return writer.emit(kind, inputs, f"{node.name}.{name}", **attributes)

    def real(name: str, value: float) -> str:
        return writer.constant(f"{node.name}.{name}", value, np.float32)

    if writer.dtype != np.float32:
        values = step("Cast", "precise", values, to=TensorProto.FLOAT)

    def some(name: str, first: int, end: int, every: int) -> str:
        ends = (writer.ints(node, f"{name}.{i}", n) for i, n in enumerate((first, end, 2, every)))
        return step("Slice", name, values, *ends)

    peak, before, after = some("peak", 0, 1, 1), some("before", 1, 4, 2), some("after", 2, 5, 2)
    falls = step("Sub", "before.fall", peak, before), step("Sub", "after.fall", peak, after)
    fall = step("Add", "steep", step("Add", "fall", *falls), real("flattest", FLATTEST))
    move = step("Div", "move", step("Sub", "rise", after, before), fall)
    cells = step("Cast", "cells", step("Concat", "xy", columns, rows, axis=2), to=TensorProto.FLOAT)
    corner = step("Mul", "corners", cells, real("stride", stride))
    middle = step("Add", "middles", corner, real("half", (stride - 1) / 2))
    points = step("Add", "points", middle, step("Mul", "moved", move, real("half_stride", stride / 2)))
    writer.emit("Concat", [points, peak], node.name, axis=2)


def row_max(found: Steps, node: NodeProto) -> Found:
    """Of a map's rows, which go."""
    rank = len(found.shapes[node.input[0]])
    axes = [axis % rank for axis in found.setting(node, "axes", 1) or ()]
    ours = rank == 4 and axes == [3] and not attributes(node).get("keepdims", 1)
    return (RowMax(), (node.input[0],)) if ours else None


def place_of_max(found: Steps, node: NodeProto) -> Found:
    """An arg-max over the last of three sides, which stays."""
    given, rank = attributes(node), len(found.shapes[node.input[0]])
    ours = rank == 3 and given.get("axis", 0) % rank == 2 and not given.get("select_last_index")
    return (PlaceOfMax(), (node.input[0],)) if ours and given.get("keepdims", 1) else None


def picked(found: Steps, node: NodeProto) -> Found:
    """One row of each map, or what is around its peak: sums of all that is not put out."""
    axes, kept = found.setting(node, "axes", 1), found.made_by(node.input[0], "Where")
    if attributes(node).get("keepdims", 1) or kept is None or found.constants.get(kept.input[2]) != 0:
        return None
    if axes == [2] and (rows := _follow(found, node, _TO_ROWS)) is not None:
        return TakeRow(), (kept.input[1], rows.input[0])
    both, deep = found.made_by(kept.input[0], "And"), found.made_by(kept.input[1], "Unsqueeze")
    if axes != [3, 4] or both is None or deep is None:
        return None
    same = [found.made_by(key, "Equal") for key in both.input]
    places = [_follow(found, own, _TO_PLACE) if own is not None else None for own in same]
    if any(place is None for place in places):
        return None
    return AroundPeak(), (deep.input[0], *(place.input[0] for place in places if place is not None))


def peak_points(found: Steps, node: NodeProto) -> Found:
    """What the last step of ``PeakPoints`` gives, by the way there."""
    if attributes(node)["axis"] != 2 or len(node.input) != 2:
        return None
    move, cells = _follow(found, node, _TO_MOVE), _follow(found, node, _TO_CELLS)
    corners, peak = _follow(found, node, _TO_CELLS[:3]), found.made_by(node.input[1], "Slice")
    if move is None or cells is None or corners is None or peak is None:
        return None
    stride = found.constants.get(corners.input[1])
    if stride is None or stride.size != 1:
        return None
    cast = found.made_by(peak.input[0], "Cast")
    values = peak.input[0] if cast is None else cast.input[0]
    return PeakPoints(int(stride.item())), (values, cells.input[1], cells.input[0])


def _follow(found: Steps, node: NodeProto, path: tuple[tuple[int, str], ...]) -> NodeProto | None:
    """Backwards from a node; None where it was made otherwise."""
    at: NodeProto | None = node
    for place, kind in path:
        if at is None or place >= len(at.input):
            return None
        at = found.made_by(at.input[place], kind)
    return at
