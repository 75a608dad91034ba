"""``search.json``: read back as it was written; files that are none; those of the first release."""

import json
from pathlib import Path

import pytest

from search.errors import InvalidSearch
from search.problem.judged import Judged
from search.problem.problem import SearchResult
from search.results.described import describe
from search.results.document import FILE, load

from ..strategies.helpers import FIVE, problem

SHIPPED = Path(__file__).parents[3] / "benchmarks" / "results" / "camvid" / "search-local-cpu"


def found() -> SearchResult:
    """Made up, of the five positions; the second has lost a candidate."""
    choices = [{name: 1 / len(names.options) for name in names.options} for names in FIVE.decisions]
    lost = choices[1].popitem()[0]
    chosen = Judged(tuple(next(iter(some)) for some in choices), 0.5, 2e-3, 1e-3, 4e-3, 1e9, 1e5, 1e6, 1e7)
    removed = [{"epoch": 1, "position": 1, "candidate": lost}]
    summary = {"expected": {"latency": 2.5e-3}, "choices": choices, "removed": removed}
    return SearchResult([chosen], [chosen], chosen, summary)


def test_what_was_found_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    result = found()
    written = describe(problem(), result)
    written.save(tmp_path / FILE)
    told = load(tmp_path)
    assert told == written
    assert told.finished
    assert told.choices == result.summary["choices"]
    assert told.chosen == result.chosen
    assert (told.removed[0].epoch, told.removed[0].position) == (1, 1)
    assert json.loads((tmp_path / FILE).read_text())["schema_version"] == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"schema_version": 3},
            "search.json: schema 3, this program reads 1 to 2; update squeezenas_tvm",
        ),
        ({"traget": "x"}, "traget: unknown key, did you mean target?"),
        ({"target": None}, "target: found None"),
        ({"finished": False}, "chosen, choices and decisions are not of the same space"),
        ({"choices": [{"k9e9": 1.0}] * 5}, "chosen, choices and decisions are not of the same space"),
        ({"decisions": ["blocks.0"]}, "chosen, choices and decisions are not of the same space"),
        ({"budget": {"objective": "latency"}}, "budget.value: missing"),
    ],
)
def test_other_documents_are_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    raw = describe(problem(), found()).model_dump(mode="json") | change
    (tmp_path / FILE).write_text(json.dumps(raw))
    with pytest.raises(InvalidSearch) as refused:
        load(tmp_path)
    assert said in str(refused.value)


def test_a_file_that_is_cut_off_or_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidSearch, match=r"search\.json: the search cannot be read \(No such file.*\); the command"
    ):
        load(tmp_path)
    (tmp_path / FILE).write_text('{\n"target": "jet')
    with pytest.raises(InvalidSearch, match=r"search\.json: damaged, not JSON \(.*line 2.*with --resume"):
        load(tmp_path)


def test_a_document_of_the_first_release_is_read() -> None:
    raw = json.loads((SHIPPED / FILE).read_text(encoding="utf-8"))
    assert raw["schema_version"] == 1
    told = load(SHIPPED)
    assert (told.strategy, told.task, told.metric) == ("gumbel", "segmentation", "mIoU")
    assert told.decisions == [f"blocks.{index}" for index in range(20)]
    assert told.chosen is not None
    assert list(told.chosen.options) == raw["chosen"]["blocks"]
    assert told.chosen.score == raw["chosen"]["miou"]
    assert [list(network.options) for network in told.front] == [one["blocks"] for one in raw["front"]]
    assert told.choices == raw["choices"]
    assert told.recipe == raw["recipe"]


@pytest.mark.parametrize("change", [{"latency_s": None}, {"front": 3}, {"chosen": "k3e1"}, {"front": [None]}])
def test_a_damaged_document_of_the_first_release_is_refused(
    change: dict[str, object], tmp_path: Path
) -> None:
    raw = json.loads((SHIPPED / FILE).read_text(encoding="utf-8")) | change
    (tmp_path / FILE).write_text(json.dumps(raw))
    with pytest.raises(InvalidSearch) as refused:
        load(tmp_path)
    assert next(iter(change)) in str(refused.value)
