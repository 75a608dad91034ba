"""A device by name or by file: what to build for it and under which identity its measurements are kept."""

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr, ValidationError

from targets.emulated_cuda.gpus import GPUS
from targets.errors import DeviceUnavailable, InvalidTarget, OnlyATable, TargetError, UnknownTarget
from targets.fingerprint import Fingerprint
from targets.local_machine import LocalMachine, Processor, cpu_flags, unsupported_features
from targets.published import PublishedDevice
from targets.spec import TargetSpec
from targets.support.commands import command_line
from targets.support.reading import TEXT_BYTES, read_text
from targets.support.strict_yaml import faults, read_mapping
from targets.support.text import near_miss

_FOLDER = Path(__file__).parent
_STATIC_SHARED_BYTES = 48 << 10


class Target(TargetSpec):
    """A checked target file. Methods import TVM, which takes seconds; the data alone does not."""

    _path: Path | None = PrivateAttr(None)

    @property
    def argument(self) -> str:
        """What ``--target`` takes for it: the path of its file, or the name of a shipped one."""
        return str(self._path) if self._path else target_argument(self.name)

    def tvm_target(self) -> Any:
        """The ``tvm.target.Target`` to build for.

        Raises:
            InvalidTarget: TVM does not know the tag or an attribute.
            DeviceUnavailable: a local GPU is not there.
        """
        from targets.tvm_import import tvm

        try:
            if "tag" in self.tvm:
                return tvm.target.Target(self.tvm["tag"])
            attributes = dict(self.tvm)
            if self.kind == "local" and attributes["kind"] == "llvm":
                attributes = _detected(attributes)
            if self.emulated_gpu:
                _require_known_gpu(self)
                attributes = {"host": _detected({"kind": "llvm"})} | attributes
            elif self.kind == "local" and attributes["kind"] == "cuda":
                attributes = _detected_gpu(self.name) | attributes
            return tvm.target.Target(attributes)
        except (TypeError, ValueError) as error:
            hint = near_miss(str(self.tvm.get("tag", "")), map(str, tvm.target.list_tags()))
            reason = str(error).splitlines()[0]
            raise InvalidTarget(f"target {self.name}", [f"tvm: refused by TVM{hint} {reason}"]) from error

    @property
    def emulated_gpu(self) -> str | None:
        """The GPU's architecture where this machine's CPU is it (see ``emulated_cuda``); None for others."""
        emulated = self.emulated and self.kind == "local" and self.tvm.get("kind") == "cuda"
        return str(self.tvm.get("arch")) if emulated else None

    def local_processor(self) -> Processor | None:
        """The CPU of this machine as the target uses it; None where its device is another. Needs no TVM."""
        if self.kind != "local" or self.tvm.get("kind") != "llvm":
            return None
        machine, cores = LocalMachine.detect(), self.tvm.get("num-cores")
        count = cores if isinstance(cores, int) else machine.physical_cores
        return Processor(machine.cpu_model, count, machine.vectors)

    @property
    def uses_cuda(self) -> bool:
        """Whether its kernels run on an NVIDIA GPU."""
        return str(self.tvm_target().kind.name) == "cuda"

    def processor_features(self) -> list[str]:
        """LLVM's names of what code for its processor, or for that beside its GPU, may use."""
        from targets.tvm_import import tvm

        target = self.tvm_target()
        host = target.host or target
        if host.kind.name != "llvm":
            return []
        return sorted(map(str, tvm.target.codegen.llvm_get_cpu_features(host)))

    @property
    def caution(self) -> str:
        """What is to be said with every number of an emulated device; empty for others."""
        return f"{self.name} is emulated: its timings mean nothing" if self.emulated else ""

    def require_timings(self, purpose: str) -> None:
        """Raises TargetError for an emulated device; ``purpose`` wants its latencies, such as ``search``."""
        if self.emulated:
            raise TargetError(
                f"target {self.name}: its device is emulated, and its timings mean nothing; allowed for "
                f"{purpose}: the target of a real device, such as jetson-xavier"
            )

    def require_dtype(self, dtype: str) -> None:
        """Raises TargetError when the target does not list an element type."""
        if dtype not in self.dtypes:
            raise TargetError(f"target {self.name}: dtype is {dtype!r}, allowed: {', '.join(self.dtypes)}")

    def fingerprint(self, dtype: str = "float32") -> Fingerprint:
        """The identity of measurements on this device.

        Raises:
            TargetError: the target does not list ``dtype``.
        """
        from targets.tvm_import import tvm

        self.require_dtype(dtype)
        tvm_target = self.tvm_target()
        power_mode: str | None = None
        if self.emulated_gpu:
            device = GPUS[str(tvm_target.attrs["arch"])].title
        elif self.kind == "local" and tvm_target.kind.name == "cuda":
            device = str(tvm.cuda(0).device_name)
        elif self.kind == "local":
            machine = LocalMachine.detect()
            device, power_mode = machine.cpu_model, machine.governor
        else:
            device = self.model or ""
            power_mode = self.power_modes.default if self.power_modes else None
        return Fingerprint(
            device=device,
            cores=int((tvm_target.host or tvm_target).attrs.get("num-cores", 0)),
            power_mode=power_mode or "unknown",
            tvm_target=json.dumps(json.loads(str(tvm_target)), sort_keys=True, separators=(",", ":")),
            tvm_version=tvm.__version__,
            llvm_version=str(tvm.target.codegen.llvm_version_major()),
            dtype=dtype,
            measure=self.measure.model_dump(exclude={"timeout_s"}),
            cuda_version=self.toolchain.cuda if self.toolchain else None,
        )


