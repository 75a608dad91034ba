"""Costs by name, as counted and as shown."""

import pytest

from search.architecture import load_architecture
from search.costs.objectives import OBJECTIVES, count, shown


def test_counts_of_a_published_network() -> None:
    graph = load_architecture("squeezenas-lat-small").camera_network()
    found = count(graph, {"frame": (1, 1024, 2048, 3)})
    assert list(found) == [name for name in OBJECTIVES if name in found]
    assert found["macs"] / 1e9 == pytest.approx(4.47, abs=0.005)  # table 1 of the paper
    frame, stem = 1024 * 2048 * 3, 16 * 512 * 1024 * 4  # no logits at the image's size
    assert found["memory"] == frame + 2 * stem
    assert found["bytes"] > found["memory"]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("latency", 0.0123456, "12.3 ms"),
        ("memory", 160 * 2**20, "160 MiB of maps alive at once"),
        ("bytes", 1234.5 * 2**20, "1234 MiB moved"),
        ("macs", 999.6e9, "1000 GMACs"),
        ("energy", 0.5, "500 mJ"),
    ],
)
def test_costs_are_shown_in_the_units_of_people(name: str, value: float, text: str) -> None:
    assert shown(name, value) == text
