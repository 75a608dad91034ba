"""The shipped prior of Xavier is what its command makes, and tells networks that it has not seen."""

import json
import math
import statistics

import numpy as np
import pytest
from calibrate_prior import COMMAND, SHIPPED, as_text, calibrated

from cost_models.device_models.prior import Prior
from cost_models.kernel_models.accuracy import spearman
from search.architecture import load_architecture


@pytest.fixture(scope="module")
def prior() -> Prior:
    return calibrated()


def test_the_shipped_file_is_what_the_command_makes(prior: Prior) -> None:
    shipped = Prior.load(SHIPPED)
    assert shipped.channel_steps == prior.channel_steps
    assert shipped.macs_per_s == pytest.approx(prior.macs_per_s, rel=1e-4)
    assert (shipped.bytes_per_s, shipped.overhead_s) == pytest.approx(
        (prior.bytes_per_s, prior.overhead_s), rel=1e-4
    )
    assert (shipped.origin, shipped.conditions) == (prior.origin, prior.conditions)
    assert json.loads(SHIPPED.read_text())["made_by"] == COMMAND


def test_left_out_networks_are_told_to_a_tenth() -> None:
    networks = Prior.load(SHIPPED).networks
    assert len(networks) == 8
    errors = [abs(math.exp(network.error) - 1) for network in networks]
    assert statistics.fmean(errors) < 0.10
    assert max(errors) < 0.20
    told, measured = np.array([(n.left_out_s, n.measured_s) for n in networks]).T
    assert spearman(told, measured) > 0.9


@pytest.mark.parametrize("size", ["small", "large", "xlarge"])
def test_networks_searched_for_latency_are_faster_as_published(size: str) -> None:
    told = {network.name: network for network in Prior.load(SHIPPED).networks}
    lat, mac = told[f"squeezenas-lat-{size}"], told[f"squeezenas-mac-{size}"]
    assert lat.measured_s < mac.measured_s
    assert lat.left_out_s < mac.left_out_s


def test_latencies_are_those_of_the_shipped_architectures(prior: Prior) -> None:
    for network in prior.networks:
        (result,) = load_architecture(network.name).results
        assert result.latency_ms == pytest.approx(1e3 * network.measured_s)


def test_the_text_names_rates_and_errors(prior: Prior) -> None:
    text = as_text(prior)
    assert "GMAC/s: dense" in text
    assert "squeezenas-mac-xlarge        156.41" in text
    assert "left out: mean error" in text
