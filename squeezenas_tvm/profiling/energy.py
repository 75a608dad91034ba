"""``run --energy``: what a frame costs in joules on this machine, and where that is kept for ``predict``."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from squeezenas_tvm.errors import UsageError

if TYPE_CHECKING:
    from cost_models.cost_model import CostModel
    from squeezenas_tvm.bundles.runner import Bundle
    from squeezenas_tvm.bundles.values import Array

_CALL_MS = 250.0  # of inferences in a row, next to which preparing the frame is nothing


def require_sensor(tracker: str | None) -> None:
    """Before any work. Raises NoPowerSensor, or UsageError for a board's, which is out of reach."""
    from targets.sensors.power import power_sensor

    if tracker:
        raise UsageError("--energy reads this machine's power sensor; run the bundle on the board itself")
    with power_sensor():
        pass


@dataclass(frozen=True)
class FrameEnergy:
    """What a frame costs on this machine.

    Attributes:
        sensor: whose energy it is.
        idle_w, busy_w: mean power before, and while the network ran, watts.
        kept_in: the file of all readings of the target.
    """

    sensor: str
    idle_w: float
    busy_w: float
    joules_per_frame: float
    kept_in: Path


def measure_frame(bundle: "Bundle", inputs: Sequence["Array"], latency_ms: float) -> FrameEnergy:
    """Run a bundle for some seconds under this machine's sensor, and keep what it drew beside its table.

    Args:
        inputs: of its network.
        latency_ms: about what an inference takes.

    Raises:
        InvalidMeasurement, NoPowerSensor: the sensor does not work here, or no more.
        CostModelError: what is there cannot be read, or the place not be written.
    """
    from cost_models.lookup import results_folder
    from cost_models.network_models.energy import StoredReading, add_reading, measure_energy
    from targets.sensors.power import power_sensor

    count = max(1, round(_CALL_MS / latency_ms))
    with power_sensor() as sensor:
        reading = measure_energy(lambda: bundle.time_ms(inputs, count, 0), sensor, inferences=count)
    target = bundle.manifest["target"]
    fingerprint = target["fingerprint"]
    folder = results_folder(target["name"], None, fingerprint.get("dtype", "float32"))
    name, today = bundle.manifest["name"], date.today().isoformat()
    path = add_reading(folder, StoredReading(name, fingerprint, today, reading))
    joules = reading.joules_per_inference
    return FrameEnergy(reading.sensor, reading.idle_w, reading.busy_w, joules, path)


def usual_power(model: "CostModel", folder: Path | None) -> float | None:
    """Watts that networks were seen to draw on the device of a cost model; None where none was measured.

    Args:
        folder: of its table, as the user gave it.

    Raises:
        CostModelError: the readings there cannot be read.
    """
    from cost_models.lookup import results_folder
    from cost_models.network_models.energy import usual_power_w

    fingerprint = None if model.table is None else model.table.fingerprint
    return usual_power_w(results_folder(model.target, folder), fingerprint)
