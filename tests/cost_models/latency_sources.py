"""What every source of latencies must do: subclass ``LatencySourceContract`` and give the four fixtures."""

import math
from collections.abc import Sequence

import pytest

from cost_models.estimate import Estimate, LatencySource, Source
from cost_models.ir.fusion import Kernel


class LatencySourceContract:
    """Tests that hold for any source.

    Fixtures to give: ``source``; ``again``, another object that says the same; ``changed``, one that says
    something else of the known kernels; ``known``, different kernels that it knows.
    """

    @pytest.fixture
    def unknown(self) -> Kernel | None:
        """A kernel that it does not know; None where it tells of all."""
        return None

    def test_known_kernels_have_a_sound_interval(
        self, source: LatencySource, known: Sequence[Kernel]
    ) -> None:
        for told in source.kernels(known):
            assert isinstance(told, Estimate)
            assert 0 < told.low_s <= told.median_s <= told.high_s < math.inf
            assert isinstance(told.source, Source)

    def test_unknown_ones_are_left_to_others(
        self, source: LatencySource, known: Sequence[Kernel], unknown: Kernel | None
    ) -> None:
        assert source.kernels([]) == []
        if unknown is not None:
            (first, nothing, last) = source.kernels([known[0], unknown, known[1]])
            assert nothing is None
            assert [first, last] == source.kernels([known[0], known[1]])

    def test_each_is_told_the_same_in_any_company(
        self, source: LatencySource, known: Sequence[Kernel]
    ) -> None:
        told = source.kernels([*known, known[0]])
        assert told[0] == told[-1]
        for kernel, one in zip(known, told, strict=False):
            (alone,) = source.kernels([kernel])
            assert alone is not None
            assert one is not None
            assert alone.median_s == pytest.approx(one.median_s, rel=1e-12)

    def test_a_digest_is_that_of_the_content(
        self, source: LatencySource, again: LatencySource, changed: LatencySource, known: Sequence[Kernel]
    ) -> None:
        assert source is not again
        assert source.digest() == source.digest() == again.digest()
        assert source.kernels(known) == again.kernels(known)
        assert source.kernels(known) != changed.kernels(known)
        assert source.digest() != changed.digest()
