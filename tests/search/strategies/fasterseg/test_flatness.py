"""Searches that decide nothing are told from those that do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.spaces.fasterseg.logits import Logits, softmax
from search.spaces.fasterseg.spaces import FASTERSEG
from search.strategies.fasterseg.flatness import sureness
from search.strategies.sureness import undecided
from targets.support.text import one_line

from ...spaces.fasterseg.released import released_logits

TEACHER, STUDENT = FASTERSEG


def decided(logits: Logits) -> Logits:
    """With one option of each row far above the others."""
    sharp = [
        [np.where(np.arange(own.shape[1]) == 0, 5.0, 0.0) + np.zeros_like(own) for own in part]
        for part in (logits.alpha, logits.beta, logits.ratio)
    ]
    return Logits(*map(tuple, sharp))


def test_options_that_are_alike_have_all_the_entropy() -> None:
    found = sureness(Logits.uniform(STUDENT.grid))
    assert {kind: sure.top for kind, sure in found.items()} == pytest.approx(
        {"operation": 0.2, "path": 0.5, "width": 0.2}
    )
    assert all(sure.entropy == pytest.approx(1) for sure in found.values())
    assert "width" not in sureness(Logits.uniform(TEACHER.grid))


def test_undecided_kinds_are_named_and_no_others() -> None:
    logits = decided(Logits.uniform(STUDENT.grid))
    assert undecided({"student": sureness(logits)}) is None
    said = undecided(
        {
            "student": sureness(replace(logits, ratio=Logits.uniform(STUDENT.grid).ratio)),
            "teacher": sureness(logits),
        }
    )
    assert said is not None
    assert said.startswith(
        "the search ended nearly undecided: student on width (likeliest 20%, entropy 100.0%). Another"
    )
    assert "operation" not in said
    assert "teacher" not in said


def test_the_released_search_ended_nearly_undecided(shared_data: Path) -> None:
    for name in ("student", "teacher"):
        said = undecided({name: sureness(released_logits(shared_data, name))})
        assert said is not None
        assert "operation" in said
    student = released_logits(shared_data, "student")
    found = sureness(student)
    assert 0.21 < found["operation"].top < 0.23
    assert 0.22 < found["width"].top < 0.27
    paths = [round(float(softmax(own).max(axis=1).mean()), 2) for own in student.beta]
    assert paths == [0.52, 0.7]


def test_all_kinds_of_both_are_one_line_that_is_not_cut() -> None:
    alike = {"student": Logits.uniform(STUDENT.grid), "teacher": Logits.uniform(TEACHER.grid)}
    said = undecided({name: sureness(logits) for name, logits in alike.items()})
    assert said is not None
    assert one_line(said) == said