def _detected(attributes: dict[str, Any]) -> dict[str, Any]:
    """Fill in what a local llvm target leaves open; what the file says stays."""
    from targets.tvm_import import tvm

    codegen = tvm.target.codegen
    cores = LocalMachine.detect().physical_cores
    attributes = {"mcpu": str(codegen.llvm_get_system_cpu()), "num-cores": cores, **attributes}
    enabled = map(str, codegen.llvm_get_cpu_features(tvm.target.Target(attributes)))
    absent = unsupported_features(enabled, cpu_flags())
    if absent and "mattr" not in attributes:
        attributes["mattr"] = [f"-{feature}" for feature in absent]
    return attributes


def _require_known_gpu(target: Target) -> None:
    if target.emulated_gpu not in GPUS:
        known = ", ".join(GPUS)
        fault = f"tvm.arch: no emulated GPU is {target.emulated_gpu}; allowed: {known}"
        raise InvalidTarget(f"target {target.name}", [fault])


def _detected_gpu(name: str) -> dict[str, Any]:
    """What TVM finds out about the first NVIDIA GPU of this machine, and its host."""
    from targets.cuda_stand_in import why_no_gpu
    from targets.tvm_import import tvm

    device = tvm.cuda(0)
    if not device.exist:
        raise DeviceUnavailable(
            f"target {name}: no NVIDIA GPU on this machine: {why_no_gpu()}; "
            f"see: {command_line('targets', 'check', target_argument(name))}"
        )
    found: dict[str, Any] = json.loads(str(tvm.target.Target.from_device(device)))
    found.pop("tag", None)
    # What the device gives on request is more than a kernel gets without asking, and TVM's do not ask.
    found["max_shared_memory_per_block"] = min(found["max_shared_memory_per_block"], _STATIC_SHARED_BYTES)
    return found | {"host": _detected({"kind": "llvm"})}


def list_targets() -> tuple[str, ...]:
    """Names of the shipped targets and of their variants, sorted; without those that are tables alone."""
    names = _names()
    return tuple(sorted([*names, *(f"{name}-{suffix}" for name in names for suffix in _read(name).variants)]))


