"""What a device is, how to build for it and how to reach it. Importing this does not import TVM."""

from targets.boards import BoardState
from targets.dispatch import Done
from targets.errors import (
    DeviceUnavailable,
    InvalidTarget,
    NoBoardLeft,
    TargetError,
    UnknownTarget,
    WorkFailed,
    WrongVersion,
)
from targets.fingerprint import Fingerprint
from targets.fleet import Fleet
from targets.local_machine import LocalMachine
from targets.rpc import LocalServer, local_rpc, parse_address
from targets.session import Session, open_session
from targets.target import Target, list_targets, load_target

__all__ = [
    "BoardState",
    "DeviceUnavailable",
    "Done",
    "Fingerprint",
    "Fleet",
    "InvalidTarget",
    "LocalMachine",
    "LocalServer",
    "NoBoardLeft",
    "Session",
    "Target",
    "TargetError",
    "UnknownTarget",
    "WorkFailed",
    "WrongVersion",
    "list_targets",
    "load_target",
    "local_rpc",
    "open_session",
    "parse_address",
]
