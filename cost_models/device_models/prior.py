"""A device that nobody has attached: a physical model of a handful of rates, from its data sheet.

A kernel takes the longer of its arithmetic and its traffic, and a launch::

    max(rounded MACs / rate of their class, bytes / bandwidth) + overhead

where channels are rounded up to the steps in which the hardware takes them. Rates come from the peaks in the
target's file; where somebody has published latencies of whole networks, ``calibration`` fits them to these.

Eight networks of one family on one board were told to 4 % in the mean that way, each by the other seven. Such
rates were 42 % off under another run-time of that board, and 3.4 times off under a third, with the order
mostly kept. So a prior ranks and checks plausibility; it never takes the place of a measurement, and says
``prior``.

The bound follows Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
multicore architectures" (CACM 52(4), 2009).
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import ClassVar, Literal

from cost_models.errors import CostModelError, IncompatiblePrior
from cost_models.estimate import OUTSIDE, Estimate, Source, outside
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import BYTES_PER_ELEMENT
from cost_models.ir.ops import Conv2d
from cost_models.network_models.network_model import NetworkModel
from targets import Target
from targets.support.commands import command_line
from targets.support.document import Document

FILE = "prior.json"
CLASSES = ("dense", "depthwise", "grouped")

_BANDWIDTH = 0.7  # of the peak
_LATENCIES, _SHARES = (
    1.5,
    0.1,
)  # how far from the calibration's networks, as a factor and as a share, one is alike


@dataclass(frozen=True, slots=True)
class Reported:
    """A network whose latency somebody has published, as a calibration saw it.

    Attributes:
        left_out_s: what the calibration by the other networks says of it.
        shares: of its predicted time, by ``Kernel.kind``.
    """

    name: str
    measured_s: float
    left_out_s: float
    shares: Mapping[str, float]

    @property
    def error(self) -> float:
        """Of the calibration by the others, as a logarithm: 0.1 is a tenth too much."""
        return math.log(self.left_out_s / self.measured_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """Rates of one target.

    Attributes:
        basis: what was measured there, for people.
        remedy: what to do about kernels that are far from all that was measured; nothing here, where all are.
        macs_per_s: multiply-accumulates a second, by class: ``dense``, ``depthwise``, ``grouped``.
        bytes_per_s: of traffic, bytes counted as in float32.
        overhead_s: of every kernel.
        channel_steps: a group's input and output channels are worked on in multiples of these.
        origin: who says so.
        conditions: under which the published latencies were measured; empty without a calibration.
        networks: that it was calibrated on.
    """

    basis: ClassVar[str] = "nothing measured there by us"
    remedy: ClassVar[str] = ""

    target: str
    macs_per_s: Mapping[str, float]
    bytes_per_s: float
    overhead_s: float
    channel_steps: tuple[int, int]
    origin: str
    conditions: str = ""
    networks: tuple[Reported, ...] = ()

    @staticmethod
    def from_peaks(target: Target, dtype: str = "float32") -> "Prior":
        """Usual shares of a data sheet's peaks.

        Raises:
            CostModelError: the target's file has no peaks for ``dtype``.
        """
        peaks = {str(name): rate for name, rate in target.peaks.gmacs_per_s.items()} if target.peaks else {}
        if target.peaks is None or dtype not in peaks:
            raise CostModelError(
                f"target {target.name}: its file has no peaks for {dtype}, so there is no prior; "
                f"add them, or measure: {command_line('profile', '--target', target.argument)}"
            )
        gpu = target.tvm.get("kind") == "cuda" or bool(target.toolchain and target.toolchain.cuda)
        usual = _GPU if gpu else _CPU
        return Prior(
            target=target.name,
            macs_per_s={name: share * peaks[dtype] * 1e9 for name, share in usual.shares.items()},
            bytes_per_s=_BANDWIDTH * target.peaks.memory_bandwidth_gb_per_s * 1e9,
            overhead_s=usual.overhead_s,
            channel_steps=usual.channel_steps,
            origin=f"usual shares of the target's peaks in {dtype}: {target.peaks.source}",
        )

    def in_type(self, dtype: str, target: Target) -> "Prior":
        """The same device working in another element type.

        Arithmetic is faster as far as the target's peaks are, traffic as far as elements are smaller. Without
        a peak, arithmetic is slower as far as elements are larger.
        """
        smaller = BYTES_PER_ELEMENT["float32"] / BYTES_PER_ELEMENT[dtype]
        peaks = {str(name): rate for name, rate in target.peaks.gmacs_per_s.items()} if target.peaks else {}
        known = {"float32", dtype} <= peaks.keys()
        faster = peaks[dtype] / peaks["float32"] if known else min(smaller, 1.0)
        return replace(
            self,
            macs_per_s={name: rate * faster for name, rate in self.macs_per_s.items()},
            bytes_per_s=self.bytes_per_s * smaller,
            origin=f"{self.origin}; {dtype} by "
            + ("the target's peaks" if known else "the size of an element"),
            networks=(),
        )

    def predict_s(self, kernel: Kernel) -> float:
        """Latency of a kernel, in seconds."""
        macs_s = rounded_macs(kernel, self.channel_steps) / self.macs_per_s[class_of(kernel)]
        return max(macs_s, kernel.bytes_moved / self.bytes_per_s) + self.overhead_s

    def kernels(self, kernels: Sequence[Kernel]) -> list[Estimate | None]:
        """Of each, whatever it is; all of them ``far``: nobody has measured a kernel."""
        return [outside(kernel, self.predict_s(kernel)) for kernel in kernels]

    def network(self, kernels: Sequence[Kernel], *, as_published: bool = False) -> Estimate:
        """Latency of a network, the sum over its kernels; ``far`` where nothing like it was calibrated on.

        Args:
            kernels: as they run.
            as_published: whether it would run as the published networks did (see ``conditions``). Only then
                has a network like them the interval of their left-out errors.
        """
        near = as_published and self._is_like_published(kernels)
        factor = self.error_factor if near else OUTSIDE
        return Estimate.within(sum(map(self.predict_s, kernels)), factor, Source.PRIOR, far=not near)

    def network_model(self) -> NetworkModel:
        """What networks take besides their kernels: nobody knows, so nothing."""
        return NetworkModel()

    @property
    def seen_s(self) -> list[float]:
        """Latencies that it was calibrated on: it would tell these from memory."""
        return [network.measured_s for network in self.networks]

    def digest(self) -> str:
        """Of its rates and where they are from."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def error_factor(self) -> float:
        """The worst left-out error. One more network like those lies within it in n of n + 1 cases."""
        return math.exp(max((abs(n.error) for n in self.networks), default=math.log(OUTSIDE)))

    def _is_like_published(self, kernels: Sequence[Kernel]) -> bool:
        """Whether latency, and the kinds of kernels it goes into, are about as in the published networks."""
        if not self.networks or not kernels:
            return False
        seconds, shares = [n.measured_s for n in self.networks], self.shares(kernels)
        alike = min(seconds) / _LATENCIES < sum(map(self.predict_s, kernels)) < max(seconds) * _LATENCIES
        for kind, share in shares.items():
            seen = [n.shares.get(kind, 0.0) for n in self.networks]
            alike = alike and min(seen) - _SHARES < share < max(seen) + _SHARES
        return alike

    def shares(self, kernels: Sequence[Kernel]) -> dict[str, float]:
        """Share of a network's predicted time by ``Kernel.kind``."""
        seconds: dict[str, float] = {}
        for kernel in kernels:
            seconds[kernel.kind] = seconds.get(kernel.kind, 0.0) + self.predict_s(kernel)
        total_s = sum(seconds.values())
        return {kind: s / total_s for kind, s in sorted(seconds.items())}

    def save(self, path: Path, *, made_by: str) -> None:
        """Write the file.

        Args:
            made_by: the command that makes it again.

        Raises FailedWrite when there is no room, or the place cannot be written.
        """
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        PriorDocument(schema_version=PriorDocument.SCHEMA, made_by=made_by, **told).save(path)

    @staticmethod
    def load(path: Path) -> "Prior":
        """Read a file that ``save`` wrote.

        Raises:
            IncompatiblePrior: not a prior, another schema, or damaged.
        """
        told = PriorDocument.load(path)
        prior = Prior(**{one.name: getattr(told, one.name) for one in fields(Prior)})
        if not prior.is_sound:
            raise IncompatiblePrior(f"{path}: rates and latencies must be above 0; {told.AGAIN}")
        return prior

    @property
    def is_sound(self) -> bool:
        """Whether every class has a rate, and all rates and latencies are above 0 and finite."""
        if self.macs_per_s.keys() != set(CLASSES):
            return False
        numbers = [*(self.macs_per_s[name] for name in CLASSES), self.bytes_per_s, self.overhead_s]
        numbers += [seconds for n in self.networks for seconds in (n.measured_s, n.left_out_s)]
        steps = len(self.channel_steps) == 2 and min(self.channel_steps) >= 1
        return steps and all(math.isfinite(number) and number > 0 for number in numbers)


