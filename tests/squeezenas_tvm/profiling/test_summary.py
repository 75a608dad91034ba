"""What profile says of its predictor in words."""

from dataclasses import replace
from pathlib import Path

import pytest

from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.kernel_models.accuracy import Errors
from cost_models.kernel_models.hold_outs import HoldOut
from cost_models.kernel_models.predictor import Predictor
from cost_models.network_models.network_model import NetworkModel
from search.spaces.registry import get_space
from squeezenas_tvm.profiling.measure import Measured
from squeezenas_tvm.profiling.summary import summarize

from ..helpers import SIZE, kernels_of, seconds

GPU = {"device": "board", "dtype": "float32", "tvm_target": '{"kind":"cuda","arch":"sm_72"}'}
TUNING = {"trials": 0, "valid": 0, "wall_s": 0.0, "kernels": {}}
ERRORS = Errors(161, 0.0412, 0.03, 0.661, 0.873, 0.9912, 0.91, 0.02)
RARE = replace(ERRORS, count=7, mape=0.2)


@pytest.fixture(scope="module")
def measured() -> Measured:
    rows = {kernel.key: Row("default", 0, (seconds(kernel),)) for kernel in kernels_of()}
    kernels = kernels_of()[:40]
    predictor = Predictor.fit(kernels, [seconds(kernel) for kernel in kernels], GPU)
    found = {
        "random": HoldOut(("fifth 1", "fifth 4"), 5, ERRORS, {"dense": RARE}),
        "resolution": HoldOut(("360x480",), 1, ERRORS, {"dense": ERRORS}),
    }
    return Measured(LatencyTable("board", GPU, rows), TUNING, None, {}, predictor, found)


def text(measured: Measured, folder: Path) -> str:
    return summarize(measured, kernels_of(), get_space("small"), SIZE, 19, folder).text()


def test_errors_stand_in_a_table_by_what_was_left_out(measured: Measured, tmp_path: Path) -> None:
    lines = text(measured, tmp_path).splitlines()
    start = lines.index("Predictor of other kernels, tried on those that were left out of its fit:")
    table = [line.split() for line in lines[start + 2 : start + 7]]
    assert " ".join(table[0]) == (
        "left out kernels MAPE % % within 5 % % within 10 % Spearman % inside interval"
    )
    assert table[2] == ["random", "fifths", "161", "4.1", "66.1", "87.3", "0.991", "91"]
    assert table[3] == ["dense", "7", "20.0", "66.1", "87.3", "0.991", "91"]
    assert table[4] == ["a", "resolution", "161", "4.1", "66.1", "87.3", "0.991", "91"]


def test_groups_that_were_not_tried_are_told(measured: Measured, tmp_path: Path) -> None:
    said = "Left out, chosen by seed 0: 2 of 5 groups of random (fifth 1, fifth 4)."
    assert said in text(measured, tmp_path)
    whole = {"resolution": measured.hold_outs["resolution"]}
    assert "chosen by seed" not in text(replace(measured, hold_outs=whole), tmp_path)


def test_without_a_predictor_the_reason_is_told(measured: Measured, tmp_path: Path) -> None:
    said = text(replace(measured, predictor=None, hold_outs={}), tmp_path)
    assert "No predictor of other kernels: it needs 10 measured ones. Profile more of them." in said


def test_networks_timed_whole_stand_beside_plain_sums(measured: Measured, tmp_path: Path) -> None:
    assert "Networks (" not in text(measured, tmp_path)
    model = NetworkModel(
        origin="24 networks timed whole on a board",
        errors=replace(ERRORS, count=24),
        plain_errors=replace(ERRORS, count=24, mape=0.3),
    )
    told = summarize(
        replace(measured, network_model=model), kernels_of(), get_space("small"), SIZE, 19, tmp_path
    )
    lines = told.text().splitlines()
    start = lines.index("Networks (24 networks timed whole on a board):")
    assert " ".join(lines[start + 4].split()) == "estimates, each left out 24 4.1 66.1 87.3 0.991 91"
    assert " ".join(lines[start + 5].split()) == "plain sums of kernels 24 30.0 66.1 87.3 0.991 91"
    document = told.document().model_dump(mode="json")
    assert document["networks"]["left_out"]["spearman"] == 0.9912
    assert document["networks"]["plain_sums"]["mape"] == 0.3
