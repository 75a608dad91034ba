"""``profile.json``: what ``run --profile`` told of a bundle, kept for ``report``."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from squeezenas_tvm.bundles.kernel_times import KernelTimes
from squeezenas_tvm.errors import UsageError
from targets.support.document import Document

PROFILE = "profile.json"
_Number = Annotated[float, Field(ge=0)]
_Rate = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, from_attributes=True)


class TimedKernel(_Part):
    """See ``KernelTime``."""

    kernel: str
    calls: Annotated[int, Field(ge=1)]
    median_ms: _Rate
    share: _Number
    macs: Annotated[int, Field(ge=0)] | None
    bytes_moved: Annotated[int, Field(ge=0)] | None
    roofline_ms: _Number | None


class KnownPeaks(_Part):
    """See ``Peaks``."""

    macs_per_s: _Rate
    bytes_per_s: _Rate
    source: str


class RunProfile(Document):
    """Where the time of a deployed network went.

    Attributes:
        network, target, inputs: of the bundle.
        runs: of which each time is the median.
        whole_ms: of a run without a clock in it.
        overlays: pictures of the run, beside this file.
        kernels: the longest first.
    """

    WHAT: ClassVar[str] = "the profile of a run"
    SUMMED: ClassVar[bool] = True
    SCHEMA: ClassVar[int] = 1
    REFUSAL = UsageError
    AGAIN: ClassVar[str] = "give the run command again, with --profile and the same --out"

    network: str
    target: str
    inputs: list[str]
    runs: Annotated[int, Field(ge=1)]
    whole_ms: _Rate
    overlays: list[str]
    peaks: KnownPeaks | None
    kernels: list[TimedKernel]


def write_profile(out: Path, times: KernelTimes, **about: Any) -> None:
    """Into the folder of the pictures.

    Args:
        about: the other fields of `RunProfile`.

    Raises FailedWrite.
    """
    document = RunProfile(
        schema_version=RunProfile.SCHEMA,
        made_by="run --profile",
        whole_ms=times.whole_ms,
        peaks=KnownPeaks.model_validate(times.peaks) if times.peaks else None,
        kernels=[TimedKernel.model_validate(own) for own in times.kernels],
        **about,
    )
    document.save(out / PROFILE)
