"""Whole blocks beside the sums of their kernels: how far the times of single kernels add up."""

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from cost_models.database.records import BlockTiming
from cost_models.runner.module_runner import CACHES, Cache


@dataclass(frozen=True, slots=True)
class WholeBlock:
    """A block timed whole, beside the sum of its kernels timed one by one with warm caches.

    Attributes:
        warm, cold: with ``sum_s`` and without error; None where there is no such timing.
    """

    block: str
    warm: BlockTiming | None
    cold: BlockTiming | None

    @property
    def sum_s(self) -> float:
        """Of the warm timing where there is one."""
        return next(timing.sum_s for timing in (self.warm, self.cold) if timing and timing.sum_s)

    def ratio(self, cache: Cache) -> float | None:
        """Whole block over the sum of its kernels at that time; above 1 the sum promises too little."""
        timing = self.warm if cache == "warm" else self.cold
        return timing.median_s / timing.sum_s if timing and timing.sum_s else None


@dataclass(frozen=True, slots=True)
class Ratio:
    """Whole over sum, of ``count`` blocks: median and range."""

    median: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f}, {self.count} blocks)"


@dataclass(frozen=True, slots=True)
class Additivity:
    """How far the times of single kernels add up to those of whole blocks; the smallest block first."""

    blocks: tuple[WholeBlock, ...]

    @classmethod
    def of(cls, timings: Iterable[BlockTiming]) -> "Additivity":
        """From timings, oldest first: the newest good one of a block and a cache counts.

        Failed ones, and those without the sum of the kernels, are left out.
        """
        newest = {(t.block, t.cache): t for t in timings if t.sum_s is not None and t.error is None}
        names = dict.fromkeys(block for block, _ in newest)
        blocks = [WholeBlock(name, newest.get((name, "warm")), newest.get((name, "cold"))) for name in names]
        return cls(tuple(sorted(blocks, key=lambda block: block.sum_s)))

    def ratio(self, cache: Cache) -> Ratio | None:
        """Over all blocks that have it; None where none has."""
        found = [ratio for block in self.blocks if (ratio := block.ratio(cache)) is not None]
        return Ratio(statistics.median(found), min(found), max(found), len(found)) if found else None

    def text(self) -> str:
        """For people: what the ratios are and mean, then one line a block. Empty without blocks."""
        if not self.blocks:
            return ""
        summary = [f"{cache} caches {ratio}" for cache in CACHES if (ratio := self.ratio(cache))]
        width = max(len("block"), *(len(block.block) for block in self.blocks))
        lines = [
            f"Whole blocks over the sum of their kernels: {'; '.join(summary)}.",
            "Warm: the block run after run; cold: caches overwritten before every run.",
            "Inside a network a block is between the two.",
            f"{'block':<{width}}  {'sum ms':>8}  {'warm':>5}  {'cold':>5}",
        ]
        for block in self.blocks:
            warm, cold = (_two_digits(block.ratio(cache)) for cache in CACHES)
            lines.append(f"{block.block:<{width}}  {block.sum_s * 1e3:8.3f}  {warm:>5}  {cold:>5}")
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """For machines: latencies in ms, ratios as they are; null where there is none."""
        ratios = {cache: self.ratio(cache) for cache in CACHES}
        return {
            "ratios": {cache: asdict(ratio) if ratio else None for cache, ratio in ratios.items()},
            "blocks": [
                {
                    "block": block.block,
                    "sum_ms": block.sum_s * 1e3,
                    "warm_ms": block.warm.median_s * 1e3 if block.warm else None,
                    "cold_ms": block.cold.median_s * 1e3 if block.cold else None,
                    "warm_ratio": block.ratio("warm"),
                    "cold_ratio": block.ratio("cold"),
                }
                for block in self.blocks
            ],
        }


def _two_digits(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
