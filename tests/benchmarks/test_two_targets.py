"""Networks that were drawn for one target, costed on another."""

import pytest
from two_targets import LEVELS, Found, compare

from cost_models.lookup import cost_model
from search.costs.chain_costs import ChainCosts
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from targets import load_target

SMALL, LARGE = ("skip",) * 19 + ("k3e1",), ("k3e6",) * 20


@pytest.fixture(scope="module")
def costs() -> ChainCosts:
    model = cost_model(load_target("jetson-xavier"), None)
    return ChainCosts.of(model, get_space("small"), Resolution(64, 128), segmentation_head(11))


def test_the_fastest_of_each_search_that_is_accurate_enough(costs: ChainCosts) -> None:
    cheap = Found("a", SMALL, [SMALL, LARGE], [0.30, 0.40])
    dear = Found("b", LARGE, [LARGE, SMALL], [0.40, 0.20])
    found = compare({"a": cheap, "b": dear}, {"a": costs})
    small, large = (1e3 * float(ms) for ms in costs.total(costs.choices([SMALL, LARGE]))["latency"])
    assert small < large
    assert found["levels_miou_percent"] == pytest.approx([30 + 10 * share for share in LEVELS])
    assert found["a"]["a"] == {
        "chosen_ms": pytest.approx(small),
        "median_ms": pytest.approx((small + large) / 2),
        "fastest_ms": pytest.approx([large] * 3),
    }
    assert found["a"]["b"]["chosen_ms"] == pytest.approx(large)
    assert found["a"]["b"]["fastest_ms"] == pytest.approx([large] * 3)
