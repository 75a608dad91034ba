"""What a device is, how to build for it and how to reach it. Importing this does not import TVM."""

from targets.boards import BoardState
from targets.dispatch import Done
from targets.errors import (
    BoardNotBuilt,
    CompileError,
    DeviceUnavailable,
    InvalidTarget,
    MissingTool,
    NoBoardLeft,
    TargetError,
    UnfitBoard,
    UnknownTarget,
    WorkFailed,
    WrongDevice,
    WrongVersion,
)
from targets.fingerprint import Fingerprint
from targets.fleet import Fleet
from targets.local_machine import LocalMachine
from targets.readings import BoardReading
from targets.rpc import LocalServer, local_rpc, parse_address
from targets.session import Session, open_session
from targets.target import Target, list_targets, load_target

__all__ = [
    "BoardNotBuilt",
    "BoardReading",
    "BoardState",
    "CompileError",
    "DeviceUnavailable",
    "Done",
    "Fingerprint",
    "Fleet",
    "InvalidTarget",
    "LocalMachine",
    "LocalServer",
    "MissingTool",
    "NoBoardLeft",
    "Session",
    "Target",
    "TargetError",
    "UnfitBoard",
    "UnknownTarget",
    "WorkFailed",
    "WrongDevice",
    "WrongVersion",
    "list_targets",
    "load_target",
    "local_rpc",
    "open_session",
    "parse_address",
]
