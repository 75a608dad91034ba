"""How far the visits that one profile pays to a kernel agree, and what explains where they do not.

    python benchmarks/repeated_visits.py results/local-cpu --json

Reads what a profile kept: schedules that were timed carefully at least twice, minutes apart. Of each, every
two visits after one another are compared: by what share the slower is above the faster. The same after each
visit was divided by the reference kernel's time beside it (what remains is not the clock), of visits that the
reference saw undisturbed, and by how long kernels take. And what a table gains by counting the fastest of
visits: the fastest of the first and second beside the third.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from refusals import run_benchmark

from cost_models.database.records import Measurement
from cost_models.database.store import MeasurementStore
from squeezenas_tvm.cli import table
from squeezenas_tvm.errors import FailedWork

STORE = "measurements.sqlite"
SHORT_S, LONG_S = 50e-6, 500e-6

Visits = Sequence[Measurement]


def visits_of(store: MeasurementStore) -> list[list[Measurement]]:
    """Of each schedule with two or more good timings in one environment, in their order."""
    found = []
    for environment in store.environments():
        for schedules in store.timings(environment).values():
            good = ([one for one in timings if one.error is None] for timings in schedules.values())
            found += [visits for visits in good if len(visits) > 1]
    return found


def summaries(visits: Sequence[Visits]) -> dict[str, dict[str, float]]:
    """Name of a kind of pair -> how many there are and how they agree."""
    pairs = [pair for own in visits for pair in pairwise(own)]
    referred = [pair for pair in pairs if all(one.reference_s for one in pair)]
    kinds: dict[str, list[float]] = {
        "all": _apart(pairs, _median_s),
        "over the reference": _apart(referred, _referred),
        "undisturbed": _apart([p for p in pairs if not any(one.disturbed for one in p)], _median_s),
        "under 50 us": _apart([p for p in pairs if _median_s(p[0]) < SHORT_S], _median_s),
        "50 to 500 us": _apart([p for p in pairs if SHORT_S <= _median_s(p[0]) < LONG_S], _median_s),
        "over 500 us": _apart([p for p in pairs if _median_s(p[0]) >= LONG_S], _median_s),
        "the faster of two, and the third": [
            _ratio(min(map(_median_s, own[:2])), _median_s(own[2])) for own in visits if len(own) > 2
        ],
    }
    return {name: summary(apart) for name, apart in kinds.items() if apart}


def summary(apart: Sequence[float]) -> dict[str, float]:
    """Of slower over faster, less 1."""
    return {
        "pairs": len(apart),
        "median": statistics.median(apart),
        "within_5": sum(share <= 0.05 for share in apart) / len(apart),
        "within_10": sum(share <= 0.1 for share in apart) / len(apart),
    }


def _apart(
    pairs: Iterable[tuple[Measurement, Measurement]], of: Callable[[Measurement], float]
) -> list[float]:
    return [_ratio(of(one), of(other)) for one, other in pairs]


def _ratio(one: float, other: float) -> float:
    return max(one, other) / min(one, other) - 1


def _median_s(visit: Measurement) -> float:
    return visit.median_s


def _referred(visit: Measurement) -> float:
    return visit.median_s / statistics.median(visit.reference_s)


def _text(found: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        [name, str(of["pairs"]), *(f"{100 * of[key]:.1f}" for key in ("median", "within_5", "within_10"))]
        for name, of in found.items()
    ]
    return table(["visits", "pairs", "apart %", "within 5 %", "within 10 %"], rows)


def main() -> None:
    """Read, compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of a profile, with its measurements")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with MeasurementStore.open(args.folder / STORE, create=False) as store:
        visits = visits_of(store)
        machines: list[Any] = [told.get("device") for told in store.environments().values()]
    if not visits:
        raise FailedWork(f"{args.folder}: no kernel was timed twice; profile with --effort standard")
    found = summaries(visits)
    document = {"devices": machines, "schedules": len(visits), "visits": found}
    print(json.dumps(document, indent=2) if args.json else _text(found))


if __name__ == "__main__":
    run_benchmark(main)
