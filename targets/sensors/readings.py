"""State of a board that its speed depends on: power mode, clocks, temperatures. Read on the board itself.

``board_server`` offers it to whoever has a session, as the function `FUNCTION`; a plain TVM server does not.
"""

import glob
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from targets.spec import PowerModeQuery, Readings
from targets.support.strict_json import parse_json

FUNCTION = "squeezenas_tvm.board_state"  # a name on the wire: boards with release 0.1 offer it as this
_MODEL = Path("/proc/device-tree/model")
_THERMAL = Path("/sys/class/thermal")
_QUERY_S = 10.0


@dataclass(frozen=True, slots=True)
class BoardReading:
    """What a board says of itself; None and missing names where it does not.

    Attributes:
        model: the board's own name, from its device tree.
        clocks_mhz: by the names in the target's file.
        temperatures_c: by the type of the thermal zone.
    """

    model: str | None = None
    power_mode: str | None = None
    clocks_mhz: Mapping[str, float] = field(default_factory=dict)
    temperatures_c: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        clocks = [f"{name} {mhz:.0f} MHz" for name, mhz in self.clocks_mhz.items()]
        hottest = [f"{max(self.temperatures_c.values()):.0f} C"] if self.temperatures_c else []
        return ", ".join([self.power_mode or "power mode unknown", *clocks, *hottest])

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "BoardReading":
        """What `to_json` gave, perhaps of another release: what this one does not know is left out.

        Raises ValueError for other text.
        """
        told = parse_json(text)
        if not isinstance(told, dict):
            raise ValueError("the state of a board is a JSON object")
        known = {field.name for field in fields(cls)}
        return TypeAdapter(cls).validate_python({name: told[name] for name in told if name in known})


def read_board(readings: Readings | None, thermal: Path = _THERMAL) -> BoardReading:
    """Read this machine's state; what cannot be read is left out.

    Args:
        readings: where it says so, from a target's file.
    """
    readings = readings or Readings()
    clocks = {name: _first_number(clock.path) for name, clock in readings.clocks.items()}
    zones = sorted(thermal.glob("thermal_zone*"))
    temperatures = {_text(zone / "type") or zone.name: _number(zone / "temp") for zone in zones}
    return BoardReading(
        model=_text(_MODEL),
        power_mode=_power_mode(readings.power_mode),
        clocks_mhz={
            n: value / readings.clocks[n].per_mhz for n, value in clocks.items() if value is not None
        },
        temperatures_c={name: value / 1000 for name, value in temperatures.items() if value is not None},
    )


def ask_board(remote: Any) -> BoardReading | None:
    """State of the board at the other end of a TVM RPC session; None where its server cannot tell, or what
    it tells is none."""
    try:
        function = remote.get_function(FUNCTION)
    except AttributeError:
        return None
    try:
        return BoardReading.from_json(str(function()))
    except ValueError:
        return None


def _power_mode(query: PowerModeQuery | None) -> str | None:
    if query is None:
        return None
    try:
        done = subprocess.run(query.command, capture_output=True, timeout=_QUERY_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(query.pattern, done.stdout.decode(errors="replace"))
    return found[1] if found else None


def _first_number(pattern: str) -> float | None:
    return next((_number(Path(path)) for path in sorted(glob.glob(pattern))), None)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
