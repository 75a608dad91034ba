"""Estimates of what was not measured as it is asked: another element type, schedules that nobody tuned."""

from dataclasses import dataclass
from typing import Protocol

from cost_models.estimate import Estimate, Source
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import BYTES_PER_ELEMENT

_OTHER_TYPE = 2.0  # either way: what another element type does beside the size of its maps is not known

# Of default to tuned schedules, and how far off that is either way; on two cores with AVX-512
_TEMPLATE = (1.2, 1.5)  # convolutions have a template; 39 kernels, 1.0 to 1.3 for nine of ten
_PRODUCTS = (1.3, 2.0)  # products of matrices, too: 57 to 93 % of the peak (docs/operators.md)
_GPU = (4.0, 4.0)  # those for GPUs were made without one, and nobody has measured any, so a guess


class Adjustment(Protocol):
    """What is asked beside what was measured."""

    @property
    def note(self) -> str:
        """What is done to the estimates, a phrase."""
        ...

    def __call__(self, kernel: Kernel, told: Estimate) -> Estimate:
        """The estimate as it is asked for."""
        ...


@dataclass(frozen=True)
class OtherType:
    """Latencies of one element type, told by those of another: longer as far as its maps are larger.

    Attributes:
        asked, known: element types.
    """

    asked: str
    known: str

    @property
    def note(self) -> str:
        return f"{self.asked} is told by latencies of {self.known}, since none of its own are known"

    def __call__(self, kernel: Kernel, told: Estimate) -> Estimate:
        larger = max(1.0, BYTES_PER_ELEMENT[self.asked] / BYTES_PER_ELEMENT[self.known])
        return _times(told, larger, _OTHER_TYPE)


@dataclass(frozen=True)
class DefaultSchedules:
    """Kernels as they run without tuning.

    Attributes:
        gpu: by the rules for GPUs.
    """

    gpu: bool

    @property
    def note(self) -> str:
        return "latencies are of default schedules" + (", by guess: none was measured" if self.gpu else "")

    def __call__(self, kernel: Kernel, told: Estimate) -> Estimate:
        if kernel.steps or not kernel.macs:  # such kernels were measured and fitted as they run by default
            return told
        products = kernel.is_foreign and not kernel.label.startswith("conv")
        return _times(told, *(_GPU if self.gpu else _PRODUCTS if products else _TEMPLATE))


def _times(told: Estimate, factor: float, width: float) -> Estimate:
    """Scaled and wider; no longer measured."""
    source = Source.PREDICTED if told.source == Source.MEASURED else told.source
    median_s, low_s, high_s = (end_s * factor for end_s in (told.median_s, told.low_s, told.high_s))
    return Estimate(median_s, low_s / width, high_s * width, source, told.far)
