"""The reference kernel: built once, loaded once a session, the same everywhere."""

from collections.abc import Iterator
from typing import Any

import pytest

from cost_models.builder.pool import BuildPool, BuildResult
from cost_models.errors import LoweringError
from cost_models.runner.reference import Reference, reference_kernel
from cost_models.runner.rounds import Care
from cost_models.runner.runner import RunSettings, run_kernel, time_carefully
from targets import Session, load_target, open_session


@pytest.fixture(scope="module")
def pool() -> Iterator[BuildPool]:
    with BuildPool() as pool:
        yield pool


@pytest.fixture(scope="module")
def reference(pool: BuildPool) -> Reference:
    return Reference.build(pool, load_target("local-cpu").tvm_target())


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_session(load_target("local-cpu")) as session:
        yield session


def test_it_is_the_same_for_ever() -> None:
    """Earlier measurements are compared by it: another kernel would look like another machine."""
    kernel = reference_kernel()
    assert kernel.key == "conv1x1+relu 48x64x64->96x64x64 #c4856d5b"
    assert kernel.macs == 48 * 96 * 64 * 64
    assert kernel.kind == "pointwise"


def test_it_is_loaded_once_a_session(reference: Reference, session: Session) -> None:
    session.scratch.clear()
    assert len(reference.burst(session)) == 3
    loaded = session.scratch["reference"]
    assert all(sample_s > 0 for sample_s in reference.burst(session))
    assert session.scratch["reference"] is loaded


def test_it_stays_itself_when_another_kernel_comes(reference: Reference, session: Session) -> None:
    """Loaders know files by name: the reference must not become the kernel that is timed, nor the reverse."""
    before_s = reference.probe(session)
    result = run_kernel(session, reference.path, reference.args_info, RunSettings())
    assert result.error is None
    assert reference.path.name == "reference.so"
    assert 0.1 < reference.probe(session) / before_s < 10


def test_probe_is_the_fastest_of_some_bursts(
    reference: Reference, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    bursts = iter([(3.0, 2.0, 4.0), (5.0, 1.5, 6.0), (3.0, 3.0, 3.0)])
    monkeypatch.setattr(Reference, "burst", lambda self, session: next(bursts))
    assert reference.probe(session) == 1.5


def pretend_levels(monkeypatch: pytest.MonkeyPatch, *levels_s: float) -> list[float]:
    """What is left of the bursts to come."""
    left = list(levels_s)
    monkeypatch.setattr(Reference, "burst", lambda self, session: (left.pop(0),) * 3)
    monkeypatch.setattr("cost_models.runner.reference._PAUSE_S", 0.01)
    return left


def test_it_waits_until_the_device_is_quiet(
    reference: Reference, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.scratch.clear()
    left = pretend_levels(monkeypatch, 1.0, 1.1, 1.2, 2.0, 1.9, 1.2, 1.0, 1.3, 1.25)
    assert reference.wait_for_quiet(session, 60) == pytest.approx(1.2)  # three probes, then 2.0, 1.9, 1.2
    assert reference.wait_for_quiet(session, 60) == 1.0
    assert reference.wait_for_quiet(session, 60) == 1.25
    assert left == []


def test_what_lasts_is_waited_for_once(
    reference: Reference, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.scratch.clear()
    left = pretend_levels(monkeypatch, 1.0, 1.0, 1.0, *(3.0 for _ in range(1000)))
    assert reference.wait_for_quiet(session, 0.05) == 3.0
    assert 1 < 1000 - len(left) < 50
    before = len(left)
    assert reference.wait_for_quiet(session, 60) == 3.0
    assert len(left) == before - 1
    session.scratch.clear()


def test_a_careful_timing_has_it_between_its_rounds(reference: Reference, session: Session) -> None:
    care = Care(interval_width=1e9, drift=1e9, burst=3)
    settings = RunSettings(min_repeat_s=0.001)
    timing = time_carefully(session, reference.path, reference.args_info, settings, care, reference.burst)
    assert timing.error is None
    assert (len(timing.samples_s), len(timing.reference_s)) == (6, 9)


def test_a_compiler_that_cannot_build_it_is_told(pool: BuildPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(modules: Any, target: Any) -> list[BuildResult]:
        return [BuildResult(error="OSError: no linker")]

    monkeypatch.setattr(pool, "build", fails)
    with pytest.raises(
        LoweringError, match=r"reference kernel conv1x1.*: cannot be built for llvm: OSError: no linker; "
    ):
        Reference.build(pool, load_target("local-cpu").tvm_target())
