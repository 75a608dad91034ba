"""``search.json``: what it says of a search, before and after; files that are none."""

import json
from pathlib import Path

import pytest
import torch

from search.errors import InvalidSearch
from search.parallel.ranks import Ranks
from search.results.document import FILE, describe, load, save
from search.results.front import Judged
from search.run import Outcome, run_search

from ..strategies.helpers import Log, task

ALONE = Ranks(0, 1, torch.device("cpu"))


def outcome() -> Outcome:
    """Made up, of the five positions; the second has lost a candidate."""
    wanted = task()
    choices = [{name: 1 / len(names) for name in names} for names in wanted.costs.candidates]
    lost = choices[1].popitem()[0]
    blocks = tuple(next(iter(some)) for some in choices)
    chosen = Judged(blocks, 0.5, 2e-3, 1e-3, 4e-3, 1e9, 1e5, 1e6, 1e7)
    return Outcome(choices, {"latency": 2.5e-3}, [chosen], [chosen], chosen, [(1, 1, lost)])


def test_a_search_that_begins_says_what_it_is_asked_for(tmp_path: Path) -> None:
    wanted = task(mix="latency:3,memory:1", budget="4ms")
    save(tmp_path, describe(wanted))
    told = load(tmp_path)
    assert not told.finished
    assert (told.target, told.space, told.resolution) == ("jetson-xavier", "five", "64x128")
    assert (told.data, told.data_spec) == (wanted.data.name, "synthetic:6:64x64")
    assert told.mix == {"latency": 0.75, "memory": 0.25}
    assert told.budget is not None
    assert (told.cost, told.budget.objective, told.budget.value) == (
        "latency",
        "latency",
        pytest.approx(4e-3),
    )
    assert told.recipe["epochs"] == wanted.recipe.epochs
    assert [tuple(row) for row in told.latency_s.positions] == wanted.costs.candidates
    table = wanted.costs.table("latency")
    assert list(told.latency_s.positions[2].values()) == pytest.approx(list(table[2]))
    assert told.chosen is None
    assert told.choices == []


def test_what_was_found_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    found = outcome()
    written = describe(task(), found)
    save(tmp_path, written)
    told = load(tmp_path)
    assert told == written
    assert told.finished
    assert told.choices == found.choices
    assert told.chosen == found.chosen
    assert (told.removed[0].epoch, told.removed[0].position) == (1, 1)
    assert json.loads((tmp_path / FILE).read_text())["schema_version"] == 1


def test_a_search_writes_it_as_it_begins_and_again_at_its_end(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_search(task(), tmp_path, ALONE, resume=False, watch=Log(1))
    begun = load(tmp_path)
    assert not begun.finished
    found = run_search(task(), tmp_path, ALONE, resume=True, watch=Log())
    told = load(tmp_path)
    assert (told.finished, told.judged, told.expected) == (True, len(found.networks), found.expected)
    assert (told.chosen, told.front, told.choices) == (found.chosen, found.front, found.choices)
    assert told.recipe == begun.recipe


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "search.json: schema 2, this program reads 1; update it"),
        ({"traget": "x"}, "traget: unknown key, did you mean target?"),
        ({"target": None}, "target: found None"),
        ({"finished": False}, "chosen, choices and latency_s are not of the same positions and candidates"),
        ({"choices": [{"k9e9": 1.0}] * 5}, "chosen, choices and latency_s are not of the same positions"),
        ({"budget": {"objective": "latency"}}, "budget.value: missing"),
    ],
)
def test_other_documents_are_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    raw = describe(task(), outcome()).model_dump(mode="json") | change
    (tmp_path / FILE).write_text(json.dumps(raw))
    with pytest.raises(InvalidSearch) as refused:
        load(tmp_path)
    assert said in str(refused.value)


def test_a_file_that_is_cut_off_or_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSearch, match=r"search\.json: cannot be read \(No such file.*\); the command"):
        load(tmp_path)
    (tmp_path / FILE).write_text('{\n"target": "jet')
    with pytest.raises(InvalidSearch, match=r"search\.json: not JSON \(.*line 2.*with --resume"):
        load(tmp_path)
