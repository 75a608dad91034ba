"""Which measurements may be compared: everything that changes a latency, and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """The identity under which measurements are stored.

    Attributes:
        device: the model of CPU or board.
        cores: CPU cores used.
        power_mode: the board's power mode, or the CPU's frequency governor; ``unknown`` if nobody tells.
        tvm_target: TVM's own description, as canonical JSON text.
        llvm_version: major version of the LLVM inside TVM.
        measure: ``number``, ``repeat``, ``min_repeat_ms`` and ``cooldown_ms``.
    """

    device: str
    cores: int
    power_mode: str
    tvm_target: str
    tvm_version: str
    llvm_version: str
    dtype: str
    measure: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `difference` takes it back."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """12 hex digits of the SHA-256 over the canonical JSON text."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def difference(self, other: "Fingerprint | Mapping[str, Any]") -> str:
        """One line that says which fields differ, this one's value first; empty if none does.

        Args:
            other: a fingerprint, or what its `as_dict` gave and a file kept.
        """
        mine = _flat(self.as_dict())
        theirs = _flat(other.as_dict() if isinstance(other, Fingerprint) else other)
        names = [name for name in (*mine, *theirs) if mine.get(name) != theirs.get(name)]
        return "; ".join(f"{n}: {mine.get(n)!r} against {theirs.get(n)!r}" for n in dict.fromkeys(names))


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in values.items() if name != "measure"}
    return flat | {f"measure.{name}": value for name, value in values.get("measure", {}).items()}
