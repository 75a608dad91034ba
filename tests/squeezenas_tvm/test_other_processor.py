"""The shipped table on a machine of another processor: what commands and the API say of it; --calibrate."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import squeezenas_tvm as st
from cost_models.database.table import LatencyTable
from cost_models.lookup import cost_model, shipped_table
from search.costs.chain_costs import ChainCosts
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from squeezenas_tvm import networks, predict
from squeezenas_tvm.profiling import calibrate_processor as work
from targets import load_target
from targets.local_machine import LocalMachine

from .helpers import NAME, SHIPPED_ON, pretend_processor, quick_target, refused_by

SIZE = "256x512"
ARGUMENTS = [NAME, "--target", "local-cpu", "--resolution", SIZE]
EPYC = "AMD EPYC 7763 64-Core Processor"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without results, on a machine of another processor."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.getloadavg", lambda: (0.5, 0.5, 0.5))
    pretend_processor(monkeypatch, EPYC)


def predicted(capfd: pytest.CaptureFixture[str], *more: str) -> tuple[dict[str, object], str]:
    assert predict.main([*ARGUMENTS, *more, "--json"]) == 0
    captured = capfd.readouterr()
    document = json.loads(captured.out)
    return document["networks"][0] | {"processor": document["processor"]}, captured.err


def test_predict_says_whose_latency_it_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    network, said = predicted(capfd)
    assert network["sources"] == {"other processor": pytest.approx(1)}
    assert (
        f"predictions for {EPYC} (2 cores, AVX-512) from another processor, {SHIPPED_ON} (2 cores, AVX-512)"
        in said
    )
    assert "scale them: squeezenas-tvm predict NETWORK --target local-cpu --calibrate" in said
    assert network["processor"]["here"]["name"] == EPYC  # type: ignore[index]
    here = network["latency_ms"]
    assert predict.main(ARGUMENTS) == 0
    assert "100% other processor" in capfd.readouterr().out
    pretend_processor(monkeypatch, SHIPPED_ON)
    own, said = predicted(capfd)
    assert own["sources"] == {"measured": pytest.approx(1)}
    assert own["processor"] is None
    assert "another processor" not in said
    there = own["latency_ms"]
    assert here["median"] == pytest.approx(there["median"])  # type: ignore[index]
    assert here["low"] <= there["median"] / 3  # type: ignore[index]
    assert here["high"] >= there["median"] * 3  # type: ignore[index]


def test_other_cores_are_another_processor(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend_processor(monkeypatch, SHIPPED_ON, cores=16)
    network, said = predicted(capfd)
    assert network["sources"] == {"other processor": pytest.approx(1)}
    assert (
        f"predictions for {SHIPPED_ON} (16 cores, AVX-512) from another processor, {SHIPPED_ON} (2 cores"
        in said
    )


def test_other_vectors_are_another_processor_of_the_same_name(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Hypervisors call a Zen 1 and a Zen 4 alike, and one takes twice as long as the other."""
    pretend_processor(monkeypatch, SHIPPED_ON, vectors="avx")
    network, said = predicted(capfd)
    assert network["sources"] == {"other processor": pytest.approx(1)}
    assert f"for {SHIPPED_ON} (2 cores, AVX2) from another processor, {SHIPPED_ON} (2 cores, AVX-512)" in said


def test_networks_search_and_api_say_so_too(capfd: pytest.CaptureFixture[str]) -> None:
    assert networks.main([NAME, "--target", "local-cpu", "--resolution", SIZE, "--json"]) == 0
    (network,) = json.loads(capfd.readouterr().out)
    assert network["estimated_latency_ms"]["sources"] == {"other processor": pytest.approx(1)}
    target, architecture = st.load_target("local-cpu"), st.load_architecture(NAME)
    shares = {"other processor": pytest.approx(1)}
    assert st.estimate_latency(architecture, target, (256, 512)).shares == shares
    shipped = shipped_table("local-cpu")
    assert shipped is not None
    table = st.LatencyTable.load(shipped)
    assert st.estimate_latency(architecture, target, (256, 512), table=table).shares == shares
    costs = ChainCosts.of(cost_model(target), get_space("small"), Resolution(256, 512), segmentation_head(19))
    assert costs.sources == shares


