"""The engine with real builds on a real board: what overlaps, what failures cost, and how it ends."""

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from cost_models.builder.pool import BuildPool
from cost_models.database.records import Trial
from cost_models.errors import StorageFull
from cost_models.ir.fusion import Kernel
from cost_models.runner.runner import RunSettings
from cost_models.schedules.serialization import Proposal
from cost_models.tuning.scheduler import CandidateSource, Engine, Stopped, TuningTask
from cost_models.tvm_import import tvm
from targets import Fleet, load_target

from ..builds import TARGET, scale, stopped, until, workers_of
from ..measuring import refused
from ..some_kernels import relu

LONG_S = 60.0  # a bound that only a failure reaches
# Kernels of 100 ns differ by any factor: none is to be beaten by chance.
QUICK = RunSettings(repeat=2, min_repeat_s=0.0, give_up_factor=1e6, beaten_factor=1e6)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(load_target("local-cpu")) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def pool() -> Iterator[BuildPool]:
    with BuildPool(workers=2) as pool:
        yield pool


class Script:
    """Proposes what it is given, in order, and writes down what it is asked and told."""

    sampling_s, evolution_s = 0.25, 0.5

    def __init__(self, name: str, modules: Sequence[Any], diary: list[tuple[str, str]]) -> None:
        self.name, self.diary = name, diary
        self.left = [
            Proposal(schedule=f"{name} {index}", mod=module, origin="tiles")
            for index, module in enumerate(modules)
        ]
        self.asked: list[int] = []
        self.learned: list[tuple[list[str], list[Trial]]] = []

    def propose(self, at_most: int) -> list[Proposal]:
        self.diary.append((self.name, "proposes"))
        self.asked.append(at_most)
        found, self.left = self.left[:at_most], self.left[at_most:]
        return found

    def learn(self, proposals: Sequence[Proposal], trials: Sequence[Trial]) -> None:
        self.diary.append((self.name, "learns"))
        self.learned.append(([proposal.schedule for proposal in proposals], list(trials)))

    def open(self) -> CandidateSource:
        self.diary.append((self.name, "opens"))
        return self


class Shelf:
    """Keeps trials; ``before`` is called with what is there, and the new one, before it is kept."""

    def __init__(self, before: Callable[[list[Trial], Trial], None] = lambda kept, new: None) -> None:
        self.kept: list[Trial] = []
        self.kernels: list[Kernel] = []
        self._before, self._lock = before, threading.Lock()

    def __call__(self, kernel: Kernel, trial: Trial) -> None:
        with self._lock:
            self._before(self.kept, trial)
            self.kept.append(trial)
            self.kernels.append(kernel)


def kernel(number: int = 0) -> Kernel:
    return relu(8, 8, 8 + number)


def several(count: int) -> list[Any]:
    return [scale(float(number)) for number in range(1, count + 1)]


def calling(function: str) -> Any:
    """A kernel that calls a C function in every element."""
    x = tvm.te.placeholder((16,), name="x")
    y = tvm.te.compute((16,), lambda i: x[i] + tvm.tirx.call_extern("float32", function), name="y")
    return tvm.IRModule({"main": tvm.te.create_prim_func([x, y]).with_attr("global_symbol", "main")})


def raising() -> Any:
    """A kernel that raises when it runs."""
    body = tvm.tirx.Evaluate(tvm.tirx.call_packed("no.such.function"))
    return tvm.IRModule({"main": scale(1.0)["main"].with_body(body)})


def unsendable() -> Any:
    """What no worker can be sent, which shows at once."""
    return lambda: None


def engine_of(pool: BuildPool, fleet: Fleet, keep: Shelf, **more: Any) -> Engine:
    return Engine(pool, fleet, TARGET, keep, settings=QUICK, in_turns=more.pop("in_turns", False), **more)


def run_one(
    pool: BuildPool, fleet: Fleet, modules: Sequence[Any], wanted: int = 99, **more: Any
) -> tuple[TuningTask, Script, Shelf]:
    """One kernel whose candidates are ``modules``."""
    script, shelf = Script("a", modules, []), Shelf()
    task = TuningTask(kernel(), script.open, wanted, more.pop("known_s", 1e9))
    engine_of(pool, fleet, shelf, **more).run([task])
    return task, script, shelf


