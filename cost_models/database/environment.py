"""The identity of measurements: what must be equal before two of them may stand in one table."""

from collections.abc import Mapping
from typing import Any

from targets import Target

DEFAULT_SCHEDULES = (
    4  # raise it when default schedules change: what was timed with the old ones no longer holds
)


def environment(target: Target, dtype: str = "float32") -> dict[str, Any]:
    """The target's fingerprint and the generation of our own schedules, as JSON can hold them.

    Raises TargetError when the target does not list ``dtype``.
    """
    return target.fingerprint(dtype).as_dict() | {"default_schedules": DEFAULT_SCHEDULES}


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