@contextmanager
def timed(monkeypatch: pytest.MonkeyPatch, slower: float) -> Iterator[list[str]]:
    """Kernels take so many times what the shipped table says, unmeasured; gives those that were asked for."""
    shipped = shipped_table("local-cpu")
    assert shipped is not None
    table = LatencyTable.load(shipped)
    asked: list[str] = []

    def time(_target: object, kernels: list[object], folder: Path, **_more: object) -> dict[object, float]:
        asked.extend(kernel.key for kernel in kernels)  # type: ignore[attr-defined]
        return {kernel: slower * table.statistics(kernel).median_s for kernel in kernels}  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(work, "time_default_schedules", time)
        yield asked


def test_a_few_kernels_measured_here_scale_the_table_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before, _ = predicted(capfd)
    with timed(monkeypatch, 1.3) as asked:
        network, said = predicted(capfd, "--calibrate")
    assert 8 <= len(asked) == len(set(asked)) <= 16
    assert network["sources"] == {"predicted": pytest.approx(1)}
    assert "1.30 times the latencies of" in said
    ratio = network["latency_ms"]["median"] / before["latency_ms"]["median"]  # type: ignore[index]
    assert ratio == pytest.approx(1.3, rel=1e-6)
    width = [n["latency_ms"]["high"] / n["latency_ms"]["low"] for n in (network, before)]  # type: ignore[index]
    assert width[0] < width[1] / 2
    assert (tmp_path / "results/local-cpu/processor.json").is_file()
    again, _ = predicted(capfd)  # kept
    assert again["latency_ms"] == network["latency_ms"]
    target = st.load_target("local-cpu")
    told = st.estimate_latency(st.load_architecture(NAME), target, (256, 512))
    assert told.shares == {"predicted": pytest.approx(1)}
    pretend_processor(monkeypatch, "AMD EPYC 9654 96-Core Processor")
    moved, said = predicted(capfd)
    assert moved["sources"] == {"other processor": pytest.approx(1)}
    assert f"its calibration is of {EPYC} (2 cores, AVX-512) or of another table, and left out" in said


def test_a_processor_of_the_same_name_can_be_calibrated(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Hypervisors call many processors alike."""
    pretend_processor(monkeypatch, SHIPPED_ON)
    with timed(monkeypatch, 0.8):
        network, said = predicted(capfd, "--calibrate")
    assert network["sources"] == {"predicted": pytest.approx(1)}
    assert "0.80 times the latencies of" in said


def test_a_busy_machine_is_told_to_calibrate_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (9.0, 9.0, 9.0))
    with timed(monkeypatch, 4.0):
        _, said = predicted(capfd, "--calibrate")
    assert "this machine is busy (load 9.0): calibrate once more when it is idle" in said


def test_what_cannot_be_calibrated_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = [NAME, "--resolution", SIZE, "--calibrate"]
    board = [*given, "--target", "jetson-xavier"]
    said = "jetson-xavier is no CPU of this machine with a shipped table; measure it: squeezenas-tvm profile"
    refused_by(predict.main, board, said, capfd)
    own = [*given, "--target", str(quick_target(tmp_path))]
    refused_by(predict.main, own, f"profile --target {tmp_path}/quick-cpu.yaml", capfd)
    table = [*given, "--target", "local-cpu", "--table", str(tmp_path)]
    refused_by(predict.main, table, "--calibrate scales a shipped table: no other --table", capfd)
    shipped = shipped_table("local-cpu")
    assert shipped is not None
    LatencyTable.load(shipped).save(tmp_path / "results/local-cpu", made_by="a test")
    measured = [*given, "--target", "local-cpu"]
    refused_by(predict.main, measured, "was measured here itself; leave --calibrate out", capfd)


def test_too_few_kernels_that_run_are_no_calibration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(work, "time_default_schedules", lambda *_given, **_more: {})
    shipped = shipped_table("local-cpu")
    assert shipped is not None
    said = f"0 of {len(work.chosen_kernels(LatencyTable.load(shipped)))} kernels ran here"
    refused_by(predict.main, [*ARGUMENTS, "--calibrate"], said, capfd, exit_code=1)
    assert not (tmp_path / "results/local-cpu/processor.json").exists()


@pytest.mark.slow
def test_kernels_are_really_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    network = st.predict_network(
        st.load_architecture(NAME), load_target("local-cpu"), (256, 512), calibrate=True
    )
    assert network.sources == {"predicted": pytest.approx(1)}
    assert 0 < network.low_s < network.median_s < network.high_s
    kept = json.loads((tmp_path / "results/local-cpu/processor.json").read_text(encoding="utf-8"))
    assert kept["here"]["name"] == LocalMachine.detect().cpu_model
    assert (tmp_path / "results/local-cpu/measurements.sqlite").is_file()
