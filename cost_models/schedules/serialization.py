"""Schedules as text, which is how they are stored, and back.

Two forms: a MetaSchedule trace, a JSON list; or a tile of one of our own templates, a JSON object
``{"conv": {"channels": 4, "rows": 1, ...}}``.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from cost_models.errors import CostModelError
from cost_models.schedules.sblocks import scheduled_module
from cost_models.schedules.tiles import FORMS, AnyTile, schedule, target_kind, tiled_conv
from cost_models.schedules.trace_text import read_trace
from cost_models.tvm_import import tvm
from targets.support.strict_json import parse_json
from targets.support.text import brief


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Proposal:
    """A schedule to be tried.

    Attributes:
        schedule: its text form.
        mod: IRModule, the kernel with that schedule.
        origin: who proposes it: ``evolution``, ``tiles`` or ``transfer``.
    """

    schedule: str
    mod: Any
    origin: str


def trace_text(schedule: Any) -> str:
    """The text form of a tvm Schedule."""
    return json.dumps(_plain(schedule.trace.as_json()), separators=(",", ":"))


def tile_text(tile: AnyTile) -> str:
    """The text form of a tile."""
    (form,) = (name for name, kind in FORMS.items() if type(tile) is kind)
    return json.dumps({form: asdict(tile)}, separators=(",", ":"))


def tile_of(text: str) -> AnyTile | None:
    """The tile that a text form describes; ``None`` for a trace.

    Raises:
        CostModelError: it is neither.
    """
    try:
        value = parse_json(text)
        if isinstance(value, list):
            return None
        (form, sizes) = value.popitem()
        if value or form not in FORMS or not all(type(size) in (int, bool) for size in sizes.values()):
            raise ValueError("a trace is a list, a tile {'conv': {...}} with numbers")
        return FORMS[form](**sizes)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise CostModelError(
            f"not the text of a schedule: {text[:80]!r} ({brief(error)}). "
            "It was written by another release: tune this kernel anew."
        ) from error


def apply_schedule(mod: Any, tvm_target: Any, text: str) -> Any:
    """The kernel ``mod`` (IRModule with one function ``main``) scheduled as ``text`` says.

    Raises:
        CostModelError: the schedule does not fit this kernel or target.
    """
    tile = tile_of(text)
    return replay_trace(mod, text).mod if tile is None else apply_tile(mod, tvm_target, tile)


def apply_tile(mod: Any, tvm_target: Any, tile: AnyTile) -> Any:
    """The kernel ``mod`` in the tile's template.

    Raises:
        CostModelError: the kernel is no convolution that the template covers, the tile does not fit it, or it
            is for another kind of target, or exceeds this one's limits.
    """
    if tvm_target.kind.name != (kind := target_kind(tile)):
        raise CostModelError(
            f"a tile of the convolution template is for targets of kind {kind}, not {tvm_target.kind.name}: "
            "tune this kernel anew."
        )
    try:
        return scheduled_module(schedule(tiled_conv(mod, tvm_target), tvm_target, tile))
    except Exception as error:
        raise _does_not_fit(mod, error) from error


def replay_trace(mod: Any, text: str) -> Any:
    """The kernel ``mod`` as a tvm Schedule on which a trace was applied.

    Raises:
        CostModelError: the trace does not fit this kernel.
    """
    trace, replayed = read_trace(text), tvm.s_tir.Schedule(mod)
    try:
        tvm.s_tir.schedule.Trace.apply_json_to_schedule(trace, replayed)
    except Exception as error:
        raise _does_not_fit(mod, error) from error
    return replayed


def _does_not_fit(mod: Any, error: Exception) -> CostModelError:
    return CostModelError(
        f"this schedule does not fit the kernel it is for: {brief(error)}. "
        "It was found for another kernel or by another TVM: tune this one anew."
    )


def _plain(value: Any) -> Any:
    """TVM's containers and numbers as Python's own, which ``json`` knows."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value.value  # IntImm, FloatImm
