from typing import Any

import pytest

from cost_models.errors import CostModelError
from cost_models.tuning.effort import EFFORTS, MANY, Effort


def test_efforts_grow() -> None:
    assert list(EFFORTS) == ["quick", "standard", "thorough"]
    totals = [effort.total(161) for effort in EFFORTS.values()]
    assert totals == sorted(totals)
    assert all(name == effort.name for name, effort in EFFORTS.items())


def test_quick_is_done_in_five_minutes_on_two_cores() -> None:
    """At 200 trials a minute and with two careful timings of 0.4 s for each kernel of Small."""
    assert EFFORTS["quick"].total(161) / 200 * 60 + 161 * 2 * 0.4 < 300


def test_standard_takes_less_than_a_fifth_of_searching_every_kernel_alone() -> None:
    """Less, because small design spaces run dry: thorough then tries 9530 schedules of 10304."""
    assert EFFORTS["thorough"].transfers == 0
    assert EFFORTS["standard"].total(161) <= EFFORTS["thorough"].total(161) * (9530 / 10304) / 5


def test_of_many_kernels_some_are_measured_unless_somebody_is_thorough() -> None:
    measured = {
        name: [effort.measured(count) for count in (161, MANY, 466)] for name, effort in EFFORTS.items()
    }
    assert measured == {
        "quick": [161, MANY, 120],
        "standard": [161, MANY, 240],
        "thorough": [161, MANY, 466],
    }
    assert Effort.alone(4).measured(466) == 466


def test_alone_searches_every_kernel() -> None:
    effort = Effort.alone(20)
    assert (effort.trials, effort.transfers, effort.anchors, effort.budget) == (20, 0, 1.0, 1.0)
    assert effort.total(7) == 140
    assert Effort.alone(0).total(7) == 0


def test_the_total_is_never_less_than_one_search() -> None:
    effort = Effort(name="e", trials=64, transfers=4, anchors=0.1, budget=0.2)
    assert [effort.total(kernels) for kernels in (0, 1, 4, 10)] == [0, 64, 64, 128]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trials": -1}, "effort e: trials must be >= 0, found -1"),
        ({"trials": 8, "transfers": -2}, "effort e: transfers must be >= 0, found -2"),
        ({"trials": 8, "visits": 0}, "effort e: visits must be >= 1, found 0"),
        ({"trials": 8, "anchors": 0.0}, "anchors is a share, above 0 and at most 1, found 0.0"),
        ({"trials": 8, "budget": 1.5}, "budget is a share, above 0 and at most 1, found 1.5"),
        (
            {"trials": 8, "transfers": 4, "budget": 0.25},
            "4 transfers a kernel are more than the budget of 2 trials a kernel; lower transfers or raise",
        ),
    ],
)
def test_amounts_without_meaning_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(CostModelError, match=message):
        Effort(name="e", **values)
