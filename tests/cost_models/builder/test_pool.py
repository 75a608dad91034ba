import os
import pickle
import signal
import sys
import threading
import time
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path
from typing import Any

import psutil
import pytest

from cost_models.builder.pool import BuildPool, BuildResult
from cost_models.builder.worker import Worker
from cost_models.errors import CostModelError
from cost_models.tvm_import import tvm
from targets.support.text import brief

from ..builds import TARGET, gone, once, run, scale, until, worker_ids, workers_of


def refused_by_tvm() -> Any:
    """A function without buffers' storage that code generation does not accept."""
    parameters = scale(1.0)["main"].params
    body = tvm.tirx.Evaluate(tvm.tirx.call_extern("handle", "nothing"))
    return tvm.IRModule({"main": tvm.tirx.PrimFunc(parameters, body)})


def keep_all_busy(pool: BuildPool) -> None:
    """Give every worker something to do at once; the pool replaces one only when there is work for it."""
    with pool.paused():
        futures = [pool.submit(scale(1.0), TARGET) for _ in range(pool.workers)]
    wait(futures)


def test_results_are_in_the_order_of_the_modules() -> None:
    with BuildPool(workers=2) as pool:
        results = pool.build([scale(float(factor)) for factor in range(5)], TARGET)
        for factor, result in enumerate(results):
            assert result.error is None
            assert run(result.path) == pytest.approx(factor)
            assert 0 < result.link_s < result.build_s


def test_workers_stay_for_the_next_batch_and_leave_nothing_behind() -> None:
    with BuildPool(workers=2) as pool:
        workers = worker_ids(2)
        first = pool.build([scale(1.0)] * 3, TARGET)
        second = pool.build([scale(1.0)] * 3, TARGET)
        assert worker_ids(2) == workers
        paths = [result.path for result in first + second]
        assert len(set(paths)) == 6
    assert workers_of(psutil.Process()) == set()
    assert paths[0] is not None
    assert not paths[0].parent.exists()


def test_workers_run_nothing_of_the_current_folder(traps: Path) -> None:
    with BuildPool(1) as pool:
        (built,) = pool.build([scale(2)], TARGET)
    assert built.error is None


