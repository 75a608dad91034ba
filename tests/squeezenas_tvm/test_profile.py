"""The profile command: a table from measurements with what is known of it, and nothing measured twice."""

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cost_models.database.environment import environment
from cost_models.database.records import Trial
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.errors import LoweringError
from cost_models.ir.fusion import split_into_kernels
from cost_models.kernel_models.hold_outs import SPLITS
from cost_models.kernel_models.predictor import Predictor
from cost_models.tuning.effort import Effort
from search.costs.kernel_table import sample_blocks
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from squeezenas_tvm.profile import main
from squeezenas_tvm.profiling.measure import PARTS, Measured, Wanted, measure_kernels
from squeezenas_tvm.profiling.profile_space import BLOCKS
from squeezenas_tvm.profiling.summary import summarize
from targets import load_target

from .helpers import SIZE, command, finish, kernels_of, quick_target, refused_by, seconds
from .measuring import (
    LEFT_OUT,
    TRIALS,
    WITHOUT_TORCH,
    arguments,
    check_kept,
    disturbed,
    results,
    schedules,
    timed,
)

Profiled = tuple[Path, dict[str, Any], str]


@pytest.fixture(scope="module")
def profiled(almost_all: Path, quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Profiled:
    """One whole run with --json, in a process that may not have PyTorch: folder, document, stderr."""
    folder = tmp_path_factory.mktemp("profiled")
    shutil.copy(almost_all, folder)
    argv = [sys.executable, "-c", WITHOUT_TORCH, "profile", *arguments(quick, folder), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def new_trials(profiled: Profiled, quick: Path) -> dict[str, list[Trial]]:
    """What the store has of the three kernels, all of it from that run."""
    with MeasurementStore.open(profiled[0] / "measurements.sqlite", create=False) as store:
        where = store.find_environment(environment(load_target(quick)))
        return {kernel.key: list(store.trials(where, kernel.key).values()) for kernel in LEFT_OUT}


# --- the table ---


def test_table_has_every_position_and_candidate_with_median_spread_and_samples(profiled: Profiled) -> None:
    _, document, _ = profiled
    space = get_space("small")
    assert document["missing"] == []
    assert [list(row) for row in document["blocks"]] == [list(p.candidates) for p in space.positions]
    assert list(document["fixed"]) == ["frame", "stem", "head", "decoder"]
    numbers = ("median_ms", "low_ms", "high_ms", "interval_ms")
    counts = ("samples", "kernels", "tuned_kernels", "estimated_kernels", "predicted_kernels")
    identity = dict.fromkeys([*numbers, *counts], 0)
    for position, row in zip(space.positions, document["blocks"], strict=True):
        for name, entry in row.items():
            if name == "skip" and (position.in_channels, position.stride) == (position.out_channels, 1):
                assert entry == identity
            else:
                assert 0 < entry["low_ms"] <= entry["median_ms"] <= entry["high_ms"]
                assert entry["interval_ms"] >= 0
                assert (entry["samples"] >= 3, entry["kernels"] > 0) == (True, True)
                assert entry["estimated_kernels"] == 0


def test_entries_are_sums_of_measured_kernels(profiled: Profiled) -> None:
    folder, document, _ = profiled
    measured = LatencyTable.load(folder)
    known = {kernel.key: seconds(kernel) for kernel in kernels_of()}
    for kernel in LEFT_OUT:
        known[kernel.key] = measured.statistics(kernel).median_s
        assert measured.rows[kernel.key].trials == TRIALS
    for index, name, part in get_space("small").blocks(SIZE):
        keys = [kernel.key for kernel in split_into_kernels(part.graph, part.inputs)]
        entry = document["blocks"][index][name]
        assert entry["median_ms"] == pytest.approx(sum(known[key] for key in keys) * 1e3, rel=1e-6)
        assert entry["samples"] == min((len(measured.rows[key].samples_s) for key in keys), default=0)
        assert entry["tuned_kernels"] == sum(measured.rows[key].how == "tuned" for key in keys)


def test_document_is_also_a_file_and_everything_else_went_to_stderr(profiled: Profiled) -> None:
    folder, document, said = profiled
    path = folder / f"squeezenas-small-{SIZE}.json"
    assert json.loads(path.read_text(encoding="utf-8")) == document
    assert document["folder"] == str(folder)
    trials = len(LEFT_OUT) * TRIALS
    assert f"profile {len(kernels_of())}/{len(kernels_of())}, {trials} trials, took " in said
    assert not list(folder.glob("*.partial"))


# --- what is said of the table ---


def test_document_says_how_kernels_got_their_numbers_and_how_sure_they_are(profiled: Profiled) -> None:
    folder, document, _ = profiled
    rows = LatencyTable.load(folder).rows.values()
    hows = [row.how for row in rows]
    wide = sum(row.statistics.interval_s > 0.05 * row.median_s for row in rows)
    assert document["kernels"] == {
        "count": len(kernels_of()),
        "how": {how: hows.count(how) for how in dict.fromkeys(hows)},
        "share_wider_than_5_percent": pytest.approx(wide / len(kernels_of())),
    }
    assert set(hows) <= {"default", "tuned"}
    assert wide >= len(kernels_of()) - len(LEFT_OUT)  # the made-up samples are far apart
    assert document["estimated"] == {}


def test_document_says_what_tuning_took_in_total_and_by_kernel(
    profiled: Profiled, new_trials: dict[str, list[Trial]]
) -> None:
    tuning = profiled[1]["tuning"]
    kernels = tuning["kernels"]
    assert kernels.keys() == new_trials.keys()
    for key, trials in new_trials.items():
        work, valid = kernels[key], [trial for trial in trials if trial.error is None]
        assert (work["trials"], work["valid"]) == (TRIALS, len(valid))
        for part in ("build_s", "upload_s", "run_s"):
            assert work[part] == pytest.approx(sum(getattr(trial, part) for trial in trials))
        assert work["build_s"] > 0
        assert work["sampling_s"] > 0
        assert work["evolution_s"] >= 0
        assert work["best_s"] == min((trial.median_s for trial in valid), default=None)
    for field in ("trials", "valid", *(f"{part}_s" for part in PARTS)):
        assert tuning[field] == pytest.approx(sum(work[field] for work in kernels.values())), field
    assert tuning["trials_per_minute"] == pytest.approx(60 * tuning["trials"] / tuning["wall_s"])


def test_document_compares_whole_blocks_with_the_sum_of_their_kernels(profiled: Profiled) -> None:
    folder, document, _ = profiled
    measured = LatencyTable.load(folder)
    sample = {
        part.name: part for part in sample_blocks(get_space("small"), SIZE, segmentation_head(19), BLOCKS)
    }
    found = {block["block"].split()[0]: block for block in document["additivity"]["blocks"]}
    assert found.keys() == sample.keys()
    assert len(found) == BLOCKS
    for name, block in found.items():
        sum_ms = measured.graph(sample[name].graph, sample[name].inputs).median_s * 1e3
        assert block["sum_ms"] == pytest.approx(sum_ms, rel=1e-6)
        for cache in ("warm", "cold"):
            assert block[f"{cache}_ratio"] == pytest.approx(block[f"{cache}_ms"] / block["sum_ms"])
    for cache in ("warm", "cold"):
        ratios = sorted(block[f"{cache}_ratio"] for block in found.values())
        summary = document["additivity"]["ratios"][cache]
        assert (summary["low"], summary["high"], summary["count"]) == (ratios[0], ratios[-1], BLOCKS)


def test_document_says_how_well_kernels_left_out_are_predicted(profiled: Profiled) -> None:
    _, document, said = profiled
    predictor = document["predictor"]
    assert sum(predictor["kernels"].values()) == len(kernels_of())
    assert list(predictor["hold_outs"]) == list(SPLITS)
    shares = ("within_5", "within_10", "coverage")
    for found in predictor["hold_outs"].values():
        assert 0 < len(found["groups"]) <= found["possible"]
        for errors in (found["overall"], *found["by_kind"].values()):
            assert all(0 <= errors[share] <= 1 for share in shares)
        assert sum(errors["count"] for errors in found["by_kind"].values()) == found["overall"]["count"]
    assert predictor["hold_outs"]["random"]["overall"]["count"] == len(kernels_of())
    assert predictor["hold_outs"]["random"]["overall"]["spearman"] > 0.9  # times by a formula
    assert predictor["hold_outs"]["channels"]["possible"] > len(predictor["hold_outs"]["channels"]["groups"])
    assert re.search(r"predictor \d+/\d+: left out: random fifth 1", said)


# --- again ---


def test_same_command_again_measures_nothing_and_more_trials_are_the_difference(
    profiled: Profiled,
    quick: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(profiled[0], tmp_path / "again"))
    before, tried, again = results(folder), schedules(folder), disturbed(folder, quick)
    monkeypatch.setattr("squeezenas_tvm.profiling.fit_predictor._MOST", 1)  # the first run tried five
    assert main(arguments(quick, folder)) == 0
    after = results(folder)
    check_kept(before, after)
    assert after["trials"] == before["trials"]
    assert len(after["measurements"]) <= len(before["measurements"]) + len(again)
    if not again:
        assert after["block_timings"] == before["block_timings"]
    said = capfd.readouterr().out
    assert "Median latency in ms by position and candidate:" in said
    assert f"Table: {folder / f'squeezenas-small-{SIZE}.json'} (raw samples: {folder}/measurements" in said
    assert f"{len(kernels_of())} kernels: " in said
    assert "; 95 % interval wider than 5 %: " in said
    assert "Whole blocks over the sum of their kernels: warm caches " in said
    assert "Predictor of other kernels, tried on those that were left out of its fit:" in said
    table = LatencyTable.load(folder)
    predictor = Predictor.load(folder, fingerprint=table.fingerprint)
    assert sum(predictor.counts.values()) == sum(bool(row.samples_s) for row in table.rows.values())
    assert " trials (" not in said
    monkeypatch.setattr("squeezenas_tvm.profiling.profile_space.sample_blocks", lambda *_, **__: [])
    monkeypatch.setattr("squeezenas_tvm.profiling.measure.try_predictor", lambda *_: {})
    assert main(arguments(quick, folder, TRIALS + 2)) == 0
    check_kept(after, results(folder))
    for key, found in schedules(folder).items():
        assert found[:TRIALS] == tried[key]
        assert len(found) == len(set(found)) == TRIALS + 2
    said = capfd.readouterr().out
    assert f"{2 * len(LEFT_OUT)} trials (" in said
    assert all(f"{part} " in said.partition("side by side: ")[2] for part in PARTS)


def test_default_schedules_are_timed_and_then_the_two_best_trials(profiled: Profiled) -> None:
    for key, trials in timed(profiled[0]).items():
        assert trials[0] is None, key
        assert len(set(trials) - {None}) <= 2


def test_hole_is_shown_and_the_exit_code_says_so(
    profiled: Profiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = LatencyTable.load(profiled[0])
    without = {key: row for key, row in whole.rows.items() if key != LEFT_OUT[0].key}
    table = LatencyTable("quick-cpu", whole.fingerprint, without)
    measured = Measured(table, profiled[1]["tuning"], None, {})
    profile = summarize(measured, kernels_of(), get_space("small"), SIZE, 19, tmp_path)
    document, text = profile.document().model_dump(mode="json"), profile.text()
    assert profile.holes == document["missing"] == ["0/k3e1", "0/k3e1g2"]
    assert document["blocks"][0]["k3e1"] is None
    assert document["additivity"] is None
    assert "Not measured (2): 0/k3e1, 0/k3e1g2; the same command tries the rest again." in text
    assert "Whole blocks" not in text
    (tmp_path / "measurements.sqlite").touch()
    monkeypatch.setattr("squeezenas_tvm.profiling.profile_space.measure_kernels", lambda *_, **__: measured)
    given = ["--target", "local-cpu", "--resolution", str(SIZE), "--out", str(tmp_path)]
    assert main(given) == 1
    assert capfd.readouterr().out == f"{text}\n"


# --- wrong input, failed work ---


check_refused = partial(refused_by, main)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--target", "local-cup"], "unknown target 'local-cup', did you mean local-cpu?; allowed: "),
        (["--target", "here.yaml"], "unknown target 'here.yaml'"),
        (["--space", "smal"], "unknown space 'smal', did you mean small?; allowed: fastdense, "),
        (["--resolution", "0x0"], "resolution 0x0: sides must be 64 to 8192 pixels; the nearest that works"),
        (["--resolution", "7x7"], "the nearest that works is 64x64"),
        (["--resolution", "abc"], "resolution 'abc': write HEIGHTxWIDTH in pixels, for example 512x1024"),
        (["--resolution", "-64x64"], "expected one argument"),
        (["--dtype", "float61"], "target local-cpu: dtype is 'float61', allowed: float32"),
        (["--effort", "quik"], "argument --effort: invalid choice: 'quik' (choose from "),
        (["--trials", "-1"], "argument --trials: '-1' is not a whole number of 0 or more"),
        (["--trials", "few"], "argument --trials: 'few' is not a whole number of 0 or more"),
        (["--classes", "0"], "argument --classes: '0' is not a whole number of 1 or more"),
        (["--tracker", "nowhere"], "HOST:PORT"),
        (["--out", "/dev/null/x"], "/dev/null/x/measurements.sqlite: its folder cannot be made"),
    ],
)
def test_wrong_input_is_one_line(
    argv: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    usual = ["--target", "local-cpu", "--space", "small", "--resolution", str(SIZE), "--trials", "0"]
    check_refused([*usual, *argv], said, capfd)


def test_wrong_input_is_one_line_in_a_process_too(tmp_path: Path) -> None:
    code, out, said = finish(command("profile", "--target", "local-cpu", "--space", "smal", cwd=tmp_path))
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert said.startswith("error: unknown space 'smal', did you mean small?")
    assert list(tmp_path.iterdir()) == []


def test_target_file_with_an_unknown_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = quick_target(tmp_path)
    path.write_text(path.read_text(encoding="utf-8") + "sumary: x\n", encoding="utf-8")
    assert main(["--target", str(path)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(
        f"error: {path}: sumary: unknown key, did you mean summary?; allowed: schema_version, "
    )
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_store_that_is_none_is_left_alone(
    quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "measurements.sqlite").write_text("to do\n" * 1000, encoding="utf-8")
    check_refused(arguments(quick, tmp_path), "not a sound measurement store", capfd)
    assert (tmp_path / "measurements.sqlite").read_text(encoding="utf-8") == "to do\n" * 1000


@pytest.mark.parametrize("name", ["table.json", "kernels.csv", f"squeezenas-small-{SIZE}.json"])
def test_results_of_others_are_left_alone(
    name: str, quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text('{"name": "my table"}')
    given = arguments(quick, tmp_path / "out")
    check_refused(given, f"{name}: there already, and would be overwritten; name another folder", capfd)
    assert (tmp_path / "out" / name).read_text() == '{"name": "my table"}'
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_target_that_this_machine_cannot_link_for_is_failed_work(tmp_path: Path) -> None:
    path = quick_target(tmp_path)
    foreign = "tvm: {kind: llvm, mtriple: aarch64-linux-gnu, mcpu: cortex-a72}"
    text = path.read_text(encoding="utf-8").replace("tvm: {kind: llvm}", foreign)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LoweringError, match=r"cannot be built for llvm: .*; nothing else can then") as caught:
        measure_kernels(
            load_target(path), Wanted(kernels=LEFT_OUT[:1], effort=Effort.alone(0)), tmp_path / "out"
        )
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
