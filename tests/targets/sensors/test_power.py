"""Power sensors, read from trees like those that Linux shows; and this machine's own where it has one."""

import os
import threading
import time
from pathlib import Path

import pytest

from targets.errors import NoPowerSensor
from targets.sensors.power import InaSensor, RaplSensor, SampledEnergy, power_sensor

RANGE_UJ = 262_143_328_850


def write(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n", encoding="ascii")
    return folder


def rapl_zone(root: Path, zone: str, name: str, energy_uj: int) -> Path:
    folder = root / "class/powercap" / f"intel-rapl:{zone}"
    return write(folder, name=name, energy_uj=energy_uj, max_energy_range_uj=RANGE_UJ)


def test_rapl_adds_packages_and_memory_and_starts_again_at_zero(tmp_path: Path) -> None:
    package = rapl_zone(tmp_path, "0", "package-0", RANGE_UJ - 1_000_000)
    memory = rapl_zone(tmp_path, "0:2", "dram", 5)
    core = rapl_zone(tmp_path, "0:0", "core", 7)  # a part of its package
    platform = rapl_zone(tmp_path, "1", "psys", 9)  # everything once more
    write(tmp_path / "class/powercap/intel-rapl", enabled=1)
    with power_sensor(tmp_path) as sensor:
        assert isinstance(sensor, RaplSensor)
        assert sensor.name == "RAPL package-0, dram"
        assert sensor.energy_j() == 0
        write(package, energy_uj=RANGE_UJ - 250_000)
        write(memory, energy_uj=250_005)
        for part in (core, platform):
            write(part, energy_uj=99_000_000)
        assert sensor.energy_j() == pytest.approx(1.0)
        write(package, energy_uj=1_750_000)  # over the end
        assert sensor.energy_j() == pytest.approx(3.0)


def test_a_counter_that_may_not_be_read_says_what_to_do(tmp_path: Path) -> None:
    counter = rapl_zone(tmp_path, "0", "package-0", 1) / "energy_uj"
    counter.unlink()
    counter.mkdir()  # root may read any file
    with (
        pytest.raises(
            NoPowerSensor, match=r"energy_uj: Is a directory; run as root, or allow it .*: sudo chmod a\+r /"
        ),
        power_sensor(tmp_path),
    ):
        pass
    if os.geteuid() != 0:
        counter.rmdir()
        write(counter.parent, energy_uj=1)
        counter.chmod(0)
        with (
            pytest.raises(NoPowerSensor, match="energy_uj: Permission denied; run as"),
            power_sensor(tmp_path),
        ):
            pass


def hwmon(root: Path, chip: str, **rails: tuple[int, int]) -> Path:
    """A chip as JetPack 5 shows it: millivolts and milliamperes of each rail."""
    folder = root / f"bus/i2c/drivers/ina3221/{chip}/hwmon/hwmon3"
    for number, (name, (millivolts, milliamperes)) in enumerate(rails.items(), 1):
        files = {"label": name, "input": millivolts}
        write(folder, **{f"in{number}_{kind}": value for kind, value in files.items()})
        write(folder, **{f"curr{number}_input": milliamperes})
    return write(folder, in7_label="sum of shunt voltages", in7_input=99, curr4_input=99_999)


def watts(root: Path) -> float:
    """Of a tree whose readings stand still."""
    with power_sensor(root) as sensor:
        started, energy_j = time.monotonic(), sensor.energy_j()
        time.sleep(0.02)
        return (sensor.energy_j() - energy_j) / (time.monotonic() - started)


def test_rails_of_a_jetson_add_up(tmp_path: Path) -> None:
    hwmon(tmp_path, "1-0040", GPU=(19_000, 500), CPU=(19_000, 100), NC=(19_000, 800))
    hwmon(tmp_path, "1-0041", SYS5V=(5_000, 1_200))
    with power_sensor(tmp_path) as sensor:
        assert sensor.name == "INA3221 GPU, CPU, SYS5V"
    assert watts(tmp_path) == pytest.approx(9.5 + 1.9 + 6.0, rel=0.2)


def test_a_rail_that_feeds_all_others_counts_alone(tmp_path: Path) -> None:
    hwmon(tmp_path, "1-0040", VDD_IN=(5_000, 2_000), VDD_CPU_GPU_CV=(5_000, 700), VDD_SOC=(5_000, 300))
    with power_sensor(tmp_path) as sensor:
        assert sensor.name == "INA3221 VDD_IN"
        assert isinstance(sensor, SampledEnergy)
    assert watts(tmp_path) == pytest.approx(10.0, rel=0.2)


def test_an_older_jetpack_tells_milliwatts(tmp_path: Path) -> None:
    folder = tmp_path / "bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    write(folder, rail_name_0="POM_5V_IN", in_power0_input=4_100)
    write(folder, rail_name_1="POM_5V_GPU", in_power1_input=900)
    with power_sensor(tmp_path) as sensor:
        assert sensor.name == "INA3221 POM_5V_IN"
    assert watts(tmp_path) == pytest.approx(4.1, rel=0.2)


def test_a_sensor_that_goes_away_says_so(tmp_path: Path) -> None:
    folder = hwmon(tmp_path, "1-0040", VDD_IN=(5_000, 2_000))
    with power_sensor(tmp_path) as sensor:
        (folder / "curr1_input").write_text("-\n")
        with pytest.raises(NoPowerSensor, match="curr1_input: '-' is no number; is the sensor switched off"):
            sensor.energy_j()


class Ramp:
    """One watt more every second."""

    name = "ramp"

    def __init__(self) -> None:
        self.started_s = time.monotonic()
        self.asked = 0

    def power_w(self) -> float:
        self.asked += 1
        return time.monotonic() - self.started_s


def test_samples_are_added_up_as_if_power_changed_evenly() -> None:
    ramp = Ramp()
    with SampledEnergy(ramp, period_s=0.005) as sensor:
        time.sleep(0.1)
        before_s = time.monotonic() - ramp.started_s
        energy_j = sensor.energy_j()
        after_s = time.monotonic() - ramp.started_s
    assert before_s**2 / 2 * 0.98 <= energy_j <= after_s**2 / 2 * 1.02
    assert ramp.asked > 3
    asked = ramp.asked
    time.sleep(0.02)
    assert ramp.asked == asked  # its thread has ended
    assert "power" not in [thread.name for thread in threading.enumerate()]


def test_a_machine_without_sensors_says_what_would_be_one(tmp_path: Path) -> None:
    message = r"no power sensor here: neither .*intel-rapl:\* nor .*ina3221"
    with pytest.raises(NoPowerSensor, match=message), power_sensor(tmp_path):
        pass


def test_this_machines_own_counter_never_falls() -> None:
    try:
        with power_sensor() as sensor:
            first = sensor.energy_j()
            assert 0 <= first <= sensor.energy_j()
    except NoPowerSensor as error:
        pytest.skip(str(error))


def test_ina_power_is_volts_times_amperes(tmp_path: Path) -> None:
    write(tmp_path, volts=12_000, amperes=250)
    assert InaSensor(
        {"A": {tmp_path / "volts": 1e-3, tmp_path / "amperes": 1e-3}}
    ).power_w() == pytest.approx(3)
