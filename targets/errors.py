"""Everything targets/ raises on purpose.

TargetError
├── InvalidTarget        the YAML is wrong; lists every fault
├── UnknownTarget        no such name or file; suggests the near miss
├── OnlyATable           a device that others measured, and nobody here can reach
├── MissingTool          a compiler or library that the target needs is not here; says how to get it
├── CompileError         a compiler refused what it was given
├── InvalidCubin         machine code for a GPU that is damaged or cut short
├── NoPowerSensor        nothing here tells how much power it draws, or this user may not read it
├── BoardNotBuilt        the emulated board could not be made
├── WorkFailed           what a fleet was asked to do failed through its own fault
└── DeviceUnavailable    tracker or board did not answer
    ├── UnfitBoard       a board that answered and cannot be used
    │   ├── WrongKey     it wants another key than ours
    │   ├── WrongVersion its TVM is not ours
    │   └── WrongDevice  no GPU, another one, or another power mode than the target says
    └── NoBoardLeft      every board of a fleet is lost
"""

from collections.abc import Sequence

from targets.support.commands import command_line
from targets.support.text import near_miss


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
        devices = [one for one in known if not any(one.startswith(f"{other}-") for other in known)]
        super().__init__(
            f"unknown target {name!r}{near_miss(name, known)}; allowed: {', '.join(devices)}, "
            f"a variant of one ({command_line('targets')}), or the path of a .yaml file of your own"
        )


class OnlyATable(TargetError):
    """A device of which nothing is here but the latencies that others published."""

    def __init__(self, name: str, conditions: str) -> None:
        super().__init__(
            f"target {name}: nobody here can reach it, it is a table that others measured ({conditions}); "
            "allowed for it: predict, networks and search"
        )


class MissingTool(TargetError):
    """A compiler, linker or library that building for a target needs is not on this machine."""


class CompileError(TargetError):
    """A compiler or linker failed. The text holds its first error."""

    exit_code = 1


class InvalidCubin(TargetError):
    """Machine code for a GPU whose tables are damaged or cut short."""

    exit_code = 1


class NoPowerSensor(TargetError):
    """No sensor of this machine's power, or one that cannot be read."""


class BoardNotBuilt(TargetError):
    """The emulated board's packages could not be fetched or unpacked."""

    exit_code = 1


class WorkFailed(TargetError):
    """Work given to a fleet raised on a healthy board, or cost two sessions. The text is the reason."""

    exit_code = 1


class DeviceUnavailable(TargetError):
    """Tracker or board did not answer in time."""

    exit_code = 1

    @classmethod
    def after(cls, key: str, place: str, waited_s: float, reason: str, advice: str) -> "DeviceUnavailable":
        """One line: what was asked for, where, for how long, why it failed, what to do."""
        return cls(f"no device with key {key!r} from {place} after {waited_s:.1f} s: {reason}; {advice}")


class UnfitBoard(DeviceUnavailable):
    """A board that answered and is not what the target says."""


class WrongKey(UnfitBoard):
    """A board that serves others."""

    def __init__(self, board: str, file: str) -> None:
        super().__init__(
            f"board {board} wants another key than that of {file} here; start it with board --ssh, which "
            "passes this key, or copy the file to the board and restart its RPC server"
        )


class WrongDevice(UnfitBoard):
    """Its GPU or power mode is not the target's."""


class WrongVersion(UnfitBoard):
    """A board whose TVM is of another version: modules and calls would not fit each other."""

    def __init__(self, board: str, found: str, ours: str) -> None:
        super().__init__(
            f"board {board} speaks TVM {found}, allowed: TVM {ours}, as here; "
            f"install apache-tvm=={ours} on the board and restart its RPC server"
        )


class NoBoardLeft(DeviceUnavailable):
    """Every board of a fleet is lost or set aside, and none came back in time."""
