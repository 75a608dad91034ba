"""Finished parts of ``tuning_throughput.py``, and what they come to."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from records import Records

from cost_models.ir.fusion import Kernel
from squeezenas_tvm.cli import table

SIDES = ("plain", "engine")
PARTS = ("sampling_s", "evolution_s", "build_s", "upload_s", "run_s")

Settings = Mapping[str, Any]  # what parts must have in common to belong together


def summary(records: Records, kernels: Sequence[Kernel], settings: Settings) -> dict[str, Any]:
    """The document that is printed: see the top of this file."""
    results = results_of(records, settings)
    rows = []
    for kernel in kernels:
        checked = records.find(what="checked", kernel=kernel.key, **settings)
        assert checked is not None
        rounds_s = checked["rounds_s"]
        row: dict[str, Any] = {"kernel": kernel.key, "kind": kernel.kind, "floor": checked["floor"]}
        row |= {f"{name}_ms": statistics.median(s) * 1e3 for name, s in rounds_s.items()}
        row |= {side: _shown(results[side][kernel.key]) for side in SIDES}
        if set(SIDES) <= rounds_s.keys():
            row["engine_to_plain"] = _ratio(rounds_s["engine"], rounds_s["plain"])
        if "default" in rounds_s:
            candidates = {side: [rounds_s[n] for n in (side, "default") if n in rounds_s] for side in SIDES}
            best = {side: min(found, key=statistics.median) for side, found in candidates.items()}
            row["engine_to_plain_or_default"] = _ratio(best["engine"], best["plain"])
        rows.append(row)
    return {**settings, "kernels": rows, "total": _total(records, settings, rows)}


def as_text(document: Mapping[str, Any]) -> str:
    """The document of `summary` for people."""
    total, number = document["total"], "{:.3g}".format
    rows = []
    for row in document["kernels"]:
        found = [row.get(name) for name in ("default_ms", "plain_ms", "engine_ms", "engine_to_plain")]
        rows.append([row["kernel"], *("-" if value is None else f"{value:.3f}" for value in found)])
    lines = [table(["kernel", "default ms", "plain ms", "engine ms", "engine/plain"], rows), ""]
    sides = [
        [
            side,
            str(total[side]["valid"]),
            *(number(total[side][n]) for n in ("valid_a_minute", "wall_s", *PARTS)),
        ]
        for side in SIDES
    ]
    lines += [table(["side", "valid", "a minute", "wall s", *PARTS], sides), ""]
    for name, value in total.items():
        if name not in SIDES:
            value = value["geometric_mean"] if isinstance(value, Mapping) else value
            lines.append(f"{name:>30}  {'-' if value is None else number(value)}")
    return "\n".join(lines)


def _total(records: Records, settings: Settings, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for side in SIDES:
        wall_s = sum(r["wall_s"] for r in records.all if _is_trials(r, side, settings))
        counts = {name: sum(row[side][name] for row in rows) for name in ("tried", "valid", *PARTS)}
        total[side] = {"wall_s": wall_s, **counts, "valid_a_minute": 60 * counts["valid"] / wall_s}
    plain, engine = total["plain"], total["engine"]
    over_s = sum(row["plain"]["build_over_limit_s"] for row in rows)
    limited = 60 * plain["valid"] / (plain["wall_s"] - over_s)
    build_s, measure_s = (
        sum(row["engine"]["tried"] * row["floor"][part] for row in rows) for part in ("build_s", "measure_s")
    )
    return {
        **total,
        "trials_ratio": _over(engine["valid_a_minute"], plain["valid_a_minute"]),
        "trials_ratio_builds_limited": _over(engine["valid_a_minute"], limited),
        "engine_to_plain": _mean(rows, "engine_to_plain"),
        "engine_to_plain_or_default": _mean(rows, "engine_to_plain_or_default"),
        "floor_build_s": build_s,
        "floor_measure_s": measure_s,
        "engine_over_floor_overlapped": _over(engine["wall_s"], max(build_s, measure_s)),
        "engine_over_floor_in_turn": _over(engine["wall_s"], build_s + measure_s),
    }


def results_of(records: Records, settings: Settings) -> dict[str, dict[str, Any]]:
    """Side -> kernel's key -> what its search gave."""
    return {
        side: {k: v for r in records.all if _is_trials(r, side, settings) for k, v in r["results"].items()}
        for side in SIDES
    }


def _is_trials(record: Mapping[str, Any], side: str, settings: Settings) -> bool:
    return {"what": "trials", "side": side, **settings}.items() <= record.items()


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in ("best", "some")}


def _ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Of each round, and of these the median: what slows the machine down slows neighbours down."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, float | int | None]:
    ratios = [row[name] for row in rows if name in row]
    return {"geometric_mean": statistics.geometric_mean(ratios) if ratios else None, "kernels": len(ratios)}


def _over(one: float, other: float) -> float | None:
    return one / other if other else None
