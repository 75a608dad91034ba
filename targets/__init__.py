"""What a device is, how to build for it and how to reach it. Importing this does not import TVM."""

from targets.errors import DeviceUnavailable, InvalidTarget, TargetError, UnknownTarget
from targets.fingerprint import Fingerprint
from targets.local_machine import LocalMachine
from targets.rpc import LocalServer, local_rpc, parse_address
from targets.session import Session, open_session
from targets.target import Target, list_targets, load_target

__all__ = [
    "DeviceUnavailable",
    "Fingerprint",
    "InvalidTarget",
    "LocalMachine",
    "LocalServer",
    "Session",
    "Target",
    "TargetError",
    "UnknownTarget",
    "list_targets",
    "load_target",
    "local_rpc",
    "open_session",
    "parse_address",
]
