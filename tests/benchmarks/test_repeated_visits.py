"""How far visits of one profile agree, of timings that are made up."""

import json
import sys
from pathlib import Path

import pytest
from repeated_visits import STORE, main, summaries, visits_of

from cost_models.database.records import How, Measurement
from cost_models.database.store import MeasurementStore
from squeezenas_tvm.errors import FailedWork


def visit(median_s: float, reference_s: float = 2e-4, notes: tuple[str, ...] = ()) -> Measurement:
    return Measurement(
        kernel="k", how=How.DEFAULT, samples_s=(median_s,), reference_s=(reference_s,), notes=notes
    )


def test_the_clock_is_divided_out_and_what_was_disturbed_is_told_apart() -> None:
    slowed = [visit(1e-5), visit(1.5e-5, 3e-4), visit(1.2e-5, notes=("drift of 20 %",))]
    found = summaries([slowed, [visit(1e-3), visit(1.04e-3)]])
    assert found["all"] == {
        "pairs": 3,
        "median": pytest.approx(0.25),
        "within_5": pytest.approx(1 / 3),
        "within_10": pytest.approx(1 / 3),
    }
    assert found["over the reference"]["within_5"] == pytest.approx(2 / 3)  # 1.5 times at 1.5 times the clock
    assert found["undisturbed"]["pairs"] == 2
    assert {name: found[name]["pairs"] for name in ("under 50 us", "over 500 us")} == {
        "under 50 us": 2,
        "over 500 us": 1,
    }
    assert found["the faster of two, and the third"]["median"] == pytest.approx(0.2)
    assert "50 to 500 us" not in found


def test_of_a_folder_it_takes_schedules_that_ran_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), "--json"])
    with MeasurementStore.open(tmp_path / STORE) as store:
        here = store.add_environment({"device": "some CPU"})
        for key in ("k", "once"):
            store.add_kernel(key, {"made": "up"})
        store.add_measurement(here, Measurement(kernel="once", how=How.DEFAULT, samples_s=(1e-5,)))
        with pytest.raises(FailedWork, match="no kernel was timed twice"):
            main()
        failed = Measurement(kernel="k", how=How.DEFAULT, error="gone")
        for one in (visit(1e-5), failed, visit(1.02e-5)):
            store.add_measurement(here, one)
        assert [[one.median_s for one in own] for own in visits_of(store)] == [[1e-5, 1.02e-5]]
    main()
    document = json.loads(capsys.readouterr().out)
    assert (document["devices"], document["schedules"]) == (["some CPU"], 1)
    assert document["visits"]["all"]["within_5"] == 1
