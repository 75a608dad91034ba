"""Energy of a network on a device: measured while it runs there, or from the power that others drew.

Readings of whole networks lie in ``energy.json`` beside a target's table. A network that was never measured
is taken to draw their power for as long as it takes: ``busy_w * latency``. Single kernels have no energy of
their own here: they last microseconds, and sensors tick every 1 to 20 ms.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from cost_models.database.environment import differences
from cost_models.errors import CostModelError, InvalidMeasurement
from targets.sensors.power import PowerSensor
from targets.support.commands import command_line
from targets.support.document import Document

FILE = "energy.json"

_Watts = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class EnergyReading:
    """What a device drew while it ran a network again and again.

    Attributes:
        sensor: whose energy it is.
        idle_w: mean power before, with nothing to do.
        busy_w: mean power meanwhile, the idle part included.
        latency_s: mean seconds from one run to the next.
    """

    sensor: str
    idle_w: float
    busy_w: _Watts
    latency_s: float

    @property
    def joules_per_inference(self) -> float:
        """The idle part included."""
        return self.busy_w * self.latency_s


def measure_energy(
    run: Callable[[], object],
    sensor: PowerSensor,
    *,
    inferences: int = 1,
    idle_s: float = 2.0,
    busy_s: float = 4.0,
) -> EnergyReading:
    """Wait, then call ``run`` again and again, and see what the sensor counted.

    Args:
        run: finished when it returns.
        inferences: that a call of it does.
        idle_s, busy_s: how long; sensors tick every 1 to 20 ms.

    Raises:
        InvalidMeasurement: the sensor counted nothing, as those of some virtual machines do.
        NoPowerSensor: the sensor cannot be read any more.
    """
    run()
    idle_w, _, _ = _power(lambda: time.sleep(idle_s), sensor, 0.0)
    busy_w, seconds, calls = _power(run, sensor, busy_s)
    if not (math.isfinite(busy_w) and busy_w > 0):
        raise InvalidMeasurement(
            f"{sensor.name}: counted {busy_w * seconds:g} J in {seconds:.1f} s of work; "
            "the sensor does not work here"
        )
    return EnergyReading(sensor.name, idle_w, busy_w, seconds / (calls * inferences))


def _power(run: Callable[[], object], sensor: PowerSensor, least_s: float) -> tuple[float, float, int]:
    """Mean watts, seconds and calls of ``run``, at least one."""
    calls, energy_j, start_s = 0, sensor.energy_j(), time.perf_counter()
    while True:
        run()
        calls += 1
        seconds = time.perf_counter() - start_s
        if seconds >= least_s:
            return (sensor.energy_j() - energy_j) / seconds, seconds, calls


@dataclass(frozen=True, slots=True)
class StoredReading:
    """A reading with what it is of.

    Attributes:
        network: name of the network.
        fingerprint: of the environment; see ``environment``.
        when: date, YYYY-MM-DD.
    """

    network: str
    fingerprint: Mapping[str, Any]
    when: str
    reading: EnergyReading


class EnergyReadings(Document):
    """``energy.json``: all readings of a target, the oldest first."""

    WHAT: ClassVar[str] = "a list of energy readings"
    SCHEMA: ClassVar[int] = 1
    REFUSAL = CostModelError
    AGAIN: ClassVar[str] = "move it away and measure again: " + command_line(
        "run", "BUNDLE", "IMAGE", "--out", "DIR", "--energy"
    )

    readings: list[StoredReading]


def add_reading(folder: Path, new: StoredReading) -> Path:
    """Append to ``energy.json`` in a target's folder; returns its path.

    Raises:
        CostModelError: what is there is damaged.
        FailedWrite: the place cannot be written.
    """
    path = folder / FILE
    document = EnergyReadings(
        schema_version=EnergyReadings.SCHEMA,
        made_by="squeezenas_tvm run --energy",
        readings=[*read_energy(folder), new],
    )
    document.save(path)
    return path


def read_energy(folder: Path) -> list[StoredReading]:
    """All readings in a target's folder, the oldest first; none where there is no file.

    Raises:
        CostModelError: damaged, or of another schema.
    """
    path = folder / FILE
    return EnergyReadings.load(path).readings if path.exists() else []


def usual_power_w(folder: Path, fingerprint: Mapping[str, Any] | None) -> float | None:
    """Mean power of the networks measured in an environment, the newest reading of each; None without any.

    Args:
        fingerprint: readings of other environments do not count; all do when None.

    Raises:
        CostModelError: see ``read_energy``.
    """
    newest = {
        one.network: one.reading.busy_w
        for one in read_energy(folder)
        if fingerprint is None or not differences(one.fingerprint, fingerprint)
    }
    return sum(newest.values()) / len(newest) if newest else None
