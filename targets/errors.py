"""Everything targets/ raises on purpose.

TargetError
├── InvalidTarget        the YAML is wrong; lists every fault
├── UnknownTarget        no such name or file; suggests the near miss
└── DeviceUnavailable    tracker or board did not answer
"""

import difflib
from collections.abc import Iterable, Sequence


class TargetError(Exception):
    """Base: catch this to catch them all. ``exit_code`` is 2 for wrong input, 1 for failed work."""

    exit_code = 2


class InvalidTarget(TargetError):
    """A target that breaks the schema or that TVM refuses. ``faults`` has a phrase for each fault."""

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source, self.faults = source, tuple(faults)
        super().__init__(f"{source}: {'; '.join(faults)}")


class UnknownTarget(TargetError):
    """A name that no shipped target has, or a path where no file is."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"unknown target {name!r}{near_miss(name, known)}; allowed: {', '.join(known)}, "
            "or the path of a .yaml file of your own"
        )


class DeviceUnavailable(TargetError):
    """Tracker or board did not answer in time."""

    exit_code = 1

    def __init__(self, key: str, tracker: str, waited_s: float, reason: str, advice: str) -> None:
        super().__init__(
            f"no device with key {key!r} from tracker {tracker} after {waited_s:.1f} s: {reason}; {advice}"
        )


def near_miss(word: str, allowed: Iterable[str]) -> str:
    """`, did you mean X?` for the closest allowed word, else nothing."""
    near = difflib.get_close_matches(word, list(allowed), n=1)
    return f", did you mean {near[0]}?" if near else ""