def test_many_threads_submit_and_each_gets_its_own() -> None:
    seen: list[Future[BuildResult]] = []
    futures: dict[int, Future[BuildResult]] = {}

    def submit(factor: int) -> None:
        futures[factor] = pool.submit(scale(float(factor)), TARGET, on_done=seen.append)

    with BuildPool(workers=2) as pool:
        threads = [threading.Thread(target=submit, args=(factor,)) for factor in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for factor, future in futures.items():
            assert run(future.result().path) == pytest.approx(factor)
    assert set(map(id, seen)) == {id(future) for future in futures.values()}


def test_a_callback_may_submit_the_next() -> None:
    later: Future[Future[BuildResult]] = Future()
    with BuildPool(workers=1) as pool:
        pool.submit(scale(1.0), TARGET, on_done=lambda _: later.set_result(pool.submit(scale(2.0), TARGET)))
        assert run(later.result().result().path) == pytest.approx(2.0)


def test_a_module_that_cannot_be_pickled_costs_only_itself() -> None:
    with BuildPool(workers=1) as pool:
        bad, good = pool.build([lambda: None, scale(2.0)], TARGET)
    assert bad.path is None
    assert good.error is None
    assert bad.error is not None
    assert "pickle" in bad.error.lower()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(lambda: None)


def test_a_module_that_tvm_refuses_costs_only_itself() -> None:
    with BuildPool(workers=2) as pool:
        good, bad, also_good = pool.build([scale(1.0), refused_by_tvm(), scale(2.0)], TARGET)
    assert good.error is also_good.error is None
    assert bad.path is None
    assert bad.error is not None
    assert "MakePackedAPI" in bad.error
    assert "\n" not in bad.error


def test_a_crash_of_the_compiler_costs_only_its_module(tmp_path: Path) -> None:
    crash = once(tmp_path / "flag", lambda: os.kill(os.getpid(), signal.SIGSEGV))
    with BuildPool(workers=2, fcompile=crash) as pool:
        errors = [result.error for result in pool.build([scale(1.0)] * 5, TARGET)]
        assert len(worker_ids(2)) == 2
    assert sorted(filter(None, errors)) == ["the compiler's process died (SIGSEGV)"]


def test_a_build_that_hangs_is_stopped_and_its_worker_replaced(tmp_path: Path) -> None:
    hang = once(tmp_path / "flag", lambda: time.sleep(600))
    with BuildPool(workers=2, timeout_s=2.0, fcompile=hang) as pool:
        before = worker_ids(2)
        results = pool.build([scale(1.0)] * 5, TARGET)
        keep_all_busy(pool)
        after = worker_ids(2)
    (late,) = (result for result in results if result.error)
    assert late.error == "building took longer than 2 s; stopped"
    assert late.build_s >= 2
    assert len(before & after) == 1


def test_workers_that_were_killed_or_frozen_are_replaced() -> None:
    with BuildPool(workers=2, timeout_s=2.0) as pool:
        pool.build([scale(1.0)] * 4, TARGET)
        killed, frozen = worker_ids(2)
        os.kill(killed, signal.SIGKILL)
        os.kill(frozen, signal.SIGSTOP)
        until(lambda: not psutil.pid_exists(killed))  # the pool has noticed
        results = pool.build([scale(float(factor)) for factor in range(6)], TARGET)
        keep_all_busy(pool)
        assert worker_ids(2).isdisjoint({killed, frozen})
        assert sum(result.error is not None for result in results) == 1  # nobody sees that one is frozen
        assert run(results[5].path) == pytest.approx(5.0)


def test_setup_runs_in_every_worker_and_its_error_is_told(tmp_path: Path) -> None:
    def fail() -> None:
        time.sleep(0.2)  # long enough to be given a job
        raise RuntimeError(f"no compiler library in {tmp_path.name}")

    with BuildPool(workers=1, setup=fail) as pool:
        (result,) = pool.build([scale(1.0)], TARGET)
    assert result.error is not None
    assert "exit code 1" in result.error
    assert f"no compiler library in {tmp_path.name}" in result.error


def test_an_interrupted_build_leaves_the_pool_usable(tmp_path: Path) -> None:
    owner = os.getpid()

    def interrupt() -> None:
        os.kill(owner, signal.SIGINT)
        time.sleep(600)

    with BuildPool(workers=2, fcompile=once(tmp_path / "flag", interrupt)) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.build([scale(1.0)] * 4, TARGET)
        assert run(pool.build([scale(3.0)], TARGET)[0].path) == pytest.approx(3.0)
    assert workers_of(psutil.Process()) == set()


def test_a_build_can_be_cancelled_while_it_runs_and_while_it_waits(tmp_path: Path) -> None:
    def hang() -> None:
        time.sleep(600)

    flag = tmp_path / "flag"
    with BuildPool(workers=1, timeout_s=600.0, fcompile=once(flag, hang)) as pool:
        running, waiting, kept = (pool.submit(scale(factor), TARGET) for factor in (1.0, 2.0, 3.0))
        until(flag.exists)
        assert running.cancel()
        assert waiting.cancel()
        done, _ = wait([running, waiting, kept], timeout=60)
        assert len(done) == 3
        assert run(kept.result().path) == pytest.approx(3.0)
        assert not kept.cancel()


def test_closing_cancels_what_is_not_done(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    with BuildPool(workers=1, timeout_s=600.0, fcompile=once(flag, lambda: time.sleep(600))) as pool:
        futures = [pool.submit(scale(1.0), TARGET) for _ in range(3)]
        until(flag.exists)
        (worker,) = worker_ids(1)
    assert gone(worker)
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(timeout=0)
    with pytest.raises(CostModelError, match="submit: the pool is not open; submit in its with block"):
        pool.submit(scale(1.0), TARGET)
    pool.close()


def test_files_are_deleted_while_a_worker_could_still_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an owner that is killed as it closes its pool would leave them for ever."""
    there: list[bool] = []
    with BuildPool(workers=2) as pool:
        folder = pool.new_path("").parent
        (result,) = pool.build([scale(2.0)], TARGET)
        assert result.path is not None
        kill = Worker.kill

        def killed(worker: Worker) -> None:
            there.append(folder.exists())
            kill(worker)

        monkeypatch.setattr(Worker, "kill", killed)
    assert there == [True, False]


def test_a_pool_that_gets_no_process_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with BuildPool(workers=1) as pool:
        (worker,) = worker_ids(1)
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        os.kill(worker, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(worker))  # the pool has noticed
        lost = pool.submit(scale(1.0), TARGET)
        with pytest.raises(FileNotFoundError, match="/no/such/python"):
            lost.result(timeout=60)
        with pytest.raises(CostModelError, match=r"the pool is not open; it failed with FileNotFoundError: "):
            pool.submit(scale(1.0), TARGET)
        with pool.paused():
            pass


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"timeout_s": 0.0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CostModelError, match="workers must be >= 1 and timeout_s > 0, found"):
        BuildPool(**wrong)


def test_brief_is_one_line_with_the_last_words() -> None:
    assert (
        brief(ValueError("Traceback:\n  deep\n\nCheck failed: it is\n")) == "ValueError: Check failed: it is"
    )
    assert brief(ValueError()) == "ValueError: no message"
    assert len(brief(ValueError("x" * 1000))) == 300
