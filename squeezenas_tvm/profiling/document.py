"""``SPACE-HxW.json``: what ``profile`` tells of one space at one size when it ends."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from cost_models.kernel_models.accuracy import Errors
from cost_models.kernel_models.hold_outs import HoldOut
from cost_models.profiling.additivity import Ratio
from squeezenas_tvm.errors import UsageError
from targets.support.document import Document


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Entry(_Part):
    """A block or a fixed part: its samples, added up over its kernels; the ends are their percentiles.

    Of kernels that are predicted the ends are those of their intervals.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    samples: int
    kernels: int
    tuned_kernels: int
    estimated_kernels: int
    predicted_kernels: int = 0
    interval_ms: float | None


class Tuning(_Part):
    """Trials of this run, how many of them ran, and seconds; where the time went stands beside."""

    trials: int
    valid: int
    wall_s: float


class Whole(_Part):
    """Blocks timed whole over the sum of their kernels, by caches: ``warm``, ``cold``."""

    ratios: dict[str, Ratio | None]


class Predictions(_Part):
    """The predictor: kernels that it was fitted to, by kind, and its errors on those left out."""

    kernels: dict[str, int]
    families_left_out: dict[str, float]
    hold_outs: dict[str, HoldOut]
    seed: int


class Chosen(_Part):
    """Where not all kernels were to be measured: of all of a space, how many were, and errors of the others.

    Attributes:
        total, measured, predicted: kernels; what neither is failed, and stands in ``missing``.
        left_out: of measured ones, each left out of the fit; None where too few are measured.
    """

    total: int
    measured: int
    predicted: int
    left_out: Errors | None


class HeldOutNetworks(_Part):
    """Networks timed whole: errors of their estimates by the others, and of plain sums."""

    left_out: Errors
    plain_sums: Errors
    origin: str


class ProfileDocument(Document):
    """One profile. Files of before schemas were written are of 1 as well.

    Attributes:
        blocks: by position, by candidate; None where a kernel of it could not be measured.
        fixed: what every network of the space has around its blocks.
        missing: names of entries that are None.
        chosen: None where all kernels were to be measured.
        kernels: how the rows came to be, and how sure they are.
        estimated: reason by kernel, where no schedule works.
        folder: of the measurements.
    """

    WHAT: ClassVar[str] = "the document of a profile"
    SCHEMA: ClassVar[int] = 1
    REFUSAL = UsageError
    AGAIN: ClassVar[str] = "profile again into the same folder: what was measured is kept there, not repeated"

    target: str
    space: str
    resolution: str
    blocks: list[dict[str, Entry | None]]
    fixed: dict[str, Entry | None]
    missing: list[str]
    kernels: dict[str, Any]
    chosen: Chosen | None = None
    estimated: dict[str, str]
    tuning: Tuning
    additivity: Whole | None
    boards: tuple[dict[str, Any], ...] = ()
    predictor: Predictions | None = None
    networks: HeldOutNetworks | None = None
    folder: str