def list_published() -> tuple[str, ...]:
    """Names of the devices that are here as tables of others alone, sorted."""
    return tuple(sorted(_published()))


@functools.cache
def _published() -> Mapping[str, PublishedDevice]:
    found = {}
    for path in _FOLDER.glob("*.yaml"):
        raw = _mapping(path)
        if raw.get("kind") == "table":
            found[path.stem] = PublishedDevice.model_validate(raw)
    return found


def _names() -> list[str]:
    return sorted(path.stem for path in _FOLDER.glob("*.yaml") if path.stem not in _published())


def target_argument(name: str) -> str:
    """What ``--target`` takes for a target of which only the name is known: itself, or a file so named."""
    return name if name in list_targets() else f"{name}.yaml"


def profile_command(name: str, *given: str) -> str:
    """The command that measures a target of which only the name is known. ``given``: more of its words."""
    return command_line("profile", "--target", target_argument(name), *given)


@functools.cache
def multiprocessors() -> Mapping[str, int]:
    """Of the GPUs that the shipped targets know, by architecture (``sm_72``)."""
    found: dict[str, int] = {}
    for name in _names():
        found |= _read(name).multiprocessors or {}
    return found


def load_target(name_or_path: str | Path) -> Target:
    """Read a shipped target by name, or a file of one's own by its path (``.yaml``, ``.yml``).

    Raises:
        UnknownTarget: no such name, or no file there.
        InvalidTarget: the file is not a target; lists every fault.
        OnlyATable: nobody here can reach the device.
    """
    device = _load(str(name_or_path), list_targets())
    if isinstance(device, PublishedDevice):
        raise OnlyATable(device.name, device.conditions)
    return device


def load_device(name_or_path: str | Path) -> Target | PublishedDevice:
    """As ``load_target``, and also one that is a table alone, for those who ask nothing but latencies."""
    return _load(str(name_or_path), (*list_targets(), *list_published()))


def _load(text: str, known: tuple[str, ...]) -> Target | PublishedDevice:
    """``known``: the names to suggest."""
    if Path(text).suffix in (".yaml", ".yml"):
        if not os.path.exists(text):
            raise UnknownTarget(text, known)
        target = _read_file(Path(text))
        target._path = Path(text)
        return target
    if text in _published():
        return _published()[text]
    if text not in known:
        raise UnknownTarget(text, known)
    if (_FOLDER / f"{text}.yaml").is_file():
        return _read(text)
    name, _, suffix = text.rpartition("-")
    return _variant(_read(name), suffix)


@functools.cache
def _read(name: str) -> Target:
    return _read_file(_FOLDER / f"{name}.yaml")


def _variant(target: Target, suffix: str) -> Target:
    """The target ``NAME-SUFFIX``."""
    chosen = target.variants[suffix]
    changes: dict[str, Any] = {"name": f"{target.name}-{suffix}", "summary": chosen.summary, "variants": {}}
    if chosen.power_mode is not None and target.power_modes is not None:
        changes["power_modes"] = target.power_modes.model_copy(update={"default": chosen.power_mode})
    if chosen.toolchain is not None:
        changes["toolchain"] = chosen.toolchain
    if chosen.peaks is not None:
        changes["peaks"] = chosen.peaks
    if chosen.tvm is not None:
        changes["tvm"] = chosen.tvm
    return target.model_copy(update=changes)


def _mapping(path: Path) -> dict[str, Any]:
    def refusal(said: str) -> InvalidTarget:
        return InvalidTarget(str(path), [said.removeprefix(f"{path}: ")])

    return read_mapping(read_text(path, refusal, most_bytes=TEXT_BYTES), str(path), Target, refusal)


def _read_file(path: Path) -> Target:
    try:
        return Target.model_validate(_mapping(path))
    except ValidationError as error:
        raise InvalidTarget(str(path), faults(error, Target)) from None
