"""What a target needs on this machine and beyond, and whether it is there: for ``targets check``.

Nothing is believed that can be tried: linkers link, compilers compile, and a session is opened.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from targets import emulated_board
from targets.cuda_stand_in import has_driver, why_no_gpu
from targets.emulated_cuda.libraries import build_libraries
from targets.errors import CompileError, DeviceUnavailable, MissingTool, NoPowerSensor, TargetError
from targets.rpc.board_check import tvm_version
from targets.rpc.local_server import parse_address
from targets.rpc.session import Session, open_session
from targets.rpc.tracker import Tracker, start_command
from targets.sensors.power import power_sensor
from targets.spec import Toolchain
from targets.support.commands import command_line, module_line
from targets.target import Target
from targets.toolchain.cubin import cubin_architectures
from targets.toolchain.cuda_compiler import (
    CudaCompiler,
    find_cuda_compiler,
    plain_architecture,
)
from targets.toolchain.emulated_compiler import find_emulated_compiler
from targets.toolchain.linker import find_linker

BUILD, FLOAT16, MEASURE, ENERGY = "build", "float16", "measure", "energy"
_LINKERS = ("g++", "gcc", "clang++", "clang", "c++", "cc")  # what TVM looks for
_KERNEL = 'extern "C" __global__ void probe(float* x) { x[threadIdx.x] += 1.0f; }'
_HALF_KERNEL = (
    '#include <cuda_fp16.h>\nextern "C" __global__ void probe(half* x) { x[0] = __float2half(1.0f); }'
)
_PORT = 9190
_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a target needs.

    Attributes:
        found: what is there, or what is wrong.
        fix: what to do about it; empty where it is there.
        needed_for: ``build`` (all work needs it), ``float16``, ``measure`` (profiling and tuning) or
            ``energy`` (``run --energy``).
    """

    name: str
    ok: bool
    found: str
    fix: str = ""
    needed_for: str = BUILD


def check_target(target: Target, tracker: str | None = None) -> list[Check]:
    """Every need of a target, in the order in which they matter. Connects to its tracker and board.

    Args:
        tracker: HOST:PORT; when None that of the variable that the target names, or for a local target none.

    Raises:
        InvalidTarget: TVM refuses its description.
        TargetError: the tracker's address is not HOST:PORT.
    """
    building = list(_building(target))
    if target.kind == "board":
        return [*building, *_board(target, tracker)]
    if tracker is not None:  # as profile does with it: this target's device, at somebody's tracker
        return [*building, *_board(target, tracker), *_power()]
    # a local device is reached with what building needs, and never without its GPU
    return [*building, _device(target, None), *_power()] if all(check.ok for check in building) else building


def _building(target: Target) -> Iterator[Check]:
    from targets.tvm_import import tvm

    yield Check("TVM", True, tvm.__version__)
    toolchain = target.toolchain or Toolchain()
    if toolchain.triple is None:
        yield _compiler_of_this_machine()
    else:
        yield _attempt(f"linker for {toolchain.triple}", lambda: " ".join(find_linker(toolchain).command))
    try:
        tvm_target = target.tvm_target()
    except DeviceUnavailable:
        yield Check("GPU", False, why_no_gpu(), "use a machine with an NVIDIA GPU and its driver")
        return
    if target.emulated_gpu:
        yield _attempt("emulated GPU", lambda: _emulated(str(target.emulated_gpu)))
    elif tvm_target.kind.name == "cuda":
        yield from _cuda(target, str(tvm_target.attrs["arch"]), toolchain.cuda)


def _emulated(arch: str) -> str:
    find_emulated_compiler(arch).cubin(_HALF_KERNEL)
    return f"{arch}, {build_libraries()}"


def _cuda(target: Target, arch: str, version: str | None) -> Iterator[Check]:
    def compiler(source: str) -> CudaCompiler:
        return _tried(find_cuda_compiler(arch, version), source)

    yield _attempt(f"CUDA compiler for {arch}", lambda: _name(compiler(_KERNEL)))
    yield _cuda_runtime()
    if "float16" in target.dtypes:
        yield _attempt("CUDA headers", lambda: str(compiler(_HALF_KERNEL).headers), FLOAT16)


def _compiler_of_this_machine() -> Check:
    named = os.environ.get("CXX") or os.environ.get("CC")
    found = next(filter(None, map(shutil.which, [named] if named else _LINKERS)), None)
    if found is None:
        wrong = f"{named} is not in PATH" if named else "none in PATH"
        return Check("C++ compiler", False, wrong, "on Debian and Ubuntu: apt install g++")
    return Check("C++ compiler", True, found)


