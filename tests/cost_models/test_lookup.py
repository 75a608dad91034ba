"""What is known of a target and where it lies; which other devices a fit learns from."""

import logging
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from cost_models.database.records import How
from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.device_models.prior import Prior
from cost_models.estimate import Source
from cost_models.kernel_models.predictor import Predictor
from cost_models.lookup import (
    cost_model,
    data_sheet,
    find_other,
    find_prior,
    other_devices,
    results_folder,
    shipped_table,
)
from targets import Target, load_target

from .some_kernels import space

ORIN = load_target("jetson-orin")
BOARD = {"device": "some board", "dtype": "float32", "tvm_target": '{"kind":"cuda","arch":"sm_72"}'}


@cache
def _made() -> tuple[LatencyTable, Predictor]:
    kernels = space()
    seconds = [2e-6 + kernel.macs / 50e9 + kernel.bytes_moved / 40e9 for kernel in kernels]
    rows = {k.key: Row(How.DEFAULT, 1, (0.9 * s, s, 1.2 * s)) for k, s in zip(kernels, seconds, strict=True)}
    return LatencyTable("any", BOARD, rows), Predictor.fit(kernels, seconds, BOARD)


def profiled(folder: Path, target: str, *, dtype: str = "float32", predictor: bool = True) -> Path:
    """The folder of a table of some kernels, by a formula."""
    table, fitted = _made()
    fingerprint = {**BOARD, "dtype": dtype}
    replace(table, target=target, fingerprint=fingerprint).save(folder, made_by="a test")
    if predictor:
        replace(fitted, fingerprint=fingerprint).save(folder, made_by="a test")
    return folder


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


def known(target: Target = ORIN, dtype: str = "float32") -> set[str]:
    """Names of the others; whether the shipped table can be read is not what is tested here."""
    return set(other_devices(target, dtype)) - {"local-cpu"}


def test_tables_calibrated_priors_and_the_own_data_sheet(project: Path) -> None:
    profiled(project / "my-board", "my-board")
    assert known() == {"jetson-xavier", "my-board"}
    found = other_devices(ORIN, "float32")
    assert found["jetson-xavier"].table is None
    assert found["my-board"].predictor is not None


def test_a_data_sheet_is_there_where_the_target_has_peaks() -> None:
    assert data_sheet(ORIN, "float32") == Prior.from_peaks(ORIN)
    assert data_sheet(load_target("local-cpu"), "float32") is None


def test_a_device_is_not_its_own_other(project: Path) -> None:
    profiled(project / "jetson-orin", "jetson-orin")
    profiled(project / "renamed", "jetson-orin")
    assert known() == {"jetson-xavier"}
    xavier = load_target("jetson-xavier")
    profiled(project / "jetson-xavier", "jetson-xavier")
    assert other_devices(xavier, "float32")["jetson-xavier"].table is None  # what others published is left
    assert other_devices(ORIN, "float32")["jetson-xavier"].table is not None


def test_what_was_profiled_here_comes_before_what_is_shipped(project: Path) -> None:
    profiled(project / "local-cpu", "local-cpu")
    found = find_other(ORIN, "local-cpu", "float32")
    assert found is not None
    assert found.table is not None
    assert found.table.fingerprint == BOARD


def test_a_table_that_does_not_cost_every_kernel_is_left_out(project: Path) -> None:
    profiled(project / "my-board", "my-board", predictor=False)
    assert "my-board" not in known()


def test_tables_of_another_dtype_are_left_out(project: Path) -> None:
    profiled(project / "my-board", "my-board")
    profiled(project / "my-board-float16", "my-board", dtype="float16")
    assert known() == {"jetson-xavier", "my-board"}
    assert known(dtype="float16") == {"jetson-xavier", "my-board-float16"}


def test_a_damaged_table_is_left_out_and_named(
    project: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("cost_models"), "propagate", True)
    (profiled(project / "my-board", "my-board") / "kernels.csv").write_text("nothing")
    assert "my-board" not in known()
    said = "my-board is left out of the fit: results/my-board/kernels.csv: differs from its checksum"
    assert said in caplog.text


def test_a_prior_that_was_calibrated_on_these_latencies_is_left_out() -> None:
    xavier = load_target("jetson-xavier")
    assert "jetson-xavier" in other_devices(xavier, "float32", [0.0345, 0.1])
    assert "jetson-xavier" not in other_devices(xavier, "float32", [0.03457, 0.1])


def test_an_unknown_name_is_none() -> None:
    assert find_other(ORIN, "nobody", "float32") is None


def test_the_shipped_calibration_is_found_and_says_where_it_is_from() -> None:
    prior = find_prior(load_target("jetson-xavier"))
    assert len(prior.networks) == 8
    assert "arXiv:1908.01748" in prior.origin
    assert "cuDNN 7.3.1" in prior.conditions
    assert find_prior(load_target("jetson-orin")).networks == ()


def test_results_lie_by_target_and_dtype() -> None:
    assert results_folder("jetson-orin") == Path("results/jetson-orin")
    assert results_folder("my/board.yaml", dtype="float16") == Path("results/board-float16")
    assert results_folder("jetson-orin", Path("mine"), "float16") == Path("mine")


def test_a_table_of_ones_own_comes_before_the_shipped_one(project: Path) -> None:
    xavier = load_target("jetson-xavier")
    assert shipped_table("local-cpu") is not None
    assert shipped_table("jetson-xavier") is None
    alone = cost_model(xavier)
    assert (alone.table, alone.predictor, alone.prior) == (None, None, find_prior(xavier))
    profiled(project / "jetson-xavier", "jetson-xavier")
    model = cost_model(xavier)
    assert model.table is not None
    assert model.table.fingerprint == BOARD
    (known,) = model.estimates(space()[:1])
    assert known.source is Source.MEASURED
    assert model.predictor is not None
    assert not model.network_model.calibrated
