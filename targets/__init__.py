"""What a device is, how to build for it and how to reach it. Importing this does not import TVM."""

from targets.errors import (
    BoardNotBuilt,
    CompileError,
    DeviceUnavailable,
    InvalidTarget,
    MissingTool,
    NoBoardLeft,
    OnlyATable,
    TargetError,
    UnfitBoard,
    UnknownTarget,
    WorkFailed,
    WrongDevice,
    WrongKey,
    WrongVersion,
)
from targets.fingerprint import Fingerprint
from targets.fleet.boards import BoardState
from targets.fleet.dispatch import Done
from targets.fleet.fleet import Fleet
from targets.local_machine import LocalMachine
from targets.published import PublishedDevice
from targets.rpc.local_server import LocalServer, local_rpc, parse_address
from targets.rpc.session import Session, open_session
from targets.sensors.readings import BoardReading
from targets.target import Target, list_published, list_targets, load_device, load_target

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
    "OnlyATable",
    "PublishedDevice",
    "Session",
    "Target",
    "TargetError",
    "UnfitBoard",
    "UnknownTarget",
    "WorkFailed",
    "WrongDevice",
    "WrongKey",
    "WrongVersion",
    "list_published",
    "list_targets",
    "load_device",
    "load_target",
    "local_rpc",
    "open_session",
    "parse_address",
]
