"""``run --energy`` under sensors of a made-up sysfs, and what ``predict`` makes of the readings."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cost_models.database.table import LatencyTable
from cost_models.lookup import shipped_table
from cost_models.network_models.energy import (
    EnergyReading,
    StoredReading,
    add_reading,
    measure_energy,
    read_energy,
)
from squeezenas_tvm.predict import main as predict
from squeezenas_tvm.run import main as run
from targets.sensors.power import power_sensor

from ..helpers import NAME, refused_by

WATTS = 10.0


@pytest.fixture
def at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an image, on a machine whose sysfs is its folder ``sys``; measuring is quick."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("targets.sensors.power.power_sensor", partial(power_sensor, tmp_path / "sys"))
    quick = partial(measure_energy, idle_s=0.05, busy_s=0.1)
    monkeypatch.setattr("cost_models.network_models.energy.measure_energy", quick)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "street.png")
    return tmp_path


def add_jetson(folder: Path) -> None:
    chip = folder / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon0"
    chip.mkdir(parents=True)
    for name, value in (("in1_label", "VDD_IN"), ("in1_input", "5000"), ("curr1_input", "2000")):
        (chip / name).write_text(f"{value}\n", encoding="ascii")


def arguments(bundle: Path, *more: str) -> list[str]:
    return [str(bundle), "street.png", "--out", "seen", "--repeats", "3", *more]


def test_a_frame_costs_power_times_latency_and_is_kept(
    sealed_bundle: Path, at_work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add_jetson(at_work)
    assert run(arguments(sealed_bundle, "--energy", "--json")) == 0
    energy = json.loads(capfd.readouterr().out)["energy"]
    assert energy["sensor"] == "INA3221 VDD_IN"
    assert energy["busy_w"] == pytest.approx(WATTS, rel=0.05)
    assert energy["idle_w"] == pytest.approx(WATTS, rel=0.1)
    (kept,) = read_energy(at_work / "results/local-cpu")
    assert Path(energy["kept_in"]) == Path("results/local-cpu/energy.json")
    assert (kept.network, kept.fingerprint) == ("tiny", {"device": "test"})
    assert energy["joules_per_frame"] == kept.reading.joules_per_inference > 0
    assert run(arguments(sealed_bundle, "--energy")) == 0
    assert " mJ a frame, at 10" in capfd.readouterr().out
    assert len(read_energy(at_work / "results/local-cpu")) == 2


def test_without_the_word_nothing_is_measured(
    sealed_bundle: Path, at_work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add_jetson(at_work)
    assert run(arguments(sealed_bundle, "--json")) == 0
    assert json.loads(capfd.readouterr().out)["energy"] is None
    assert not (at_work / "results").exists()


def test_no_sensor_is_said_before_any_work(
    sealed_bundle: Path, at_work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    refused_by(run, arguments(sealed_bundle, "--energy"), "no power sensor here: neither ", capfd)
    assert not (at_work / "seen").exists()


def test_a_counter_that_stands_still_is_no_measurement(
    sealed_bundle: Path, at_work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    zone = at_work / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, value in (("name", "package-0"), ("energy_uj", 7), ("max_energy_range_uj", 99)):
        (zone / name).write_text(f"{value}\n", encoding="ascii")
    assert run(arguments(sealed_bundle, "--energy")) == 2
    assert "error: RAPL package-0: counted 0 J in" in capfd.readouterr().err
    assert not (at_work / "results").exists()


def test_a_board_has_its_own_sensor(
    sealed_bundle: Path, at_work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = arguments(sealed_bundle, "--energy", "--tracker", "127.0.0.1:9190")
    refused_by(run, given, "--energy reads this machine's power sensor; run the bundle on the board", capfd)


def test_predict_takes_the_power_of_networks_measured_there(
    at_work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = [NAME, "--target", "local-cpu", "--resolution", "256x512"]
    shipped = shipped_table("local-cpu")
    assert shipped is not None
    fingerprint, results = LatencyTable.load(shipped).fingerprint, at_work / "results/local-cpu"
    reading = EnergyReading("a", 1.0, WATTS, 0.5)
    add_reading(results, StoredReading("elsewhere", {"device": "another"}, "2026-01-02", reading))
    assert predict([*given, "--json"]) == 0
    (network,) = json.loads(capfd.readouterr().out)["networks"]
    assert network["energy_mj"] is None
    add_reading(results, StoredReading("net", fingerprint, "2026-01-02", reading))
    assert predict([*given, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    (network,) = document["networks"]
    assert document["power_w"] == WATTS
    assert network["energy_mj"] == pytest.approx(WATTS * network["latency_ms"]["median"])
    assert predict(given) == 0
    assert "mJ: at 10 W, which networks measured there draw" in capfd.readouterr().out
    (results / "energy.json").write_text("{", encoding="utf-8")
    assert predict(given) == 2
    assert "energy.json: damaged, not JSON (" in capfd.readouterr().err
