"""Is the device at the other end of a session what the target says? Asked for every session."""

import base64
import functools
import logging
import re
from collections.abc import Callable, Collection
from typing import Any

from targets.errors import WrongDevice, WrongVersion
from targets.local_machine import unsupported_features
from targets.sensors.readings import BoardReading, ask_board
from targets.target import Target

CPU_FLAGS = "squeezenas_tvm.cpu_flags"  # offered by ``board_server``, as that of a board's state

log = logging.getLogger(__name__)


def check_board(
    target: Target, board: str, remote: Any, device: Any
) -> tuple[str | None, BoardReading | None]:
    """Refuse a board that cannot give a target's numbers.

    Args:
        board: its name, for what is said of it.
        remote: the ``tvm.rpc.RPCSession`` with it.
        device: the ``tvm.runtime.Device`` there that is to run kernels.

    Returns:
        Its version of TVM and its state, both None where they are not told.

    Raises:
        WrongVersion: another TVM.
        WrongDevice: no GPU where the target has one, a GPU of another architecture, or another power mode.
    """
    version = _check_version(board, remote)
    _check_gpu(target, board, device)
    return version, check_state(target, board, remote)


def ask_cpu_flags(remote: Any) -> frozenset[str]:
    """Flags of the board's processor, as its /proc/cpuinfo has them; none where its server does not tell."""
    try:
        function = remote.get_function(CPU_FLAGS)
    except AttributeError:
        return frozenset()
    return frozenset(str(function()).split())


def check_processor(target: Target, board: str, flags: Collection[str]) -> None:
    """Refuse a board on which code for the target would die with an illegal instruction.

    Raises:
        WrongDevice: its processor lacks what code for the target's may use.
    """
    absent = unsupported_features(target.processor_features(), flags)
    if absent:
        host = target.tvm_target().host or target.tvm_target()
        raise WrongDevice(
            f"board {board} lacks {', '.join(absent)} of the processor that {target.name} is built for "
            f"(mcpu {host.attrs.get('mcpu', 'generic')}); give the target of that board, or a file of your "
            f"own with its mcpu, or with mattr [{', '.join(f'-{feature}' for feature in absent)}]"
        )


def check_state(target: Target, board: str, remote: Any) -> BoardReading | None:
    """State of the board now, where its server tells it. Raises WrongDevice for another power mode."""
    if target.kind == "local":
        return None
    reading = ask_board(remote)
    modes = target.power_modes
    mode = reading.power_mode if reading else None
    if modes is not None and mode is None:
        _warn(f"board {board} does not tell its power mode; make sure it is {modes.default}")
    elif modes is not None and mode != modes.default:
        raise WrongDevice(
            f"board {board} is in power mode {mode}, allowed for {target.name}: "
            f"{modes.default}; switch it there (sudo nvpmodel -m NUMBER), or give the target's variant or a "
            "file of your own for that mode"
        )
    return reading


def _check_version(board: str, remote: Any) -> str | None:
    """Refuse a board with another TVM. One built without the compiler cannot tell, which is only reported."""
    from targets.tvm_import import tvm

    ours = tvm_version(tvm.get_global_func)
    try:
        theirs = tvm_version(remote.get_function)
    except AttributeError:
        _warn(
            f"board {board} has TVM's runtime alone, which does not tell its version; make sure it is {ours}"
        )
        return None
    if theirs != ours:
        raise WrongVersion(board, theirs, ours)
    return theirs


def tvm_version(get_function: Callable[[str], Any]) -> str:
    """The version compiled into TVM. No function returns it, but every serialized module carries it."""
    empty = get_function("ffi.Map")()
    module = get_function("ir.IRModule")(empty, None, empty)
    workload = get_function("s_tir.meta_schedule.Workload")(module)
    texts = get_function("s_tir.meta_schedule.WorkloadAsJSON")(workload)
    text = base64.b64decode(str(get_function("ffi.ArrayGetItem")(texts, 1)))
    found = re.search(rb'"tvm_version": "([^"]*)"', text)
    return found[1].decode() if found else "unknown"


def _check_gpu(target: Target, board: str, device: Any) -> None:
    tvm_target = target.tvm_target()
    if tvm_target.kind.name != "cuda":
        return
    if not device.exist:
        raise WrongDevice(
            f"board {board} was reached, but offers no CUDA device, which {target.name} "
            "needs; install a TVM runtime with CUDA there (see docs/jetson.md), and check its driver"
        )
    found = f"sm_{str(device.compute_version).replace('.', '')}"
    wanted = str(tvm_target.attrs["arch"]).rstrip("af")  # sm_90a: all of sm_90, and what it alone has
    if found != wanted:
        raise WrongDevice(
            f"board {board} has a GPU of architecture {found}, allowed for {target.name}: "
            f"{wanted}; give the target of that board, or register it under another key"
        )


@functools.cache
def _warn(text: str) -> None:
    """Told once, not with every session."""
    log.warning("%s", text)
