"""Predictions from Python: every field agrees with the cost model that is asked."""

import logging

import pytest

from cost_models.cost_model import CostModel
from cost_models.lookup import find_prior
from search.architecture import load_architecture
from squeezenas_tvm.bundles.network_files import is_onnx
from squeezenas_tvm.predicting.predict import network_of, predict_network
from targets import load_target

from ..helpers import NAME, SIZE


@pytest.fixture(scope="module")
def model() -> CostModel:
    return CostModel("jetson-xavier", prior=find_prior(load_target("jetson-xavier")))


def test_what_the_model_says(model: CostModel, caplog: pytest.LogCaptureFixture) -> None:
    network = network_of(load_architecture(NAME), SIZE)
    with caplog.at_level(logging.INFO, logger="squeezenas_tvm"):
        told = predict_network(network, model, power_w=20.0)
    total = model.network(network.kernels)
    assert (told.median_s, told.low_s, told.high_s) == (total.median_s, total.low_s, total.high_s)
    assert told.energy_j == pytest.approx(20 * told.median_s)
    assert sum(kernel.calls for kernel in told.kernels) == total.kernels
    assert sum(kernel.calls * kernel.median_s for kernel in told.kernels) == pytest.approx(told.median_s)
    assert {kernel.source for kernel in told.kernels} == {"prior"}
    assert told.planned_memory_bytes >= told.peak_memory_bytes > 0
    assert caplog.messages == []  # all of it is a prior's: its origin says so


def test_the_usual_resolution_is_the_published_one() -> None:
    assert network_of(load_architecture(NAME)).resolution == "1024x2048"


@pytest.mark.parametrize(("name", "told"), [("net.onnx", True), ("NET.ONNX", True), ("net.yaml", False)])
def test_which_files_are_onnx(name: str, told: bool) -> None:
    assert is_onnx(name) is told
