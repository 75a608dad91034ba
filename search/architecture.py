"""Architectures as data: YAML files with a space and one block a position, read strictly."""

from importlib import resources
from pathlib import Path

import yaml
from pydantic import Field

from cost_models.ir.graph import Graph
from search.errors import InvalidArchitecture, SearchError
from search.spaces.chain import ChainSpace
from search.spaces.registry import get_space
from targets.support.strict_yaml import YAML_SUFFIXES, Section, named_yaml, parse_yaml, yaml_names

_FILES = resources.files("search") / "architectures"


class Published(Section):
    """Numbers that somebody reported for an architecture, with where they stand."""

    source: str
    conditions: str
    miou_percent: float | None = Field(default=None, gt=0, le=100)
    latency_ms: float | None = Field(default=None, gt=0)
    gmacs: float | None = Field(default=None, gt=0)
    params_m: float | None = Field(default=None, gt=0)
    search_gpu_days: float | None = Field(default=None, gt=0)


class Architecture(Section):
    """One network: a space and the block chosen at each of its positions.

    Attributes:
        weights: file of trained weights, in an architecture's file relative to it; what ``deploy`` and
            ``evaluate`` use unless told otherwise.
        results: published or measured numbers, each with its source.
    """

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
    architecture = parse_yaml(text, where, Architecture, InvalidArchitecture)
    try:
        architecture.search_space.check(architecture.blocks)
    except SearchError as error:
        raise type(error)(f"{where}: {error}") from None
    return architecture


def dump_architecture(architecture: Architecture) -> str:
    """YAML text that ``parse_architecture`` reads back to an equal architecture."""
    return yaml.safe_dump(architecture.model_dump(exclude_none=True), sort_keys=False, width=110)
