"""``table --tvm-database``: from a profile into TVM's own database, and from TVM's tuner into a profile."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cost_models.database.environment import environment
from cost_models.database.history import History
from cost_models.database.records import Trial
from cost_models.database.store import MeasurementStore
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module, tuned_modules
from cost_models.lowering.pipeline import structural_hash
from cost_models.tuning.effort import Effort
from cost_models.tvm_import import ms, tvm
from squeezenas_tvm import table
from squeezenas_tvm.profiling.measure import SAMPLES, Wanted, measure_kernels
from targets import load_target

from ..cost_models.some_kernels import argmax, convolution, relu
from .helpers import quick_target, refused_by

KERNELS = [relu(8, 8, 16), argmax(8, 16)]  # for which we have no tiles
check_refused = partial(refused_by, table.main)


def profile(quick: Path, folder: Path, trials: int, kernels: list[Kernel] = KERNELS) -> Path:
    wanted = Wanted(kernels=kernels, effort=Effort.alone(trials))
    measure_kernels(load_target(quick), wanted, folder, shown=False)
    return folder


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quick_target(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="module")
def searched(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return profile(quick, tmp_path_factory.mktemp("searched"), 2)


def trials(quick: Path, folder: Path, *, told: bool = False) -> dict[str, dict[str, Trial]]:
    """By kernel and schedule: what was measured there, or what others tell."""
    with MeasurementStore.open(folder / SAMPLES, create=False) as store:
        history = History.of(store, environment(load_target(quick)))
        return {
            k.key: history.told(k) if told else {t.schedule: t for t in history.trials(k).values()}
            for k in KERNELS
        }


def test_from_one_profile_into_another(
    searched: Path, quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned, other = tmp_path / "tuned", profile(quick, tmp_path / "other", 0)
    words = ["--tvm-database", str(tuned), "--target", str(quick)]
    assert table.main(["export", str(searched), *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schedules"].keys() == {kernel.key for kernel in KERNELS}
    assert table.main(["import", str(other), *words]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"quick-cpu: {sum(told['schedules'].values())} schedules of 2 kernels"
    assert said[-1].startswith(f"next: profile once more into {other}")
    there, here = trials(quick, searched), trials(quick, other, told=True)
    for key, schedules in here.items():
        assert len(schedules) == told["schedules"][key]
        assert schedules.keys() <= there[key].keys()
    assert trials(quick, other) == {kernel.key: {} for kernel in KERNELS}
    profile(quick, other, 2)
    tried = trials(quick, other)
    for key, schedules in here.items():
        assert schedules.keys() <= tried[key].keys()
        assert all(tried[key][text].samples_s != trial.samples_s for text, trial in schedules.items())


@pytest.mark.slow
def test_what_tvms_own_tuner_wrote_is_tried_and_deployed(
    quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel, target = convolution(8, 16, 8, 16), load_target(quick)
    folder, tuned = profile(quick, tmp_path / "profile", 0, [kernel]), tmp_path / "tuned"
    mod, tvm_target = kernel_module(kernel, target.tvm_target()), target.tvm_target()
    tuner = {"builder": _Builder(tmp_path), "runner": ms.runner.LocalRunner(timeout_sec=300)}
    limits = {"max_trials_global": 4, "num_trials_per_iter": 4, "num_tuning_cores": 1}
    rules = dict.fromkeys(("sch_rules", "postprocs", "mutator_probs"), "llvm")
    space = ms.space_generator.PostOrderApply(**rules)
    ms.tune_tir(mod, tvm_target, str(tuned), **tuner, **limits, space=space)
    words = ["import", str(folder), "--tvm-database", str(tuned), "--target", str(quick)]
    assert table.main(words) == 0
    said = capsys.readouterr().out
    assert "quick-cpu: 3 schedules of 1 kernels" in said
    assert "skipped: 1 records of schedules that did not run" in said
    profile(quick, folder, 3, [kernel])
    with MeasurementStore.open(folder / SAMPLES, create=False) as store:
        history = History.of(store, environment(target))
        assert history.told(kernel).keys() == {t.schedule for t in history.trials(kernel).values()}
        used = tuned_modules(history, [kernel], tvm_target)
        default = history.fastest(kernel)[0] is None
    assert used.keys() == (set() if default else {structural_hash(mod)})


@tvm.ir.utils.derived_object
class _Builder(ms.builder.PyBuilder):  # type: ignore[misc]
    """In this process, where TVM is loaded; TVM's own starts others. The first build of all fails."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.count = 0

    def build(self, inputs: list[Any]) -> list[Any]:
        return [self._one(candidate) for candidate in inputs]

    def _one(self, candidate: Any) -> Any:
        self.count += 1
        if self.count == 1:
            return ms.builder.BuilderResult(None, "made up")
        path = self.folder / str(self.count) / "kernel.so"
        path.parent.mkdir()  # which TVM removes with all that is in it
        tvm.compile(candidate.mod, candidate.target).export_library(str(path))
        return ms.builder.BuilderResult(str(path), None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "SEARCHED", "--out", "x.zip"], "leave --out and --measurements out"),
        (["export", "SEARCHED", "--measurements"], "leave --out and --measurements out"),
        (["import", "nothing"], "nothing/table.json: a latency table cannot be read"),
        (["import", "SEARCHED"], "tuned: has no database_workload.json; give the folder of TVM's database"),
        (
            ["export", "SEARCHED", "--target", "jetson-xavier"],
            "is a table of quick-cpu, not of jetson-xavier",
        ),
        (["export", "SEARCHED", "--target", ""], "unknown target 'quick-cpu'"),
    ],
)
def test_wrong_words(
    words: list[str],
    said: str,
    searched: Path,
    quick: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [str(searched) if word == "SEARCHED" else word for word in words]
    target = [] if "--target" in words else ["--target", str(quick)]
    check_refused([*given, "--tvm-database", "tuned", *target], said, capsys)
    assert not Path("tuned").exists()
