"""Architectures as data: YAML files with a space and one block a position, read strictly."""

from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cost_models.ir.graph import Graph
from search.errors import InvalidArchitecture, SearchError, near_miss
from search.spaces.chain import ChainSpace
from search.spaces.registry import get_space
from targets.support.strict_yaml import YAML_SUFFIXES, named_yaml, yaml_names

_FILES = resources.files("search") / "architectures"


class Published(BaseModel):
    """Numbers that somebody reported for an architecture, with where they stand."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: str
    conditions: str
    miou_percent: float | None = Field(default=None, gt=0, le=100)
    latency_ms: float | None = Field(default=None, gt=0)
    gmacs: float | None = Field(default=None, gt=0)
    params_m: float | None = Field(default=None, gt=0)
    search_gpu_days: float | None = Field(default=None, gt=0)


class Architecture(BaseModel):
    """One network: a space and the block chosen at each of its positions.

    Attributes:
        weights: file of trained weights, in an architecture's file relative to it; what ``deploy`` and
            ``evaluate`` use unless told otherwise.
        results: published or measured numbers, each with its source.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    space: str
    blocks: list[str]
    num_classes: int = Field(default=19, ge=2, le=256)
    name: str = "unnamed"
    origin: str | None = None
    weights: str | None = Field(default=None, min_length=1)
    results: list[Published] = Field(default_factory=list)

    @property
    def search_space(self) -> ChainSpace:
        """The space the architecture belongs to. Raises UnknownSpace."""
        return get_space(self.space)

    @property
    def weights_path(self) -> Path | None:
        """Where its own trained weights are, if it has any."""
        return Path(self.weights) if self.weights else None

    def network(self) -> Graph:
        """Layers from the normalised image to logits at its size (see ``ChainSpace.network``)."""
        return self.search_space.network(self.blocks, self.num_classes)


def list_architectures() -> list[str]:
    """Names of the shipped architectures, in alphabetical order."""
    return yaml_names(_FILES)


def load_architecture(source: str | Path) -> Architecture:
    """An architecture by name (``squeezenas-lat-small``) or from a YAML file of the user's.

    Raises:
        InvalidArchitecture: no such name or file, not YAML, or unlike the schema: every fault in one message.
        UnknownSpace, UnknownCandidate: from the check against the space.
    """
    text, where = named_yaml(source, "architecture", _FILES, InvalidArchitecture)
    architecture = parse_architecture(text, where)
    if architecture.weights is None:
        return architecture
    folder = Path(source).parent if Path(source).suffix in YAML_SUFFIXES else Path(str(_FILES))
    return architecture.model_copy(update={"weights": str(folder / architecture.weights)})


def parse_architecture(text: str, where: str) -> Architecture:
    """Architecture from YAML text; ``where`` names it in errors, which are those of ``load_architecture``."""
    try:
        raw: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidArchitecture(f"{where}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise InvalidArchitecture(f"{where}: must be a mapping with the keys space and blocks")
    try:
        architecture = Architecture.model_validate(raw)
    except ValidationError as error:
        raise InvalidArchitecture(f"{where}: {'; '.join(_faults(error))}") from None
    try:
        architecture.search_space.check(architecture.blocks)
    except SearchError as error:
        raise type(error)(f"{where}: {error}") from None
    return architecture


def dump_architecture(architecture: Architecture) -> str:
    """YAML text that ``parse_architecture`` reads back to an equal architecture."""
    return yaml.safe_dump(architecture.model_dump(exclude_none=True), sort_keys=False, width=110)


def _faults(error: ValidationError) -> list[str]:
    faults = []
    for item in error.errors():
        key = ".".join(map(str, item["loc"]))
        if item["type"] == "extra_forbidden":
            model = Published if item["loc"][0] == "results" else Architecture
            name = str(item["loc"][-1])
            faults.append(f"{key}: unknown key{near_miss(name, model.model_fields)}")
        elif item["type"] == "missing":
            faults.append(f"{key}: missing")
        else:
            faults.append(f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}, found {item['input']!r}")
    return faults
