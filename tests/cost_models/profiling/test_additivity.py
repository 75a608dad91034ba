"""What the times of whole blocks say of the sums of their kernels."""

import json

import pytest

from cost_models.database.records import BlockTiming
from cost_models.profiling.additivity import Additivity


def timing(block: str, cache: str, whole_ms: float, sum_ms: float | None = 1.0) -> BlockTiming:
    samples_s = tuple(whole_ms * factor / 1e3 for factor in (0.9, 1.0, 1.2))
    return BlockTiming(
        block=block, cache=cache, samples_s=samples_s, sum_s=None if sum_ms is None else sum_ms / 1e3
    )


TIMINGS = [
    timing("large", "warm", 4.4, 4.0),
    timing("large", "cold", 6.0, 4.0),
    timing("small", "warm", 9.9),
    timing("small", "warm", 1.3),  # the newest counts
    BlockTiming(block="small", cache="warm", error="hung", sum_s=1e-3),
    BlockTiming(block="small", cache="cold", error="hung", sum_s=1e-3),
    timing("middle", "warm", 1.8, 2.0),
    timing("middle", "cold", 2.0, 2.0),
    timing("no sum", "warm", 3.0, None),
]


def test_additivity_compares_the_newest_good_timings_with_their_sums() -> None:
    found = Additivity.of(TIMINGS)
    assert [block.block for block in found.blocks] == ["small", "middle", "large"]
    assert [block.ratio("warm") for block in found.blocks] == pytest.approx([1.3, 0.9, 1.1])
    assert found.blocks[0].ratio("cold") is None
    warm, cold = found.ratio("warm"), found.ratio("cold")
    assert warm is not None
    assert cold is not None
    assert (warm.median, warm.low, warm.high, warm.count) == pytest.approx((1.1, 0.9, 1.3, 3))
    assert (cold.median, cold.low, cold.high, cold.count) == pytest.approx((1.25, 1.0, 1.5, 2))


def test_additivity_as_text() -> None:
    lines = Additivity.of(TIMINGS).text().splitlines()
    assert lines[0] == (
        "Whole blocks over the sum of their kernels: warm caches 1.10 (0.90 to 1.30, 3 blocks); "
        "cold caches 1.25 (1.00 to 1.50, 2 blocks)."
    )
    assert lines[-4:] == [
        "block     sum ms   warm   cold",
        "small      1.000   1.30      -",
        "middle     2.000   0.90   1.00",
        "large      4.000   1.10   1.50",
    ]


def test_additivity_as_a_document_goes_through_json() -> None:
    document = json.loads(json.dumps(Additivity.of(TIMINGS).document()))
    assert document["ratios"]["warm"] == pytest.approx({"median": 1.1, "low": 0.9, "high": 1.3, "count": 3})
    small, _, large = document["blocks"]
    assert small["cold_ms"] is None
    assert small["cold_ratio"] is None
    assert (large["sum_ms"], large["warm_ms"], large["cold_ms"]) == pytest.approx((4.0, 4.4, 6.0))
    assert (large["warm_ratio"], large["cold_ratio"]) == pytest.approx((1.1, 1.5))


def test_additivity_of_nothing_says_nothing() -> None:
    nothing = Additivity.of([BlockTiming(block="b", cache="warm", error="hung", sum_s=1e-3)])
    assert nothing.text() == ""
    assert nothing.document() == {"ratios": {"warm": None, "cold": None}, "blocks": []}


def test_additivity_with_warm_timings_alone() -> None:
    text = Additivity.of([timing("b", "warm", 1.0)]).text()
    assert text.startswith("Whole blocks over the sum of their kernels: warm caches 1.00")
    assert "cold caches 1" not in text
