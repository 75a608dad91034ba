"""Statistics of raw samples, in seconds. No TVM, no device.

Medians and their confidence intervals instead of means and standard deviations, since latencies are neither
symmetric nor normal: Hoefler and Belli, "Scientific benchmarking of parallel computing systems" (SC 2015),
rules 5 to 8. All samples are kept; what looks odd is counted and told.
"""

import math
import statistics
from collections import Counter
from collections.abc import Sequence

ENOUGH = 6  # samples for an interval with 95 % confidence
_MAD_TO_SIGMA = 1.4826  # for normal samples the median absolute deviation is 1/1.4826 standard deviations
_FAR = 3.5  # Iglewicz and Hoaglin, "How to detect and handle outliers" (1993)


def median_interval(samples_s: Sequence[float], confidence_percent: int = 95) -> tuple[float, float]:
    """Interval that holds the true median with that confidence or more, whatever the distribution.

    Its ends are samples: the k-th smallest and the k-th largest, with the largest k for which
    ``1 - 2 P(Binomial(n, 1/2) < k)`` is at least 95 %. Up to 5 samples cannot give that, and the interval is
    from the smallest to the largest: 50, 75, 87.5 and 93.75 % for 2 to 5, nothing for a single one. The
    samples are taken to be independent; a disturbance that outlasts them all is not seen here, which is
    why a reference is timed between them.

    Args:
        confidence_percent: whole percents, below 100.

    Source: order-statistics interval of a quantile, e.g. Le Boudec, "Performance evaluation of computer and
    communication systems" (2010), theorem 2.1; Hoefler and Belli (2015), section 3.1.3.
    """
    ordered, n = sorted(samples_s), len(samples_s)
    k, below = 0, 1  # below: 2**n P(Binomial <= k), exact
    while 2 * below * 100 <= (100 - confidence_percent) * 2**n:
        k += 1
        below += math.comb(n, k)
    end = max(k - 1, 0)
    return ordered[end], ordered[n - 1 - end]


def interval_width(samples_s: Sequence[float]) -> float:
    """Seconds between the ends of ``median_interval``; infinite for a single sample, which tells nothing."""
    low, high = median_interval(samples_s)
    return high - low if len(samples_s) > 1 else math.inf


def relative_width(samples_s: Sequence[float]) -> float:
    """``interval_width`` over the median."""
    return interval_width(samples_s) / statistics.median(samples_s)


def outliers(samples_s: Sequence[float]) -> int:
    """How many samples are further than 3.5 scaled median absolute deviations from the median.

    None when more than half of the samples are equal: there is no deviation to compare with.
    """
    median = statistics.median(samples_s)
    distances = [abs(sample - median) for sample in samples_s]
    far = _FAR * _MAD_TO_SIGMA * statistics.median(distances)
    return sum(distance > far for distance in distances) if far else 0


def drift(levels_s: Sequence[float]) -> float:
    """How much slower the slowest level of the reference was than the fastest, as a share of the fastest."""
    return max(levels_s) / min(levels_s) - 1 if levels_s else 0.0


def disturbed_rounds(levels_s: Sequence[float], allowed: float) -> tuple[int, ...]:
    """Rounds with a reference beside them that is more than ``allowed`` (a share) over its fastest level.

    Args:
        levels_s: of the reference before the first round, between rounds and after the last one.
    """
    limit_s = (1 + allowed) * min(levels_s, default=0.0)
    return tuple(i for i in range(len(levels_s) - 1) if max(levels_s[i : i + 2]) > limit_s)


def is_coarse(samples_s: Sequence[float]) -> bool:
    """Whether the clock is too coarse for them: of five samples or more, over half are the same number."""
    most = Counter(samples_s).most_common(1)
    return len(samples_s) >= 5 and most[0][1] > len(samples_s) / 2
