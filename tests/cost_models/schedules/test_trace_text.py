"""Traces from a store: what TVM could not replay without reading out of bounds never gets there."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cost_models.errors import CostModelError
from cost_models.schedules.trace_text import read_trace

INSTRUCTIONS = [
    ["GetSBlock", [], ["conv", "main"], ["b0"]],
    ["GetLoops", ["b0"], [], ["l1", "l2"]],
    ["SamplePerfectTile", ["l1"], [2, 64], ["v3", "v4"]],
    ["Split", ["l1", "None", "v4"], [True, False], ["l5", "l6"]],
    ["SampleCategorical", [], [[0, 16], [0.5, 0.5]], ["v7"]],
    ["Annotate", ["b0", '"SSR"'], ["meta_schedule.unroll"], []],
    ["SampleComputeLocation", ["b0"], [], ["l8"]],
]
DECISIONS = [[2, [4, 8]], [4, 1], [6, -1]]


def trace() -> list[Any]:
    return json.loads(json.dumps([INSTRUCTIONS, DECISIONS]))


def test_a_trace_is_read() -> None:
    assert read_trace(json.dumps(trace())) == trace()


CHANGES: dict[str, tuple[Callable[[list[Any]], object], str]] = {
    "a place that is none": (lambda t: t[1].append([99999999999, 1]), "there are 7"),
    "before the first": (lambda t: t[1].append([-1, 1]), "there are 7"),
    "decided twice": (lambda t: t[1].append([2, [4, 8]]), "each with one"),
    "nothing to decide": (lambda t: t[1].append([1, 1]), "'GetLoops' decides nothing"),
    "a factor of 0": (lambda t: t[1][0].__setitem__(1, [0, 8]), "whole numbers of 1 or more"),
    "too few factors": (lambda t: t[1][0].__setitem__(1, [8]), "a list of 2 factors"),
    "no choice": (lambda t: t[1][1].__setitem__(1, 2), "allowed is 0 to 1"),
    "no loop": (lambda t: t[1][2].__setitem__(1, 10**9), "the number of a loop"),
    "many parts": (lambda t: t[0][2][2].__setitem__(0, 10**9), "split into 2 to 16 parts"),
    "unknown input": (lambda t: t[0][3][1].__setitem__(0, "l9"), "'l9' is no result of an earlier one"),
    "a result twice": (lambda t: t[0][3][3].__setitem__(0, "l1"), "'l1' is no new name of a result"),
    "64 bits": (lambda t: t[0][2][2].__setitem__(1, 1 << 40), "is too large"),
    "three parts": (lambda t: t[0][0].pop(), r"allowed is \[name, inputs, attributes, outputs\]"),
    "no name": (lambda t: t[0][0][2].__setitem__(0, None), "an attribute of another type"),
    "other instructions": (
        lambda t: t[0][5].__setitem__(0, "UnsafeSetDType"),
        "'UnsafeSetDType' is none that",
    ),
    "other annotations": (
        lambda t: t[0][5].__setitem__(2, ["pragma_import_llvm"]),
        r"\['pragma_import_llvm'\] is no annotation that",
    ),
    "an annotation without a name": (lambda t: t[0][5][2].clear(), r"\[\] is no annotation that"),
    "no list": (lambda t: t.pop(), "a list of instructions and a list of decisions"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_others_are_refused_in_one_line(change: str) -> None:
    spoil, reason = CHANGES[change]
    spoilt = trace()
    spoil(spoilt)
    with pytest.raises(CostModelError, match=f"not the text of a schedule: .*{reason}.*tune this"):
        read_trace(json.dumps(spoilt))
