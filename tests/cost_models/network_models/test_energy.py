"""Energy of a network: measured under a sensor, kept, and told for networks that were never measured."""

import json
import time
from pathlib import Path

import pytest

from cost_models.errors import CostModelError, InvalidMeasurement
from cost_models.network_models.energy import (
    EnergyReading,
    StoredReading,
    add_reading,
    measure_energy,
    read_energy,
    usual_power_w,
)

HERE = {"device": "board", "power_mode": "30W", "measure": {"number": 1}}
READING = EnergyReading("RAPL package-0", 5.0, 20.0, 0.03)


class Device:
    """Draws ``idle_w``, and ``busy_w`` while it works."""

    name = "device"

    def __init__(self, idle_w: float, busy_w: float) -> None:
        self.idle_w, self.busy_w = idle_w, busy_w
        self.started_s, self.worked_s, self.runs = time.perf_counter(), 0.0, 0

    def energy_j(self) -> float:
        elapsed_s = time.perf_counter() - self.started_s
        return self.idle_w * elapsed_s + (self.busy_w - self.idle_w) * self.worked_s

    def run(self) -> None:
        start_s = time.perf_counter()
        time.sleep(0.01)
        self.runs += 1
        self.worked_s += time.perf_counter() - start_s


def test_idle_and_busy_power_and_what_an_inference_takes() -> None:
    device = Device(idle_w=4.0, busy_w=16.0)
    reading = measure_energy(device.run, device, inferences=5, idle_s=0.05, busy_s=0.1)
    assert reading.sensor == "device"
    assert reading.idle_w == pytest.approx(4.0, rel=0.05)
    assert reading.busy_w == pytest.approx(16.0, rel=0.05)
    assert 0.01 / 5 <= reading.latency_s < device.worked_s
    assert reading.joules_per_inference == pytest.approx(reading.busy_w * reading.latency_s)
    assert device.runs >= 2


def test_a_sensor_that_counts_nothing_is_refused() -> None:
    device = Device(idle_w=0.0, busy_w=0.0)
    with pytest.raises(
        InvalidMeasurement, match=r"^device: counted 0 J in 0\.\d s of work; the sensor does not"
    ):
        measure_energy(device.run, device, idle_s=0.0, busy_s=0.05)


def stored(network: str, busy_w: float, **changes: object) -> StoredReading:
    return StoredReading(network, HERE | changes, "2026-01-02", EnergyReading("s", 5.0, busy_w, 0.03))


def test_readings_are_added_and_read_back(tmp_path: Path) -> None:
    assert read_energy(tmp_path) == []
    first, second = StoredReading("net", HERE, "2026-01-02", READING), stored("other", 10.0)
    assert add_reading(tmp_path / "results", first) == tmp_path / "results/energy.json"
    add_reading(tmp_path / "results", second)
    assert read_energy(tmp_path / "results") == [first, second]


def test_usual_power_is_the_mean_of_the_newest_of_each_network_in_one_environment(tmp_path: Path) -> None:
    assert usual_power_w(tmp_path, HERE) is None
    for reading in (
        stored("a", 50.0),
        stored("a", 10.0),
        stored("b", 14.0),
        stored("b", 90.0, power_mode="MAXN"),
    ):
        add_reading(tmp_path, reading)
    assert usual_power_w(tmp_path, HERE) == pytest.approx(12.0)
    assert usual_power_w(tmp_path, HERE | {"power_mode": "MAXN"}) == 90.0
    assert usual_power_w(tmp_path, HERE | {"power_mode": "15W"}) is None
    assert usual_power_w(tmp_path, None) == pytest.approx(50.0)


@pytest.mark.parametrize(
    "damage",
    [
        "nonsense",
        "[]",
        '{"schema_version": 2, "readings": []}',
        '{"schema_version": 1, "readings": [{"network": "a"}]}',
        json.dumps(
            {
                "schema_version": 1,
                "readings": [
                    {
                        "network": "a",
                        "fingerprint": {},
                        "when": "",
                        "reading": {"sensor": "s", "idle_w": 1, "busy_w": -3, "latency_s": 1},
                    }
                ],
            }
        ),
    ],
)
def test_a_damaged_file_is_refused_and_kept(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "energy.json"
    path.write_text(damage, encoding="utf-8")
    for act in (lambda: usual_power_w(tmp_path, None), lambda: add_reading(tmp_path, stored("a", 1.0))):
        with pytest.raises(
            CostModelError,
            match=r"energy\.json: .*(; |, or )move it away and measure again",
        ):
            act()
    assert path.read_text(encoding="utf-8") == damage
