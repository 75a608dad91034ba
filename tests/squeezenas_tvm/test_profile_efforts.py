"""How much the profile command tries, what it says on the way, and what it does where nothing works."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cost_models.database.environment import environment
from cost_models.database.records import Trial
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import structural_hash
from cost_models.schedules.default import schedule_default
from cost_models.tuning.effort import EFFORTS, Effort
from cost_models.tvm_import import tvm
from squeezenas_tvm.errors import FailedWork
from squeezenas_tvm.profile import main
from squeezenas_tvm.profiling.measure import Wanted, measure_kernels
from targets import load_target

from .helpers import SIZE, TRIED, fill, seconds
from .measuring import LEFT_OUT, arguments, check_kept, place, results

BROKEN = LEFT_OUT[0]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The space needs only the three kernels; no block is timed whole."""
    monkeypatch.setattr(
        "squeezenas_tvm.profiling.profile_space.space_kernels", lambda *_: {kernel: [] for kernel in LEFT_OUT}
    )
    monkeypatch.setattr("squeezenas_tvm.profiling.profile_space.sample_blocks", lambda *_, **__: [])


pytestmark = pytest.mark.usefixtures("no_hold_outs")


def document_of(capfd: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """What --json printed, and what went to stderr."""
    captured = capfd.readouterr()
    return json.loads(captured.out), captured.err


# --- effort ---


def test_help_names_the_efforts_and_the_default(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = " ".join(capfd.readouterr().out.split())
    assert "--effort {quick,standard,thorough}" in said
    assert (
        "how long to look for fast schedules; of a space with more than 300 kernels, quick measures 120"
        in said
    )
    assert "standard 240, thorough all (default standard)" in said
    assert "--kernels N" in said
    assert "--trials N" in said
    assert "instead of --effort: schedules tried for each kernel; 0 times the default schedules only" in said


def test_quick_effort_gives_every_entry_a_number_and_says_how_it_came(
    quick: Path,
    folder: Path,
    few: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("squeezenas_tvm.terminal.progress.PLAIN_EVERY_S", 0.1)
    assert main([*place(quick, folder), "--effort", "quick", "--json"]) == 0
    document, said = document_of(capfd)
    entries = [entry for row in document["blocks"] for entry in row.values()] + [*document["fixed"].values()]
    assert (document["missing"], document["additivity"]) == ([], None)
    assert all(entry["median_ms"] > 0 for entry in entries if entry["kernels"])
    rows = LatencyTable.load(folder).rows
    assert document["kernels"]["count"] == len(LEFT_OUT)
    assert document["kernels"]["how"] == Counter(rows[kernel.key].how for kernel in LEFT_OUT)
    assert document["kernels"]["how"].keys() <= {"default", "tuned", "transferred"}
    check_effort(quick, folder, document)
    check_progress(said)
    header = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    assert header["made_by"] == "squeezenas_tvm profile, effort quick"


def check_effort(quick: Path, folder: Path, document: dict[str, Any]) -> None:
    """One kernel was searched and lent its schedules to the others, within the budget."""
    with MeasurementStore.open(folder / "measurements.sqlite", create=False) as store:
        where = store.find_environment(environment(load_target(quick)))
        trials = {kernel.key: store.trials(where, kernel.key).values() for kernel in LEFT_OUT}
    origins = [{trial.origin for trial in of_kernel} for of_kernel in trials.values()]
    assert sum("transfer" not in found for found in origins) == 1
    assert sum("transfer" in found for found in origins) == len(LEFT_OUT) - 1
    total = sum(map(len, trials.values()))
    assert total == document["tuning"]["trials"] <= EFFORTS["quick"].total(len(LEFT_OUT))
    counts = {key: work["trials"] for key, work in document["tuning"]["kernels"].items()}
    assert counts == {key: len(of_kernel) for key, of_kernel in trials.items()}


def check_progress(said: str) -> None:
    """Plain lines: what is done, how fast, how long it takes, the boards; in the order of the work."""
    lines = [line for line in said.splitlines() if " profile " in line]
    done = [int(re.match(r"\[\d+:\d\d:\d\d\] profile (\d+)/3", line)[1]) for line in lines]  # type: ignore[index]
    assert done == sorted(done)
    assert done[-1] == 3
    phases = ("timing default schedules", "searching anchors", "adapting schedules")
    at = [next(index for index, line in enumerate(lines) if phase in line) for phase in phases]
    assert at == sorted(at)
    searching = r"\] profile \d/3: \D+; \d+ trials, [\d.]+ a minute, about .+ left; .*1 of 1 boards up$"
    assert any(re.search(searching, line) for line in lines), said
    assert any(re.search(r"; \S.* \(default [\d.]+\) \d+/\d+; ", line) for line in lines), said
    assert re.search(r"\] profile 3/3, \d+ trials, took ", lines[-1])


def test_no_trials_leave_every_kernel_its_default_schedule(
    quick: Path, folder: Path, few: None, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(quick, folder, 0), "--json"]) == 0
    document, _ = document_of(capfd)
    assert document["kernels"]["how"] == {"default": len(LEFT_OUT)}
    assert document["tuning"]["trials"] == 0
    assert document["tuning"]["trials_per_minute"] is None
    assert document["tuning"]["kernels"] == {}


# --- where nothing works ---


def crashing(kernel: Kernel, quick: Path) -> Any:
    """``schedule_default``, except that what it gives for one kernel kills the process that runs it."""
    target = load_target(quick).tvm_target()
    broken = structural_hash(kernel_module(kernel, target))

    def schedule(mod: Any, tvm_target: Any) -> Any:
        scheduled = schedule_default(mod, tvm_target)
        if structural_hash(mod) != broken:
            return scheduled
        call = tvm.tirx.Evaluate(tvm.tirx.call_extern("int32", "no_such_function"))
        return tvm.IRModule({"main": scheduled["main"].with_body(call)})

    return schedule


def test_kernel_without_a_working_schedule_is_estimated_from_the_others_and_shown(
    quick: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    target = load_target(quick)
    fill(folder, target, LEFT_OUT[1:])
    with MeasurementStore.open(folder / "measurements.sqlite") as store:
        where = store.find_environment(environment(target))
        store.add_kernel(BROKEN.key, BROKEN.description)
        for _ in range(TRIED):
            store.add_trial(where, BROKEN.key, Trial(schedule="[]", error="it does not build"))
    before = results(folder)
    monkeypatch.setattr("squeezenas_tvm.profiling.profile_space.sample_blocks", lambda *_, **__: [])
    with monkeypatch.context() as patch:
        patch.setattr("cost_models.profiling.finalists.schedule_default", crashing(BROKEN, quick))
        assert main(arguments(quick, folder, TRIED)) == 0
    text, said = capfd.readouterr()
    document = json.loads((folder / f"squeezenas-small-{SIZE}.json").read_text(encoding="utf-8"))
    check_estimated(folder, document)
    reason = document["estimated"][BROKEN.key]
    assert f"Estimated, no schedule works: {BROKEN.key}: {reason}\n" in text
    assert f"{BROKEN.label}, default schedule: {reason}\n" in said
    assert "159 default, 1 estimated; " in text
    failed = results(folder)
    check_kept(before, failed)
    assert len(failed["measurements"]) == len(before["measurements"]) + 1
    assert main([*arguments(quick, folder, TRIED), "--json"]) == 0
    document, _ = document_of(capfd)
    assert (document["estimated"], document["kernels"]["how"]) == ({}, {"default": 160})
    check_kept(failed, results(folder))


def check_estimated(folder: Path, document: dict[str, Any]) -> None:
    row = LatencyTable.load(folder).rows[BROKEN.key]
    assert (row.how, row.samples_s, row.trials) == ("estimated", (), TRIED)
    assert row.reason == document["estimated"][BROKEN.key] != ""
    assert row.estimate_s == pytest.approx(seconds(BROKEN), rel=1.0)  # as much as kernels like it
    assert document["missing"] == []
    assert document["kernels"]["how"] == {"default": 159, "estimated": 1}
    for name in ("k3e1", "k3e1g2"):
        entry = document["blocks"][0][name]
        assert entry["estimated_kernels"] == 1
        assert entry["samples"] == 0
        assert entry["median_ms"] > row.median_s * 1e3


def test_not_one_kernel_that_works_is_failed_work(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cost_models.profiling.finalists.schedule_default", crashing(BROKEN, quick))
    said = r"not one of 1 kernels could be measured on quick-cpu: .+ \(tried on "
    with pytest.raises(FailedWork, match=said) as caught:
        measure_kernels(load_target(quick), Wanted(kernels=[BROKEN], effort=Effort.alone(0)), tmp_path)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "table.json").exists()
