"""The identity of measurements: what must be equal before two of them may stand in one table."""

from collections.abc import Mapping
from typing import Any

from targets import Target

DEFAULT_SCHEDULES = (
    5  # raise it when default schedules change: what was timed with the old ones no longer holds
)

_TOLD_BY = "told_by"


def environment(target: Target, dtype: str = "float32") -> dict[str, Any]:
    """The target's fingerprint and the generation of our own schedules, as JSON can hold them.

    Raises TargetError when the target does not list ``dtype``.
    """
    return target.fingerprint(dtype).as_dict() | {"default_schedules": DEFAULT_SCHEDULES}


def told_by(fingerprint: Mapping[str, Any], source: Mapping[str, str]) -> dict[str, Any]:
    """The environment of latencies that others tell: kept beside what was measured here, mixed with it never.

    Args:
        fingerprint: of the environment for which they are told.
        source: by whom, as JSON can hold it.
    """
    return {**fingerprint, _TOLD_BY: dict(source)}


def is_told_of(there: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> bool:
    """Whether an environment is of latencies that others tell of the one with this fingerprint."""
    return _TOLD_BY in there and {**there, _TOLD_BY: None} == {**fingerprint, _TOLD_BY: None}


def differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """One phrase for each leaf in which two environments differ; none when they are the same."""
    found, needed = _leaves(there), _leaves(wanted)
    return [
        f"{name} {found.get(name)!r} instead of {needed.get(name)!r}"
        for name in sorted(found.keys() | needed.keys())
        if found.get(name) != needed.get(name)
    ]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return leaves
