"""A device by name or by file: what to build for it and under which identity its measurements are kept."""

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from targets.errors import InvalidTarget, TargetError, UnknownTarget, near_miss
from targets.fingerprint import Fingerprint
from targets.local_machine import LocalMachine, cpu_flags, unsupported_features
from targets.spec import TargetSpec, explain

_FOLDER = Path(__file__).parent


class Target(TargetSpec):
    """A checked target file. Methods import TVM, which takes seconds; the data alone does not."""

    def tvm_target(self) -> Any:
        """The ``tvm.target.Target`` to build for.

        Raises:
            InvalidTarget: TVM does not know the tag or an attribute.
        """
        from targets.tvm_import import tvm

        try:
            if "tag" in self.tvm:
                return tvm.target.Target(self.tvm["tag"])
            attributes = dict(self.tvm)
            if self.kind == "local" and attributes["kind"] == "llvm":
                attributes = _detected(attributes)
            return tvm.target.Target(attributes)
        except (TypeError, ValueError) as error:
            hint = near_miss(str(self.tvm.get("tag", "")), map(str, tvm.target.list_tags()))
            reason = str(error).splitlines()[0]
            raise InvalidTarget(f"target {self.name}", [f"tvm: refused by TVM{hint} {reason}"]) from error

    def fingerprint(self, dtype: str = "float32") -> Fingerprint:
        """The identity of measurements on this device.

        Raises:
            TargetError: the target does not list ``dtype``.
        """
        from targets.tvm_import import tvm

        if dtype not in self.dtypes:
            raise TargetError(f"target {self.name}: dtype is {dtype!r}, allowed: {', '.join(self.dtypes)}")
        tvm_target = self.tvm_target()
        if self.kind == "local":
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


def list_targets() -> tuple[str, ...]:
    """Names of the shipped targets, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_target(name_or_path: str | Path) -> Target:
    """Read a shipped target by name, or a file of one's own by its path (``.yaml``, ``.yml``).

    Raises:
        UnknownTarget: no such name, or no file there.
        InvalidTarget: the file is not a target; lists every fault.
    """
    text = str(name_or_path)
    path = Path(text)
    if path.suffix not in (".yaml", ".yml"):
        path = _FOLDER / f"{text}.yaml" if text in list_targets() else path
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise UnknownTarget(text, list_targets())
    try:
        return Target.model_validate(_mapping(path))
    except ValidationError as error:
        raise InvalidTarget(str(path), explain(error)) from None


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, where the last would win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", node.value[index][0].start_mark
                )
        return super().construct_mapping(node, deep)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise InvalidTarget(
            str(path), [f"found bytes that are no text ({error.reason}), allowed: UTF-8"]
        ) from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InvalidTarget(str(path), [f"{line}not readable as YAML: {error.problem}"]) from None
    except yaml.YAMLError as error:
        raise InvalidTarget(str(path), [f"not readable as YAML: {str(error).splitlines()[0]}"]) from None
    if not isinstance(raw, dict):
        raise InvalidTarget(str(path), [f"found {type(raw).__name__}, allowed: a mapping of keys to values"])
    return raw
