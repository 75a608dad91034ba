"""What a board says of itself, read from real files and programs; what is not there is left out."""

import stat
from pathlib import Path

import pytest

from targets import LocalServer, Target, open_session
from targets.sensors import readings
from targets.sensors.readings import BoardReading, ask_board, read_board
from targets.spec import Clock, PowerModeQuery, Readings

PATTERN = r"NV Power Mode: (\S+)"


def program(folder: Path, text: str) -> str:
    """A script that does what ``nvpmodel`` might."""
    path = folder / "nvpmodel"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def zone(thermal: Path, number: int, name: str | None, millidegrees: str) -> None:
    folder = thermal / f"thermal_zone{number}"
    folder.mkdir()
    if name is not None:
        (folder / "type").write_text(f"{name}\n")
    (folder / "temp").write_text(millidegrees)


def power_mode(folder: Path, text: str) -> str | None:
    query = PowerModeQuery(command=(program(folder, text), "-q"), pattern=PATTERN)
    return read_board(Readings(power_mode=query), thermal=folder).power_mode


def test_clocks_and_temperatures_come_from_files(tmp_path: Path) -> None:
    thermal = tmp_path / "thermal"
    thermal.mkdir()
    zone(thermal, 0, "CPU-therm", "41500\n")
    zone(thermal, 1, "GPU-therm", "39000")
    zone(thermal, 2, "CV-therm", "\n")  # a part that is switched off tells nothing
    zone(thermal, 3, None, "25000")
    gpu = tmp_path / "17000000.ga10b"
    gpu.mkdir()
    (gpu / "cur_freq").write_text("612000000\n")
    (tmp_path / "cpu").write_text("1728000\n")
    found = read_board(
        Readings(
            clocks={
                "gpu": Clock(path=f"{tmp_path}/17000000.g*/cur_freq", per_mhz=1e6),
                "cpu": Clock(path=f"{tmp_path}/cpu", per_mhz=1e3),
                "emc": Clock(path=f"{tmp_path}/absent", per_mhz=1e6),
            }
        ),
        thermal,
    )
    assert found.clocks_mhz == {"gpu": 612.0, "cpu": 1728.0}
    assert found.temperatures_c == {"CPU-therm": 41.5, "GPU-therm": 39.0, "thermal_zone3": 25.0}
    assert str(found) == "power mode unknown, gpu 612 MHz, cpu 1728 MHz, 42 C"


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("echo 'NV Fan Mode:quiet'; echo 'NV Power Mode: MODE_30W_ALL'; echo 3", "MODE_30W_ALL"),
        ("echo 'NV Power Mode: MAXN' >&2", None),
        ("echo 'NVPM ERROR: no such file'; exit 255", None),
        (r"printf '\377 NV Power Mode: MAXN\n'", "MAXN"),
    ],
)
def test_the_power_mode_is_what_a_program_prints(tmp_path: Path, text: str, mode: str | None) -> None:
    assert power_mode(tmp_path, text) == mode


def test_a_program_that_is_not_there_or_hangs_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = PowerModeQuery(command=(str(tmp_path / "absent"),), pattern=PATTERN)
    assert read_board(Readings(power_mode=query), thermal=tmp_path).power_mode is None
    monkeypatch.setattr(readings, "_QUERY_S", 0.1)
    assert power_mode(tmp_path, "exec sleep 60") is None


def test_a_file_without_readings_still_has_temperatures(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", "50000")
    found = read_board(None, tmp_path)
    assert (found.power_mode, found.clocks_mhz, found.temperatures_c) == (None, {}, {"cpu-thermal": 50.0})


def test_a_reading_survives_the_way_and_other_releases() -> None:
    reading = BoardReading("Board", "MAXN", {"gpu": 1300.5}, {"CPU-therm": 41.5})
    assert BoardReading.from_json(reading.to_json()) == reading
    assert BoardReading.from_json('{"power_mode": "MAXN", "humidity": 3}') == BoardReading(power_mode="MAXN")


def test_a_plain_server_cannot_tell(server: LocalServer, local_cpu: Target) -> None:
    with open_session(local_cpu, server) as session:
        assert ask_board(session.remote) is None
