"""Latency of a kernel from its work alone: a physical estimate, no better than that.

The estimate is a sum of non-negative terms: an overhead, multiply-accumulates by class of convolution, and
bytes by class of kernel. Such sums of eight terms, fitted to relative errors, describe networks of inverted
residuals to about 1 % on desktop GPUs, 5 % on server CPUs and 10 % on phones after ten measured ones, and
they extrapolate; single kernels tuned by a random search scatter by 15 % and more around them. So the model
judges schedules against each other and fills gaps; it never takes the place of a measurement.

The bound follows Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
multicore architectures" (CACM 52(4), 2009), with measured rates in place of the data sheet's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel

_GOOD = 0.8  # of the donor's efficiency: a kernel that is slower than that by a quarter is worth a search
_SLOW = 1.5  # times what the model says of kernels of its sort: whole families of schedules are that bad
_TOLERANCE = 1e-12

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class PhysicalModel:
    """Rates of one target, fitted to measured kernels.

    Attributes:
        costs_s: seconds a unit of each term, none below 0: of ``overhead`` a kernel, of ``macs.KIND`` a
            multiply-accumulate, of ``bytes.CLASS`` a byte. Only terms that occurred. Bytes are counted as in
            float32, whatever type was measured: a model holds for the type that it was fitted to.
        rates: highest multiply-accumulates a second that a kernel of each kind reached, or values compared
            (``compared``).
        bandwidth: highest bytes a second that any kernel reached.
        overhead_s: what a kernel costs however small it is; never more than the fastest measured one.
    """

    costs_s: Mapping[str, float]
    rates: Mapping[str, float]
    bandwidth: float
    overhead_s: float

    @staticmethod
    def fit(kernels: Sequence[Kernel], seconds: Sequence[float]) -> "PhysicalModel":
        """Least squares of relative errors.

        Args:
            seconds: latency of each kernel.

        Raises:
            CostModelError: no kernels, another number of latencies, or one that is not above 0 and finite.
        """
        if not kernels or len(kernels) != len(seconds):
            raise CostModelError(
                f"a physical model needs measured kernels and a latency of each, "
                f"found {len(kernels)} kernels and {len(seconds)} latencies"
            )
        bad = [s for s in seconds if not (math.isfinite(s) and s > 0)]
        if bad:
            raise CostModelError(f"latencies must be finite and > 0 s, found {bad[0]!r}; leave failures out")
        amounts = [_terms(kernel) for kernel in kernels]
        terms = sorted({term for amount in amounts for term in amount})
        relative = np.array(
            [[a.get(t, 0.0) / s for t in terms] for a, s in zip(amounts, seconds, strict=True)]
        )
        scale = np.linalg.norm(relative, axis=0)
        costs = solve_non_negative(relative / scale, np.ones(len(kernels))) / scale
        costs_s = dict(zip(terms, costs.tolist(), strict=True))
        rates: dict[str, float] = {}
        for kernel, s in zip(kernels, seconds, strict=True):
            if amount := kernel.macs or kernel.compared:
                rates[_kind(kernel)] = max(rates.get(_kind(kernel), 0.0), amount / s)
        return PhysicalModel(
            costs_s=costs_s,
            rates=rates,
            bandwidth=max(k.bytes_moved / s for k, s in zip(kernels, seconds, strict=True)),
            overhead_s=min(costs_s["overhead"], *seconds),
        )

    def predict_s(self, kernel: Kernel) -> float:
        """Expected latency. Work of a kind that was never measured is taken to be as slow as the slowest."""
        return sum(amount * self._cost_s(term) for term, amount in _terms(kernel).items())

    def _cost_s(self, term: str) -> float:
        if term in self.costs_s:
            return self.costs_s[term]
        sort = term.partition(".")[0]
        return max((cost for other, cost in self.costs_s.items() if other.startswith(sort)), default=0.0)

    def bound_s(self, kernel: Kernel) -> float:
        """The least latency that the best measured rates of its kind allow."""
        fastest = self.rates.get(_kind(kernel), max(self.rates.values(), default=math.inf))
        return max(
            self.overhead_s, (kernel.macs or kernel.compared) / fastest, kernel.bytes_moved / self.bandwidth
        )

    def expected_s(self, kernel: Kernel, donor: Kernel, donor_s: float) -> float:
        """Latency of a kernel that is as efficient as its donor, measured at ``donor_s``."""
        return self.predict_s(kernel) * donor_s / self.predict_s(donor)


def lost_s(kernel: Kernel, seconds: float, donor: Kernel, donor_s: float, model: PhysicalModel) -> float:
    """Seconds that a kernel with a borrowed schedule clearly wastes; 0 where it does not.

    Clearly: it needs a quarter more than with its donor's efficiency, or half more than kernels of its sort
    do, and that is more than an overhead; tiny kernels consist of little else, and their differences are
    noise. The second rule finds those whose donor is no better: some families suit a schedule template badly.
    """
    as_donor_s, usual_s = model.expected_s(kernel, donor, donor_s), model.predict_s(kernel)
    wasted = [seconds - as_donor_s] if seconds * _GOOD > as_donor_s else []
    wasted += [seconds - usual_s] if seconds > _SLOW * usual_s else []
    return max((waste for waste in wasted if waste > model.overhead_s), default=0.0)


def _terms(kernel: Kernel) -> dict[str, float]:
    """Amounts of work that add up to a kernel's latency."""
    kind, amount = _kind(kernel), kernel.macs or kernel.compared
    traffic = kernel.kind if kernel.kind in ("depthwise", "memory") else "convolution"
    terms = {"overhead": 1.0, f"bytes.{traffic}": float(kernel.bytes_moved)}
    return terms | ({f"macs.{kind}": float(amount)} if amount else {})


def _kind(kernel: Kernel) -> str:
    """Of its arithmetic: comparisons are one of their own."""
    return "compared" if kernel.compared and not kernel.macs else kernel.kind


def solve_non_negative(matrix: Vector, wanted: Vector, start: Vector | None = None) -> Vector:
    """The x >= 0 with the least ``|matrix @ x - wanted|``: active sets as in Lawson and Hanson (1974).

    By the products of columns alone, so that rows cost nothing (Bro and de Jong, J. Chemometrics 11, 1997).
    Not SciPy's: 1.15, the last for Python 3.10, now and then stops short of the least, and 1.17 aborts the
    process where there is no column.

    Args:
        start: an x >= 0 to begin at; that of a problem much alike saves most of the work.
    """
    count = matrix.shape[1]
    products, along = matrix.T @ matrix, matrix.T @ wanted
    x = np.zeros(count) if start is None else start
    free = x > 0
    for _ in range(3 * count):
        while free.any():
            best = np.zeros(count)
            best[free] = np.linalg.lstsq(products[np.ix_(free, free)], along[free], rcond=None)[0]
            below = free & (best <= 0)
            if not below.any():
                x = best
                break
            step = float(np.min(x[below] / np.maximum(x[below] - best[below], _TOLERANCE)))
            x = x + min(step, 1.0) * (best - x)
            free &= x > _TOLERANCE
            x[~free] = 0.0
        gain = np.where(free, -math.inf, along - products @ x)
        if gain.max() <= _TOLERANCE * len(wanted):
            break
        free[gain.argmax()] = True
    return x
