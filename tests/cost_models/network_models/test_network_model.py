"""What a network takes beyond the sum of its kernels: the numbers, their files, and who refuses them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cost_models.database.network_records import About, WholeNetwork
from cost_models.errors import IncompatibleNetworkModel
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.ir.ops import Concat, Conv2d
from cost_models.kernel_models.accuracy import Errors
from cost_models.network_models.network_model import MODEL, NETWORKS, NetworkModel, cold_bytes, load_networks

from ..some_kernels import argmax, convolution, depthwise, frame

HERE = {"device": "board", "dtype": "float32"}
ERRORS = Errors(24, 0.02, 0.015, 0.95, 1.0, 0.99, 0.92, 0.0)
MODEL_OF_A_BOARD = NetworkModel(
    fingerprint=HERE,
    scale={"pointwise": 1.1, "depthwise": 1.3, "memory": 1.2},
    gap_s=1e-5,
    cold_s_per_byte=1e-10,
    overhead_s=2e-4,
    width=0.1,
    range_s=(3e-3, 6e-3),
    origin="24 networks timed whole on a board",
    errors=ERRORS,
    plain_errors=replace(ERRORS, median=0.2),
    left_out=(0.01, -0.02),
)
WHOLE = [WholeNetwork(About("squeezenas-small", ("skip",), 19, (64, 128)), ((1e-3, 2e-3),), 1e-3)]


def test_without_networks_it_is_the_plain_sum() -> None:
    plain, kernel = NetworkModel(), convolution(16, 32, 20, 40)
    assert not plain.calibrated
    assert plain.kernel_s(kernel, 1e-4) == 1e-4
    ends = plain.network_s(np.array([3e-3]), np.array([2e-3]), np.array([5e-3]))
    assert [float(end[0]) for end in ends] == pytest.approx([3e-3, 2e-3, 5e-3])
    assert str(plain) == "sums of kernels, without what happens between them"


def test_the_overhead_of_a_few_kernels_is_in_proportion() -> None:
    overheads_s = {count: MODEL_OF_A_BOARD.of_a_file(count).overhead_s for count in (1, 20, 40, 400)}
    assert overheads_s == pytest.approx({1: 5e-6, 20: 1e-4, 40: 2e-4, 400: 2e-4})
    assert MODEL_OF_A_BOARD.of_a_file(1).kernel_s(convolution(16, 32, 20, 40), 1e-4) > 1e-4


def test_a_kernel_adds_its_scaled_time_the_gap_and_what_is_cold() -> None:
    kernel = convolution(16, 32, 20, 40)
    weights = 4 * (16 * 32 + 32)
    assert cold_bytes(kernel) == weights + 4 * 16 * 20 * 40
    told = MODEL_OF_A_BOARD.kernel_s(kernel, 1e-4)
    assert told == pytest.approx(1.1 * 1e-4 + 1e-5 + 1e-10 * cold_bytes(kernel))
    assert MODEL_OF_A_BOARD.kernel_s(depthwise(16, 20, 40), 0.0) < MODEL_OF_A_BOARD.kernel_s(kernel, 0.0)


def test_cold_bytes_are_of_the_types_that_kernels_read() -> None:
    assert cold_bytes(frame(20, 40)) == 3 * 20 * 40
    assert cold_bytes(argmax(20, 40)) == 4 * 19 * 20 * 40


def test_kinds_that_no_network_had_are_scaled_as_is_usual() -> None:
    grouped = convolution(16, 16, 20, 40, groups=2)
    fixed_s = MODEL_OF_A_BOARD.kernel_s(grouped, 0.0)
    assert MODEL_OF_A_BOARD.kernel_s(grouped, 1e-3) - fixed_s == pytest.approx(1.2e-3)


def test_overlap_takes_from_the_sum_towards_the_critical_path() -> None:
    net = GraphBuilder()
    left, right = net.conv_bn("left", Conv2d(8, 8), "x"), net.conv_bn("right", Conv2d(8, 16), "x")
    graph = KernelGraph.of(net.build(net.add("both", Concat(), left, right)), {"x": (1, 8, 16, 16)})
    seconds = [2e-3, 5e-3, 1e-3]
    assert NetworkModel().sum_s(graph, seconds, seconds) == pytest.approx(8e-3)
    assert NetworkModel(overlap=1.0).sum_s(graph, seconds, seconds) == pytest.approx(6e-3)
    assert NetworkModel(overlap=0.25).sum_s(graph, seconds, seconds) == pytest.approx(7.5e-3)


def test_the_interval_holds_both_errors_and_widens_beyond_the_networks_it_knows() -> None:
    sums = np.array([4e-3, 40e-3])
    medians, lows, highs = MODEL_OF_A_BOARD.network_s(sums, sums / 1.1, sums * 1.2)
    assert medians == pytest.approx(sums + 2e-4)
    assert math.log(medians[0] / lows[0]) == pytest.approx(math.hypot(0.1, math.log(1.1)))
    assert math.log(highs[0] / medians[0]) == pytest.approx(math.hypot(0.1, math.log(1.2)))
    beyond = 0.1 * (1 + math.log2(40.2 / 6))
    assert math.log(highs[1] / medians[1]) == pytest.approx(math.hypot(beyond, math.log(1.2)))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    MODEL_OF_A_BOARD.save(tmp_path, WHOLE, made_by="a test")
    assert NetworkModel.load(tmp_path, fingerprint=HERE) == MODEL_OF_A_BOARD
    assert load_networks(tmp_path) == WHOLE
    document = json.loads((tmp_path / MODEL).read_text(encoding="utf-8"))
    assert (document["made_by"], document["schema_version"]) == ("a test", 2)
    assert document["errors"]["median"] == 0.015
    assert str(MODEL_OF_A_BOARD) == (
        "sums of kernels and what happens between them, calibrated on 24 networks timed whole on a board "
        "(median error of those left out 1.5%)"
    )


def test_networks_from_files_have_a_calibration_of_their_own(tmp_path: Path) -> None:
    of_files = replace(MODEL_OF_A_BOARD, width=0.3, overhead_s=4e-4, left_out=(0.2,))
    model = replace(MODEL_OF_A_BOARD, files=of_files)
    assert model.of_a_file(400) == of_files
    assert model.of_a_file(20).overhead_s == 2e-4
    assert model.by_others() == [(0.01, 0.1), (-0.02, 0.1), (0.2, 0.3)]
    twice = model.scaled(2.0)
    assert (twice.overhead_s, twice.of_a_file(400).overhead_s) == (4e-4, 8e-4)
    model.save(tmp_path, WHOLE, made_by="a test")
    assert NetworkModel.load(tmp_path, fingerprint=HERE) == model
    document = json.loads((tmp_path / MODEL).read_text(encoding="utf-8"))
    change(tmp_path, files=document["files"] | {"overlap": 2.0})
    refused(tmp_path, "network.json: numbers below 0, or no range; profile again")
    change(tmp_path, files=None, schema_version=1)
    assert NetworkModel.load(tmp_path, fingerprint=HERE) == MODEL_OF_A_BOARD


def change(folder: Path, **changes: object) -> None:
    path = folder / MODEL
    document = json.loads(path.read_text(encoding="utf-8"))
    document["sha256"].pop(MODEL, None)  # as in documents of older releases
    path.write_text(json.dumps(document | changes), encoding="utf-8")


def refused(folder: Path, words: str) -> None:
    with pytest.raises(IncompatibleNetworkModel, match=words) as caught:
        NetworkModel.load(folder, fingerprint=HERE)
    assert "\n" not in str(caught.value)


def test_another_environment_is_refused(tmp_path: Path) -> None:
    replace(MODEL_OF_A_BOARD, fingerprint=HERE | {"device": "other"}).save(tmp_path, WHOLE, made_by="a test")
    refused(tmp_path, "calibrated in another environment: device 'other' instead of 'board'; profile again")


def test_another_schema_and_damage_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, "network.json: a calibration of networks cannot be read .*; profile again .*--networks")
    MODEL_OF_A_BOARD.save(tmp_path, WHOLE, made_by="a test")
    change(tmp_path, schema_version=3)
    refused(tmp_path, "schema 3, this program reads 1 to 2; update squeezenas_tvm, or profile again")
    for changes in (
        {"gap_s": -1.0},
        {"overlap": 2.0},
        {"scale": {"dense": math.nan}},
        {"range_s": [2, 1]},
        {"x": 1},
    ):
        MODEL_OF_A_BOARD.save(tmp_path, WHOLE, made_by="a test")
        change(tmp_path, **changes)
        refused(tmp_path, "network.json: .*; profile again")
    MODEL_OF_A_BOARD.save(tmp_path, WHOLE, made_by="a test")
    (tmp_path / NETWORKS).write_text("space\n", encoding="utf-8")
    refused(tmp_path, "networks.csv: differs from its checksum in network.json; profile again")
    (tmp_path / NETWORKS).write_text("blocks\nskip\n", encoding="utf-8")
    with pytest.raises(IncompatibleNetworkModel, match="no table of measured networks"):
        load_networks(tmp_path)


@pytest.mark.parametrize(
    "value", ["NaN", "-Infinity", "1e999", '"fast"', "-1", "null", "[" * 100_000, "1" * 400]
)
@pytest.mark.parametrize("field", ["gap_s", "overhead_s", "width", "cold_s_per_byte"])
def test_numbers_that_are_none_are_refused_with_the_files_name(
    field: str, value: str, tmp_path: Path
) -> None:
    MODEL_OF_A_BOARD.save(tmp_path, WHOLE, made_by="test")
    document = json.loads((tmp_path / MODEL).read_text())
    document["sha256"].pop(MODEL)
    text = json.dumps(document | {field: "HERE"}).replace('"HERE"', value)
    (tmp_path / MODEL).write_text(text)
    with pytest.raises(IncompatibleNetworkModel, match=rf"{MODEL}: .*profile again"):
        NetworkModel.load(tmp_path, fingerprint=HERE)


def test_a_file_of_few_kernels_is_no_faster_than_they_are_alone() -> None:
    """Scales are of whole networks: what is below 1 is so in proportion to the number of kernels."""
    model = replace(NetworkModel(), scale={"dense": 0.8, "pointwise": 1.1})
    assert model.of_a_file(1).scale["dense"] > 0.99
    assert model.of_a_file(1).scale["pointwise"] == 1.1
    assert model.of_a_file(1000).scale == model.scale
    own = replace(model, files=model)
    assert own.of_a_file(1).scale == model.scale
