import math
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from cost_models.database.records import BlockTiming, Measurement, ReferenceRun, Trial
from cost_models.errors import InvalidMeasurement


def trial(**found: Any) -> Trial:
    return Trial(schedule="[]", **found)


def measurement(**found: Any) -> Measurement:
    return Measurement(kernel="k", how="default", **found)


def block_timing(**found: Any) -> BlockTiming:
    return BlockTiming(block="b", cache="warm", **found)


def reference_run(**found: Any) -> ReferenceRun:
    return ReferenceRun(board="b", **found)


RESULTS = (trial, measurement, block_timing)


@pytest.mark.parametrize("make", RESULTS)
def test_samples_or_an_error(make: Callable[..., Trial]) -> None:
    assert make(samples_s=(3.0, 1.0, 2.0)).median_s == 2.0
    assert make(error="it broke").median_s == math.inf
    assert make(error="").error == ""
    for neither_or_both in ({}, {"samples_s": (1.0,), "error": "it broke"}):
        with pytest.raises(InvalidMeasurement, match="give samples_s or error, exactly one of them"):
            make(**neither_or_both)


@pytest.mark.parametrize("make", [*RESULTS, reference_run])
@pytest.mark.parametrize("bad", [0.0, -1e-3, math.inf, math.nan])
def test_samples_that_cannot_be_latencies(make: Callable[..., Trial], bad: float) -> None:
    with pytest.raises(InvalidMeasurement, match=rf"samples_s must be finite and > 0 s, found {bad!r}"):
        make(samples_s=(1e-3, bad))


def test_other_numbers_that_cannot_be_latencies() -> None:
    with pytest.raises(InvalidMeasurement, match=r"reference_s must be finite and > 0 s, found -1.0"):
        measurement(samples_s=(1e-3,), reference_s=(1e-3, -1.0))
    with pytest.raises(InvalidMeasurement, match=r"sum_s must be finite and > 0 s, found 0.0"):
        block_timing(samples_s=(1e-3,), sum_s=0.0)
    with pytest.raises(InvalidMeasurement, match="samples_s must hold at least one sample"):
        reference_run(samples_s=())


def test_choices_name_what_is_allowed() -> None:
    with pytest.raises(
        InvalidMeasurement, match="origin must be one of evolution, tiles, transfer; found 'x'"
    ):
        trial(samples_s=(1.0,), origin="x")
    with pytest.raises(InvalidMeasurement, match="how must be one of default, tuned, transferred; found 'x'"):
        Measurement(kernel="k", how="x", samples_s=(1.0,))
    with pytest.raises(InvalidMeasurement, match="cache must be one of warm, cold; found 'x'"):
        BlockTiming(block="b", cache="x", samples_s=(1.0,))


def test_a_reference_run_is_of_now() -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    at = datetime.fromisoformat(reference_run(samples_s=(1.0,)).at)
    assert before <= at <= datetime.now(timezone.utc)
