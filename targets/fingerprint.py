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
        cuda_version: the device's, for which its kernels are compiled; None where the target gives none.
    """

    device: str
    cores: int
    power_mode: str
    tvm_target: str
    tvm_version: str
    llvm_version: str
    dtype: str
    measure: Mapping[str, int]
    cuda_version: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; ``cuda_version`` only where there is one."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def digest(self) -> str:
        """12 hex digits of the SHA-256 over the canonical JSON text."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