class PriorDocument(Document):
    """``prior.json``: the fields of ``Prior``."""

    WHAT: ClassVar[str] = "a prior"
    SUMMED: ClassVar[bool] = True
    SCHEMA: ClassVar[int] = 1
    REFUSAL = IncompatiblePrior
    AGAIN: ClassVar[str] = "install squeezenas-tvm again"

    source: Literal["prior"] = "prior"
    target: str
    macs_per_s: dict[str, float]
    bytes_per_s: float
    overhead_s: float
    channel_steps: tuple[int, int]
    origin: str
    conditions: str = ""
    networks: tuple[Reported, ...] = ()


@dataclass(frozen=True)
class _Usual:
    """What kernels reach of a data sheet's peaks."""

    shares: Mapping[str, float]
    overhead_s: float
    channel_steps: tuple[int, int]


_GPU = _Usual({"dense": 0.6, "depthwise": 0.06, "grouped": 0.2}, 15e-6, (32, 1))
_CPU = _Usual({"dense": 0.6, "depthwise": 0.25, "grouped": 0.45}, 2e-6, (1, 8))


def class_of(kernel: Kernel) -> str:
    """The class of a kernel's arithmetic; ``dense`` where there is none."""
    return kernel.work_class if kernel.work_class in CLASSES else "dense"


def rounded_macs(kernel: Kernel, steps: tuple[int, int]) -> float:
    """Multiply-accumulates of a kernel whose channels are worked on in multiples of ``steps``.

    A group's input and output channels are rounded up; of a depthwise convolution, the channels.
    """
    for node in kernel.graph.nodes:
        if isinstance(node.op, Conv2d):
            conv = node.op
            if conv.is_depthwise:
                return kernel.macs * _excess(conv.in_channels, max(steps))
            inputs, outputs = conv.in_channels // conv.groups, conv.out_channels // conv.groups
            return kernel.macs * _excess(inputs, steps[0]) * _excess(outputs, steps[1])
    return float(kernel.work)


def _excess(count: int, step: int) -> float:
    return math.ceil(count / step) * step / count
