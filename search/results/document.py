"""``search.json``: what a search was asked for and what it found, for whoever reads it later. No PyTorch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from search.errors import InvalidSearch
from search.results.front import Judged
from targets.support.files import now_utc, write_whole
from targets.support.strict_yaml import parse_document

if TYPE_CHECKING:
    from search.run import Outcome, SearchTask

SCHEMA_VERSION = 1
FILE = "search.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Limit(_Part):
    """The budget: no more of an objective than ``value`` seconds, MACs, parameters or bytes."""

    objective: str
    value: float


class Removal(_Part):
    """A candidate that a position lost, and at the end of which epoch (from 0)."""

    epoch: int
    position: int
    candidate: str


class BlockLatency(_Part):
    """Seconds of each candidate at each position, and of what every network has around its blocks."""

    positions: list[dict[str, float]]
    around: float


class SearchDocument(_Part):
    """A search; what it found is there once it is ``finished``.

    Attributes:
        made_by: program and recipe.
        at: when it was written, ISO 8601.
        data: name of the data set; ``data_spec`` is what ``--data`` took.
        resolution: HxW that costs are of.
        sources: share of the latency by who tells it: measured, predicted, prior.
        cost: the objective of the front's one axis; ``mix`` has the weights of all that were paid for.
        recipe: as the search ran it.
        expected: cost of the final distribution, by objective.
        choices: of each position: probability of every candidate that was left.
        judged: how many networks were.
    """

    schema_version: Literal[1] = 1
    made_by: str
    at: str
    finished: bool
    target: str
    space: str
    data: str
    data_spec: str
    resolution: str
    sources: dict[str, float]
    cost: str
    mix: dict[str, float]
    budget: Limit | None
    recipe: dict[str, Any]
    latency_s: BlockLatency
    expected: dict[str, float] = {}
    choices: list[dict[str, float]] = []
    removed: list[Removal] = []
    chosen: Judged | None = None
    front: list[Judged] = []
    judged: int = 0


def describe(task: "SearchTask", outcome: "Outcome | None" = None) -> SearchDocument:
    """Of a search that begins, or of one that has ended."""
    found: dict[str, Any] = {}
    if outcome is not None:
        found = {
            "expected": outcome.expected,
            "choices": outcome.choices,
            "removed": [Removal(epoch=e, position=p, candidate=c) for e, p, c in outcome.removed],
            "chosen": outcome.chosen,
            "front": outcome.front,
            "judged": len(outcome.networks),
        }
    budget = task.budget
    table = task.costs.table("latency").tolist()
    positions = [
        dict(zip(names, row, strict=False)) for names, row in zip(task.costs.candidates, table, strict=True)
    ]
    return SearchDocument(
        made_by=f"squeezenas_tvm search, recipe {task.recipe.name}",
        at=now_utc(),
        finished=outcome is not None,
        target=task.target,
        space=task.space.name,
        data=task.data.name,
        data_spec=task.data_spec,
        resolution=str(task.resolution),
        sources=dict(task.costs.sources),
        cost=task.cost,
        mix=dict(task.mix.weights),
        budget=Limit(objective=budget.name, value=budget.value) if budget else None,
        recipe=task.recipe.model_dump(mode="json"),
        latency_s=BlockLatency(positions=positions, around=task.costs.fixed("latency")),
        **found,
    )


def save(folder: Path, document: SearchDocument) -> None:
    """Write ``search.json``. Raises CostModelError when there is no room, or it cannot be written."""
    write_whole(folder / FILE, json.dumps(document.model_dump(mode="json"), indent=1) + "\n", "the search")


def load(folder: Path) -> SearchDocument:
    """Read what ``save`` wrote.

    Raises:
        InvalidSearch: none there, damaged (every fault in one message), or of a newer schema.
    """
    path = folder / FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSearch(f"{path}: cannot be read ({error.strerror}); {_AGAIN}") from None
    except ValueError as error:
        raise InvalidSearch(f"{path}: not JSON ({error}); {_AGAIN}") from None
    version = raw.get("schema_version") if isinstance(raw, Mapping) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InvalidSearch(f"{path}: schema {version}, this program reads {SCHEMA_VERSION}; update it")
    document = parse_document(raw, str(path), SearchDocument, InvalidSearch)
    _check(document, path)
    return document


_AGAIN = "the command that made it writes it again, with --resume"


def _check(document: SearchDocument, path: Path) -> None:
    """Raises InvalidSearch where the parts do not fit together."""
    latencies = document.latency_s.positions
    fits = len(document.choices) == (len(latencies) if document.finished else 0)
    fits = fits and all(c.keys() <= s.keys() for c, s in zip(document.choices, latencies, strict=False))
    fits = fits and document.finished == (document.chosen is not None)
    if document.chosen is not None:
        fits = fits and len(document.chosen.blocks) == len(latencies)
        blocks = zip(document.chosen.blocks, document.choices, strict=False)
        fits = fits and all(block in choices for block, choices in blocks)
    if not fits:
        raise InvalidSearch(
            f"{path}: chosen, choices and latency_s are not of the same positions and candidates; {_AGAIN}"
        )
