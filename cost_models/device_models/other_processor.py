"""What was measured on one processor, told of another.

A table is of the processor that it was measured on. Of another one its rows tell a prediction. As long as
nothing was measured there, a core is taken to be as fast as a core, within what processors of one kind differ
by, and more cores to help as much as there are more, or not at all. A few kernels measured there with their
default schedules, which are the same everywhere, tell how much faster or slower it is.
"""

import hashlib
import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cost_models.device_models.fewshot import Vector, interval_factor
from cost_models.errors import IncompatiblePrior
from cost_models.estimate import Estimate, LatencySource, Source
from cost_models.ir.fusion import Kernel
from targets.local_machine import Processor
from targets.support.commands import command_line
from targets.support.document import Document

FILE = "processor.json"
LEAST_KERNELS = 4
UNMEASURED = 3.0  # core for core: vectors of 512 bits or 256, and half as much again by clocks and caches

_BUILT_FOR = {
    "AVX-512": "znver[4-9]|skylake-avx512|skx|(cascade|cooper|cannon|ice|tiger|rocket)lake.*|"
    "(sapphire|emerald|granite|diamond)rapids.*|x86-64-v4",
    "AVX2": "znver[1-3]|haswell|broadwell|skylake|(alder|raptor|meteor|arrow|lunar|panther)lake.*|x86-64-v3",
}
"""Widest vectors -> processors by LLVM's names."""

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherProcessor:
    """How latencies of one processor become those of another.

    Attributes:
        measured_on: what the table is of; None where it does not say.
        here: what is asked about.
        scale: on every latency.
        factor: nine of ten kernels lie within it, either way.
        kernels: how many were measured here; 0: the scale is a guess.
    """

    measured_on: Processor | None
    here: Processor
    scale: float
    factor: float
    kernels: int = 0

    @staticmethod
    def unmeasured(measured_on: Processor | None, here: Processor) -> "OtherProcessor":
        """Where nothing was measured: half way between the gain of all cores and none."""
        gain = 1.0 if measured_on is None else math.sqrt(measured_on.cores / here.cores)
        factor = UNMEASURED * max(gain, 1 / gain)
        return OtherProcessor(measured_on=measured_on, here=here, scale=gain, factor=factor)

    @staticmethod
    def measured(measured_on: Processor | None, here: Processor, ratios: Sequence[float]) -> "OtherProcessor":
        """From kernels that were measured on both: here over there, of each."""
        logs = [math.log(ratio) for ratio in ratios]
        middle = statistics.median(logs)
        return OtherProcessor(
            measured_on=measured_on,
            here=here,
            scale=math.exp(middle),
            factor=interval_factor([log - middle for log in logs]),
            kernels=len(ratios),
        )

    def __str__(self) -> str:
        """Whose latencies these are, one phrase."""
        there = self.measured_on or "one that the table does not name"
        within = f"within a factor of {self.factor:.2g}"
        if not self.kernels:
            return f"predictions for {self.here} from another processor, {there}, {within}"
        return (
            f"predictions for {self.here}, {self.scale:.2f} times the latencies of {there}, as "
            f"{self.kernels} kernels measured here say, {within}"
        )

    def estimate(self, told: Estimate) -> Estimate:
        """The same of this processor. What only a prior tells stays a prior's."""
        below, above = math.log(told.median_s / told.low_s), math.log(told.high_s / told.median_s)
        median_s, own = told.median_s * self.scale, math.log(self.factor)
        source = Source.PREDICTED if self.kernels else Source.ELSEWHERE
        return Estimate(
            median_s,
            median_s * math.exp(-math.hypot(below, own)),
            median_s * math.exp(math.hypot(above, own)),
            Source.PRIOR if told.source is Source.PRIOR else source,
            told.far,
        )

    def widened(self, median_s: Vector, low_s: Vector, high_s: Vector) -> tuple[Vector, Vector, Vector]:
        """Networks, one an entry: what they take besides kernels is known no better than the kernels."""
        return (
            median_s,
            np.minimum(low_s, median_s / self.factor),
            np.maximum(high_s, median_s * self.factor),
        )


@dataclass(frozen=True)
class FromOtherProcessor:
    """A source of another processor's latencies as one of this processor's."""

    source: LatencySource
    processor: OtherProcessor

    def kernels(self, kernels: Sequence[Kernel]) -> list[Estimate | None]:
        """Of each that the source knows."""
        return [told and self.processor.estimate(told) for told in self.source.kernels(kernels)]

    def digest(self) -> str:
        """Of the source's and the scale."""
        return hashlib.sha256(f"{self.source.digest()} {self.processor!r}".encode()).hexdigest()


class TimedKernel(BaseModel):
    """A kernel with its default schedule: what the table says, and what it took here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kernel: str
    there_s: _Seconds
    here_s: _Seconds


class ProcessorDocument(Document):
    """``processor.json``: kernels of a shipped table that were measured on this processor.

    Attributes:
        table: digest of that table.
        at: when it was written, ISO 8601.
    """

    WHAT: ClassVar[str] = "a calibration of this processor"
    SCHEMA: ClassVar[int] = 1
    REFUSAL = IncompatiblePrior
    AGAIN: ClassVar[str] = "remove it, and make it again: " + command_line(
        "predict", "NETWORK", "--target", "local-cpu", "--calibrate"
    )

    target: str
    here: Processor
    table: str
    at: str
    kernels: Annotated[tuple[TimedKernel, ...], Field(min_length=LEAST_KERNELS)]

    def scale(self, measured_on: Processor | None) -> OtherProcessor:
        """What the kernels say together."""
        ratios = [one.here_s / one.there_s for one in self.kernels]
        return OtherProcessor.measured(measured_on, self.here, ratios)


def load_calibration(folder: Path) -> ProcessorDocument | None:
    """What ``predict --calibrate`` left in a folder; None where it never ran. Raises IncompatiblePrior."""
    path = folder / FILE
    return ProcessorDocument.load(path) if path.exists() else None


def processor_of(fingerprint: Mapping[str, object]) -> Processor | None:
    """The processor that a table's environment names; None where it names none."""
    device, cores = fingerprint.get("device"), fingerprint.get("cores")
    if not isinstance(device, str) or not isinstance(cores, int) or cores < 1:
        return None
    return Processor(device, cores, _vectors(str(fingerprint.get("tvm_target", ""))))


def _vectors(tvm_target: str) -> str:
    """As ``Processor.vectors``, by LLVM's name of what TVM built for: TVM need not be asked."""
    try:
        told = json.loads(tvm_target)
    except ValueError:
        return ""
    name = str(told.get("mcpu", "")) if isinstance(told, dict) else ""
    return next((vectors for vectors, names in _BUILT_FOR.items() if re.fullmatch(names, name)), "")