def test_kernels_propose_while_the_candidates_of_others_are_measured(pool: BuildPool, fleet: Fleet) -> None:
    diary: list[tuple[str, str]] = []
    proposed = threading.Event()

    class Last(Script):
        def propose(self, at_most: int) -> list[Proposal]:
            proposed.set()
            return super().propose(at_most)

    def board_is_busy(kept: list[Trial], new: Trial) -> None:
        """The first result, in the board's thread, comes to an end only when the third kernel proposes."""
        assert proposed.wait(LONG_S)

    kinds = {"a": Script, "b": Script, "c": Last, "d": Script}
    scripts = [kind(name, several(3), diary) for name, kind in kinds.items()]
    tasks = [TuningTask(kernel(i), script.open, 3, 1e9) for i, script in enumerate(scripts)]
    shelf, finished = Shelf(board_is_busy), []
    engine = engine_of(pool, fleet, shelf, round_size=2, active=3)

    def finish(task: TuningTask) -> None:
        assert task in tasks
        finished.append(task)
        diary.append((scripts[tasks.index(task)].name, "is finished"))

    engine.run(tasks, finish)
    first_learns = next(index for index, (_, event) in enumerate(diary) if event == "learns")
    assert diary[:first_learns] == [(n, e) for n in "abc" for e in ("opens", "proposes")]
    first_finished = next(index for index, (_, event) in enumerate(diary) if event == "is finished")
    assert diary.index(("d", "opens")) > first_finished  # three at a time
    assert {id(task) for task in finished} == {id(task) for task in tasks}
    assert len(finished) == 4
    assert sorted(trial.schedule for trial in shelf.kept) == [f"{n} {i}" for n in "abcd" for i in range(3)]
    assert engine.current == ()


def test_in_turns_nothing_is_built_while_a_candidate_runs(pool: BuildPool, fleet: Fleet) -> None:
    """Two kernels of twenty candidates, so that there is more to build whenever a batch is ready to run."""
    seen: list[int] = []

    def look(kept: list[Trial], new: Trial) -> None:
        until(lambda: stopped(workers))
        seen.append(len(kept))

    workers = workers_of(psutil.Process())
    assert len(workers) == pool.workers
    diary: list[tuple[str, str]] = []
    scripts = [Script(name, several(20), diary) for name in "ab"]
    tasks = [TuningTask(kernel(i), script.open, 20, 1e9) for i, script in enumerate(scripts)]
    shelf = Shelf(look)
    engine_of(pool, fleet, shelf, in_turns=True).run(tasks)
    assert len(seen) == len(shelf.kept) == 40
    assert all(trial.error is None for trial in shelf.kept)
    assert [len(told) for script in scripts for told, _ in script.learned] == [16, 4, 16, 4]
    assert diary.index(("b", "proposes")) < diary.index(("a", "learns"))  # builds overlap with proposing
    until(lambda: psutil.STATUS_STOPPED not in {psutil.Process(pid).status() for pid in workers})


def test_what_a_trial_tells_of_itself(pool: BuildPool, fleet: Fleet) -> None:
    task, script, shelf = run_one(pool, fleet, several(2))
    (board,) = fleet.boards()
    assert task.trials == shelf.kept
    assert shelf.kernels == [kernel()] * 2
    for trial in task.trials:
        assert (trial.error, trial.origin, trial.board) == (None, "tiles", board.name)
        assert len(trial.samples_s) == QUICK.repeat
        assert min(trial.build_s, trial.upload_s, trial.run_s) > 0
    assert (task.sampling_s, task.evolution_s) == (script.sampling_s, script.evolution_s)
    assert task.best_s == min(trial.median_s for trial in task.trials)
    paths = [f"{pool._folder.name}/{file}" for file in os.listdir(pool._folder.name)]
    assert [path for path in paths if path.endswith(".so")] == []


def test_rounds_have_their_size_and_end_with_the_trials_that_were_wanted(
    pool: BuildPool, fleet: Fleet
) -> None:
    task, script, _ = run_one(pool, fleet, several(8), wanted=5, round_size=3)
    assert script.asked == [3, 2]
    assert [proposals for proposals, _ in script.learned] == [["a 0", "a 1", "a 2"], ["a 3", "a 4"]]
    assert len(task.trials) == 5


def test_a_source_that_runs_dry_ends_its_kernel(pool: BuildPool, fleet: Fleet) -> None:
    task, script, shelf = run_one(pool, fleet, several(3), wanted=50, round_size=2)
    assert len(task.trials) == len(shelf.kept) == 3
    assert script.asked == [2, 2, 2]
    assert run_one(pool, fleet, [])[0].trials == []
    task, script, _ = run_one(pool, fleet, several(1), wanted=0)
    assert (task.trials, script.diary) == ([], [])  # its source was never made


