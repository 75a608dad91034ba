"""``search.json``: what a search was asked for and what it found, for whoever reads it later. No PyTorch."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from search.errors import InvalidSearch
from search.problem.judged import Judged
from targets.support.document import Document

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
    """Seconds of each option in each slot of the space, and of what every network has around them.

    Attributes:
        positions: one a slot; of a chain, one a position.
    """

    positions: list[dict[str, float]]
    around: float


class Sureness(_Part):
    """Of the decisions of a kind, the mean at the end: probability of the likeliest option, and entropy as a
    share of that of options that are all alike."""

    top: float
    entropy: float


class TriedNetwork(_Part):
    """A network that the strategy tried out on its way, see ``search.strategies.sampling.tried``."""

    options: list[str]
    score: float | None
    rewards: list[float] = Field(default_factory=list)
    stopped: str | None = None
    failed: str | None = None
    final: bool = False

    @model_serializer(mode="wrap")
    def _final_only_where_it_is(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What earlier releases do not know is written only where it says something."""
        told: dict[str, Any] = dump(self)
        return told if self.final else {key: value for key, value in told.items() if key != "final"}


class SearchDocument(Document):
    """A search; what it found is there once it is ``finished``.

    Attributes:
        made_by: program and recipe.
        at: when it was written, ISO 8601.
        strategy, task: by name; ``metric`` is the name of the networks' ``score`` for people.
        decisions: names of what is decided, in the order of the networks' ``options``.
        data: name of the data set; ``data_spec`` is what ``--data`` took.
        resolution: HxW that costs are of.
        sources: share of the latency by who tells it: measured, predicted, prior.
        cost: the objective of the front's one axis; ``mix`` has the weights of all that were paid for.
        recipe: as the search ran it.
        expected: cost of what the strategy gave at the end, by objective.
        choices: where there is a distribution, of each decision: probability of every option that was left.
        tried: where the strategy tries networks out: all of them, in order.
        sureness: where logits were learned together: by whose they are and kind of decision.
        undecided: what to know of a search that ended nearly undecided, one line.
        judged: how many networks were.
    """

    WHAT: ClassVar[str] = "the search"
    SCHEMA: ClassVar[int] = 2
    REFUSAL = InvalidSearch
    AGAIN: ClassVar[str] = "the command that made it writes it again, with --resume"

    schema_version: int = 2
    at: str
    finished: bool
    strategy: str
    task: str
    metric: str
    target: str
    space: str
    decisions: list[str]
    data: str
    data_spec: str
    resolution: str
    sources: dict[str, float]
    cost: str
    mix: dict[str, float]
    budget: Limit | None
    recipe: dict[str, Any]
    latency_s: BlockLatency
    expected: dict[str, float] = Field(default_factory=dict)
    choices: list[dict[str, float]] = Field(default_factory=list)
    removed: list[Removal] = Field(default_factory=list)
    tried: list[TriedNetwork] = Field(default_factory=list)
    sureness: dict[str, dict[str, Sureness]] = Field(default_factory=dict)
    undecided: str | None = None
    chosen: Judged | None = None
    front: list[Judged] = Field(default_factory=list)
    judged: int = 0

    @property
    def is_chain(self) -> bool:
        """Whether the space is a chain of blocks: each slot is then a decision."""
        return all(name.startswith("blocks.") for name in self.decisions)

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Schema 1 had chains, Gumbel-softmax and segmentation alone, and did not say so."""
        if raw["schema_version"] != 1:
            return raw
        latency_s = raw.get("latency_s")
        positions = latency_s.get("positions") if isinstance(latency_s, dict) else None
        count = len(positions) if isinstance(positions, list) else 0
        names = [f"blocks.{index}" for index in range(count)]
        own = {"strategy": "gumbel", "task": "segmentation", "metric": "mIoU", "decisions": names}
        front = raw.get("front", [])
        judged = {"chosen": _judged(raw.get("chosen")), "front": front}
        if isinstance(front, list):
            judged["front"] = [_judged(network) for network in front]
        return {**raw, "schema_version": 2, **own, **judged}


def _judged(network: Any) -> Any:
    """A judged network of schema 1 as one of 2."""
    if not isinstance(network, dict):
        return network
    renamed = {"blocks": "options", "miou": "score"}
    return {renamed.get(name, name): value for name, value in network.items()}


def load(folder: Path) -> SearchDocument:
    """Read ``search.json``.

    Raises:
        InvalidSearch: none there, damaged (every fault in one message), or of a newer schema.
    """
    path = folder / FILE
    document = SearchDocument.load(path)
    _check(document, path)
    return document


def is_unfinished(folder: Path) -> bool:
    """Whether a search that has not come to its end has written ``search.json`` there."""
    try:
        return not load(folder).finished
    except InvalidSearch:
        return False


def _check(document: SearchDocument, path: Path) -> None:
    """Raises InvalidSearch where the parts do not fit together."""
    count = len(document.decisions)
    fits = document.finished == (document.chosen is not None)
    if document.choices:
        fits = fits and document.finished and len(document.choices) == count
    networks = [*document.front, *([document.chosen] if document.chosen else [])]
    fits = fits and all(len(network.options) == count for network in networks)
    if document.chosen is not None and document.choices:
        options = document.chosen.options
        fits = fits and all(own in left for own, left in zip(options, document.choices, strict=False))
        if document.is_chain:
            slots = document.latency_s.positions
            fits = fits and len(slots) == count
            fits = fits and all(own in costs for own, costs in zip(options, slots, strict=False))
    if not fits:
        raise InvalidSearch(
            f"{path}: chosen, choices and decisions are not of the same space; {document.AGAIN}"
        )
