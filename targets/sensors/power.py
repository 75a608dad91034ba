"""Energy that this machine draws, from sensors that Linux shows: Intel's and AMD's RAPL, Jetsons' INA3221.

A counter of joules is all that is asked for. RAPL is one; INA3221 tells watts, which `SampledEnergy` adds up.
"""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol

from targets.errors import NoPowerSensor

SYS = Path("/sys")
_RAPL = "class/powercap/intel-rapl:*"  # AMD's, too
_INA = ("bus/i2c/drivers/ina3221*/*/hwmon/hwmon*", "bus/i2c/drivers/ina3221*/*/iio:device*")
# Rails that all others are fed from. Where there is none, as on AGX boards, the rails add up.
_TOTALS = ("VDD_IN", "POM_5V_IN")
_PERIOD_S = 0.02  # INA3221 averages over some milliseconds


class PowerSensor(Protocol):
    """A counter of energy.

    Attributes:
        name: what it is the energy of.
    """

    name: str

    def energy_j(self) -> float:
        """Joules since some moment; never falls. Raises NoPowerSensor when it cannot be read any more."""
        ...


class WattSensor(Protocol):
    """Tells the power of the moment; see `PowerSensor`."""

    name: str

    def power_w(self) -> float: ...


@contextmanager
def power_sensor(root: Path = SYS) -> Iterator[PowerSensor]:
    """The sensor of this machine.

    Args:
        root: where sysfs is mounted.

    Raises:
        NoPowerSensor: there is none, or this user may not read it.
    """
    if zones := _rapl_zones(root):
        yield RaplSensor(zones)
    elif rails := _ina_rails(root):
        with SampledEnergy(InaSensor(rails)) as sensor:
            yield sensor
    else:
        raise NoPowerSensor(
            f"no power sensor here: neither {root / _RAPL} nor {root / _INA[0]}; "
            "energy can be measured on machines with RAPL (not in most virtual ones) and on Jetsons"
        )


class RaplSensor:
    """Sum of the counters of processor packages and their memory.

    Args:
        zones: folders with ``energy_uj``, which starts again at 0 after ``max_energy_range_uj``. Read it more
            often than that happens: a package of 100 W takes about three quarters of an hour.

    Raises:
        NoPowerSensor: a counter cannot be read.
    """

    def __init__(self, zones: Sequence[Path]) -> None:
        self.name = "RAPL " + ", ".join(_text(zone / "name") for zone in zones)
        self._ranges = {zone: _number(zone / "max_energy_range_uj") for zone in zones}
        self._last = {zone: _number(zone / "energy_uj") for zone in zones}
        self._energy_uj = 0.0

    def energy_j(self) -> float:
        """See `PowerSensor`."""
        for zone, before in self._last.items():
            now = _number(zone / "energy_uj")
            self._energy_uj += now - before if now >= before else now - before + self._ranges[zone]
            self._last[zone] = now
        return self._energy_uj / 1e6


class InaSensor:
    """Sum of the rails of a Jetson, or the one rail that feeds all others.

    Args:
        rails: by name, the files whose product is its power, each with the factor to SI units.
    """

    def __init__(self, rails: dict[str, dict[Path, float]]) -> None:
        totals = {name: rail for name, rail in rails.items() if name in _TOTALS}
        self._rails = totals or rails
        self.name = "INA3221 " + ", ".join(self._rails)

    def power_w(self) -> float:
        """See `WattSensor`."""
        watts = 0.0
        for files in self._rails.values():
            rail_w = 1.0
            for path, factor in files.items():
                rail_w *= _number(path) * factor
            watts += rail_w
        return watts


class SampledEnergy:
    """A `PowerSensor` from samples of power: a thread reads them while the context is open.

    Between samples power is taken to change evenly.
    """

    def __init__(self, sensor: WattSensor, period_s: float = _PERIOD_S) -> None:
        self.name = sensor.name
        self._sensor, self._period_s = sensor, period_s
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._energy_j, self._at_s, self._watts = 0.0, time.monotonic(), sensor.power_w()
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)

    def __enter__(self) -> "SampledEnergy":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._thread.join()

    def energy_j(self) -> float:
        """See `PowerSensor`; takes a sample."""
        with self._lock:
            watts, now_s = self._sensor.power_w(), time.monotonic()
            self._energy_j += (watts + self._watts) / 2 * (now_s - self._at_s)
            self._watts, self._at_s = watts, now_s
            return self._energy_j

    def _run(self) -> None:
        while not self._closed.wait(self._period_s):
            try:
                self.energy_j()
            except NoPowerSensor:  # whoever asks next is told
                return


def _rapl_zones(root: Path) -> list[Path]:
    """Packages, and memory where it has a counter of its own; parts of packages are in theirs."""
    zones = [zone for zone in sorted(root.glob(_RAPL)) if (zone / "energy_uj").exists()]
    return [zone for zone in zones if re.match(r"package|dram", _text(zone / "name"))]


def _ina_rails(root: Path) -> dict[str, dict[Path, float]]:
    """Rails by name; those that are not connected are left out."""
    rails: dict[str, dict[Path, float]] = {}
    for folder in sorted(folder for pattern in _INA for folder in root.glob(pattern)):
        for label in sorted(folder.glob("in[123]_label")):  # in7 is the sum of shunt voltages
            n = label.name[2]
            rails[_text(label)] = {folder / f"in{n}_input": 1e-3, folder / f"curr{n}_input": 1e-3}
        for label in sorted(folder.glob("rail_name_[012]")):  # JetPack 4
            rails[_text(label)] = {folder / f"in_power{label.name[-1]}_input": 1e-3}
    return {name: rail for name, rail in rails.items() if name != "NC"}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise NoPowerSensor(f"{path}: {error.strerror}; {_allow(path)}") from None


def _number(path: Path) -> float:
    text = _text(path)
    try:
        return float(text)
    except ValueError:
        raise NoPowerSensor(f"{path}: {text!r} is no number; is the sensor switched off?") from None


def _allow(path: Path) -> str:
    """What to do about a sensor that this user may not read, as is usual for RAPL."""
    return f"run as root, or allow it until the next start: sudo chmod a+r {path.parent}/{path.name}"