def test_what_cannot_be_built_is_a_failed_trial_and_the_order_is_kept(pool: BuildPool, fleet: Fleet) -> None:
    task, script, shelf = run_one(pool, fleet, [scale(1.0), refused(scale(1.0)), unsendable(), scale(2.0)])
    ((proposals, trials),) = script.learned
    assert proposals == [trial.schedule for trial in trials] == ["a 0", "a 1", "a 2", "a 3"]
    assert (
        shelf.kept[0].schedule != "a 0"
    )  # what cannot be built comes first, and keeps its place all the same
    assert [trial.error is None for trial in trials] == [True, False, False, True]
    assert "nowhere" in str(trials[1].error)
    assert "pickle" in str(trials[2].error).lower()
    assert trials[1].build_s > 0
    assert [trial.board for trial in trials[1:3]] == ["", ""]
    assert task.best_s == min(trials[0].median_s, trials[3].median_s)


def test_a_kernel_that_crashes_or_raises_costs_one_trial(pool: BuildPool, fleet: Fleet) -> None:
    modules = [scale(1.0), calling("abort"), scale(2.0), raising(), scale(3.0)]
    task, script, _ = run_one(pool, fleet, modules)
    ((_, trials),) = script.learned
    assert [trial.error is None for trial in trials] == [True, False, True, False, True]
    (board,) = fleet.boards()
    assert f"(tried on {board.name})" in str(trials[1].error)
    assert re.match(r"\w+Error: .*no\.such\.function", str(trials[3].error))
    assert all("\n" not in str(trial.error) for trial in trials)
    assert len(task.trials) == 5


def test_candidates_far_slower_than_the_best_one_get_a_single_sample(pool: BuildPool, fleet: Fleet) -> None:
    task, _, _ = run_one(pool, fleet, several(2), known_s=1e-15)
    assert [len(trial.samples_s) for trial in task.trials] == [1, 1]
    assert task.best_s == 1e-15


def test_a_full_disk_ends_the_run_and_what_was_kept_stays(pool: BuildPool, fleet: Fleet) -> None:
    def full(kept: list[Trial], new: Trial) -> None:
        if len(kept) == 2:
            raise StorageFull("no room")

    diary: list[tuple[str, str]] = []
    script, shelf = Script("a", several(8), diary), Shelf(full)
    with pytest.raises(StorageFull, match="no room"):
        engine_of(pool, fleet, shelf, round_size=4).run([TuningTask(kernel(), script.open, 8, 1e9)])
    assert diary == [("a", "opens"), ("a", "proposes")]  # the round was not brought to an end
    assert len(shelf.kept) == 2
    assert all(trial.error is None for trial in shelf.kept)


def test_stop_ends_the_run_while_a_board_is_busy(pool: BuildPool, fleet: Fleet) -> None:
    ended = threading.Event()

    def stop(kept: list[Trial], new: Trial) -> None:
        if len(kept) == 1:
            engine.stop()
            assert ended.wait(LONG_S)

    script, shelf = Script("a", several(4), []), Shelf(stop)
    engine = engine_of(pool, fleet, shelf, round_size=2)
    task = TuningTask(kernel(), script.open, 4, 1e9)
    with pytest.raises(Stopped, match="stopped; all that was measured is stored, the same command goes on"):
        engine.run([task])
    assert engine.current == (task,)
    ended.set()
    until(lambda: len(shelf.kept) == 2)  # also what was on its way
    with pytest.raises(Stopped):
        engine.run([TuningTask(kernel(), script.open, 4, 1e9)])
    assert script.asked == [2]


def test_what_a_source_raises_ends_the_run(pool: BuildPool, fleet: Fleet) -> None:
    class Faulty(Script):
        def propose(self, at_most: int) -> list[Proposal]:
            raise ZeroDivisionError("a fault")

    with pytest.raises(ZeroDivisionError, match="a fault"):
        engine_of(pool, fleet, Shelf()).run([TuningTask(kernel(), Faulty("a", [], []).open, 4, 1e9)])


def test_a_pool_that_can_build_no_more_ends_the_run(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    script, shelf, others = Script("a", several(3), []), Shelf(), workers_of(psutil.Process())
    with BuildPool(workers=1) as pool:
        until(lambda: workers_of(psutil.Process()) > others)
        (worker,) = workers_of(psutil.Process()) - others
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        os.kill(worker, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(worker))
        with pytest.raises(Exception, match="/no/such/python"):
            engine_of(pool, fleet, shelf).run([TuningTask(kernel(), script.open, 3, 1e9)])
    assert shelf.kept == []


def test_no_file_of_a_run_stays(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with BuildPool(workers=1) as pool:
        run_one(pool, fleet, [scale(1.0), raising(), refused(scale(1.0))])
        assert not list(tmp_path.rglob("*.so"))
    assert not list(tmp_path.iterdir())