def _tried(compiler: CudaCompiler, source: str) -> CudaCompiler:
    made, wanted = cubin_architectures(compiler.cubin(source)), plain_architecture(compiler.arch)
    if made != [wanted]:
        raise CompileError(f"{_name(compiler)} made code for {made}, not for {wanted}; install another")
    return compiler


def _name(compiler: CudaCompiler) -> str:
    return f"NVRTC {compiler.version[0]}.{compiler.version[1]}, {compiler.library}"


def _cuda_runtime() -> Check:
    """Whether TVM itself can write machine code for GPUs here."""
    from targets.tvm_import import tvm

    name = "TVM's CUDA runtime"
    if tvm.get_global_func("ffi.Module.create.cuda", allow_missing=True) is None:
        fix = "install a C compiler, and ask again: on Debian and Ubuntu: apt install gcc"
        return Check(name, False, "does not load: no CUDA libraries, no compiler to make stand-ins", fix)
    return Check(name, True, "loaded" if has_driver() else "loaded, with stand-ins for NVIDIA's libraries")


def _board(target: Target, tracker: str | None) -> Iterator[Check]:
    if target.name == emulated_board.NAME:
        yield from _emulation()
    variable = target.rpc.tracker_env
    address = tracker or os.environ.get(variable or "")
    if not address:
        give = "give --tracker HOST:PORT" + (f", or set {variable} to it" if variable else "")
        yield Check("tracker", False, "no address", f"{give}; start one: {start_command(_PORT)}", MEASURE)
        return
    port = parse_address(address)[1]
    try:
        with Tracker(address) as connection:
            keys = connection.registered()
    except OSError as error:
        found = f"{address}: {error.strerror or error}"
        yield Check(
            "tracker", False, found, f"is the address right? start one: {start_command(port)}", MEASURE
        )
        return
    yield Check("tracker", True, address, needed_for=MEASURE)
    boards, name = keys.count(target.rpc.key), f"boards under {target.rpc.key}"
    if not boards:
        others = f"none, other keys there: {', '.join(sorted(set(keys)))}" if keys else "none"
        yield Check(name, False, others, _start_board(target, address), MEASURE)
        return
    yield Check(name, True, str(boards), needed_for=MEASURE)
    yield _device(target, address)


def _emulation() -> Iterator[Check]:
    yield _attempt("qemu", emulated_board.find_qemu, MEASURE)
    folder = emulated_board.default_folder()
    built = emulated_board.is_built(folder)
    fix = "" if built else f"build it: {module_line('squeezenas_tvm.emulated_board', 'build')}"
    yield Check("user space for qemu", built, str(folder) if built else f"{folder}: not built", fix, MEASURE)


def _device(target: Target, tracker: str | None) -> Check:
    """Open a session with one board, or with this machine, which checks what is at the other end."""
    try:
        with open_session(target, tracker, timeout_s=60.0, wait_s=_WAIT_S) as session:
            return Check("device", True, _describe(session), needed_for=MEASURE)
    except TargetError as error:
        return _failure("device", error, MEASURE)


def _power() -> Iterator[Check]:
    """The sensor for ``run --energy``, where there is one; nothing is missing without it."""
    with contextlib.suppress(NoPowerSensor), power_sensor() as sensor:
        yield Check("power sensor", True, sensor.name, needed_for=ENERGY)


def _describe(session: Session) -> str:
    parts = [session.board, _tvm_of(session)]
    if session.target.uses_cuda:
        number = str(session.device.compute_version).replace(".", "")
        parts.append(f"{session.device.device_name} (sm_{number})")
    if session.reading is not None:
        parts += [part for part in (session.reading.model, str(session.reading)) if part]
    return ", ".join(parts)


def _tvm_of(session: Session) -> str:
    try:
        return f"TVM {tvm_version(session.remote.get_function)}"
    except AttributeError:  # see board_check, which has said so
        return "TVM of unknown version"


def _attempt(name: str, attempt: Callable[[], str], needed_for: str = BUILD) -> Check:
    try:
        return Check(name, True, attempt(), needed_for=needed_for)
    except (MissingTool, CompileError) as error:
        return _failure(name, error, needed_for)


def _failure(name: str, error: TargetError, needed_for: str = BUILD) -> Check:
    """The errors of this package end with what to do, after a semicolon."""
    found, _, fix = str(error).rpartition("; ")
    return Check(name, False, found or fix, fix if found else "see what it says", needed_for)


def _start_board(target: Target, address: str) -> str:
    if target.name == emulated_board.NAME:
        return f"start it: {module_line('squeezenas_tvm.emulated_board', 'serve', '--tracker', address)}"
    given = ("--target", target.argument, "--tracker", address)
    return f"on the board: {command_line('board', *given)}"
