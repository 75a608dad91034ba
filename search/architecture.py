"""Architectures as data: YAML files with a space, what was chosen in it and what it tells apart."""

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from cost_models.ir.graph import Graph
from search.data.class_entry import ClassEntry, class_entries
from search.data.classes import CLASSES, LabelClass, unnamed
from search.data.frames import Data
from search.data.key_points import KEY_POINTS, KeyPoints
from search.data.key_points_entry import NamedKeyPoints, dumped_key_points, key_points_entry
from search.errors import InvalidArchitecture, SearchError
from search.spaces.camera import HEADS, OUTPUTS, camera_network
from search.spaces.registry import get_space
from search.spaces.space import Genotype, Head, SearchSpace
from targets.support.plain_yaml import dump_yaml
from targets.support.strict_yaml import YAML_SUFFIXES, Section, named_yaml, parse_yaml, yaml_names
from targets.support.text import near_miss

_FILES = resources.files("search") / "architectures"
WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".tar", ".bin", ".npz")
"""Endings of files of weights, which are taken for architectures now and then."""
POSE = "pose"
_USUAL_CLASSES = 19  # of files that say nothing of classes: those of 0.1


class Published(Section):
    """Numbers that somebody reported for an architecture, with where they stand.

    Attributes:
        latency_ms, fps: of the device in the conditions; one of them, as it was reported.
    """

    source: str
    conditions: str
    miou_percent: float | None = Field(default=None, gt=0, le=100)
    latency_ms: float | None = Field(default=None, gt=0)
    fps: float | None = Field(default=None, gt=0)
    gmacs: float | None = Field(default=None, gt=0)
    params_m: float | None = Field(default=None, gt=0)
    search_gpu_days: float | None = Field(default=None, gt=0)


class Architecture(Section):
    """One network: a space, an option for each of its decisions, a task, and classes that it tells apart.

    Attributes:
        blocks: the short form of ``choices`` in spaces that have one: a block a position.
        choices: decision -> option.
        task: what the network is for; only those for segmentation have classes.
        classes: names and colours; in files also the name of a known list (``cityscapes``).
        num_classes: how many, where they have no names.
        key_points: that a network for pose finds; in files also the name of a known list (``mpii``).
        weights: file of trained weights, in an architecture's file relative to it; what ``deploy`` and
            ``evaluate`` use unless told otherwise.
        searched_for: name of the target whose costs the search went by that found it.
        results: published or measured numbers, each with its source.
    """

    space: str
    blocks: list[str] | None = None
    choices: dict[str, str] | None = None
    task: str = "segmentation"
    classes: Annotated[list[ClassEntry], Field(min_length=2, max_length=255)] | None = None
    num_classes: int | None = Field(default=None, ge=2, le=255)
    key_points: NamedKeyPoints | None = None
    name: str = "unnamed"
    origin: str | None = None
    searched_for: str | None = Field(default=None, min_length=1)
    weights: str | None = Field(default=None, min_length=1)
    results: list[Published] = Field(default_factory=list)

    @field_validator("classes", mode="before")
    @classmethod
    def _by_name(cls, classes: Any) -> Any:
        if not isinstance(classes, str):
            return classes
        if classes not in CLASSES:
            raise ValueError(
                f"unknown list of classes {classes!r}{near_miss(classes, CLASSES)}; "
                f"allowed: {', '.join(CLASSES)}, or a list of names and colours"
            )
        return class_entries(CLASSES[classes])

    @field_validator("task")
    @classmethod
    def _is_known(cls, task: str) -> str:
        if task not in HEADS:
            raise ValueError(f"found {task!r}{near_miss(task, HEADS)}; allowed: {', '.join(HEADS)}")
        return task

    @model_validator(mode="after")
    def _fits_together(self) -> "Architecture":
        faults = []
        if (self.blocks is None) == (self.choices is None):
            found = "neither" if self.blocks is None else "both"
            faults.append(f"blocks, choices: found {found}; allowed: one of them")
        if self.classes is not None and self.num_classes is not None:
            faults.append("classes, num_classes: found both; allowed: one of them")
        of_classes = [key for key in ("classes", "num_classes") if getattr(self, key) is not None]
        if of_classes and not self._has_classes:
            faults.append(f"{', '.join(of_classes)}: networks for {self.task} have none; leave them out")
        if self.key_points is not None and self.task != POSE:
            faults.append(f"key_points: networks for {self.task} have none; leave them out")
        if self.key_points is None and self.task == POSE:
            faults.append(f"key_points: missing; allowed for {POSE}: {', '.join(KEY_POINTS)}, or their names")
        names = [entry.name for entry in self.classes or ()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            faults.append(f"classes: found {', '.join(twice)} twice; allowed: each name once")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def search_space(self) -> SearchSpace:
        """The space the architecture belongs to. Raises UnknownSpace."""
        return get_space(self.space)

    @property
    def genotype(self) -> Genotype:
        """Decision -> option. Raises InvalidArchitecture, UnknownCandidate, UnknownSpace."""
        if self.choices is not None:
            return self.search_space.check(self.choices)
        return self.search_space.from_short_form(self.blocks or [])

    @property
    def _has_classes(self) -> bool:
        return self.task not in (*OUTPUTS, POSE)

    @property
    def labels(self) -> tuple[LabelClass, ...]:
        """The classes in the order of the outputs; where the file names none they are numbered. None where
        the task has none."""
        if not self._has_classes:
            return ()
        if self.classes is None:
            return unnamed(self.num_classes or _USUAL_CLASSES)
        if known := self.known_classes:
            return CLASSES[known]
        return tuple(
            LabelClass(id=index, name=entry.name, color=entry.color, category=entry.category or "")
            for index, entry in enumerate(self.classes)
        )

    @property
    def known_classes(self) -> str | None:
        """Name of the known list that its classes are (``cityscapes``); None for others."""
        return _known_list(self.classes) if self.classes is not None else None

    @property
    def tells(self) -> tuple[str, ...]:
        """What each of its outputs is, in order: names of classes or key points, or those of the task."""
        if self.key_points is not None:
            return self.key_points.names
        return OUTPUTS.get(self.task) or tuple(entry.name for entry in self.labels)

    @property
    def head(self) -> Head:
        """What its task wants at the end."""
        return HEADS[self.task](len(self.tells))

    @property
    def weights_path(self) -> Path | None:
        """Where its own trained weights are, if it has any."""
        return Path(self.weights) if self.weights else None

    def network(self) -> Graph:
        """Layers from the normalised image to its last map, at its size (see ``SearchSpace.network``)."""
        return self.search_space.network(self.genotype, self.head)

    def camera_network(self) -> Graph:
        """What is deployed: from a camera's uint8 RGB frame (N, H, W, 3) to what the head gives."""
        return camera_network(self.network(), self.head)

    def for_classes(self, labels: tuple[LabelClass, ...]) -> "Architecture":
        """The same network for other classes; for segmentation, where its task has none."""
        task = "segmentation" if self.task in OUTPUTS else self.task
        changed = {"task": task, "classes": class_entries(labels), "num_classes": None}
        return self.model_copy(update=changed)

    def for_data(self, data: Data) -> "Architecture":
        """The same network for what a data set's frames are labelled with, whatever it was for."""
        classes = class_entries(data.classes) if data.classes else None
        points = key_points_entry(data.truth) if isinstance(data.truth, KeyPoints) else None
        told = {"task": data.task, "classes": classes, "num_classes": None, "key_points": points}
        return self.model_copy(update=told)


def architecture_of(
    space: SearchSpace, genotype: Genotype, labels: tuple[LabelClass, ...] = (), **more: Any
) -> Architecture:
    """An architecture from its parts, in the short form where the space has one.

    Args:
        labels: its classes; none for a task without such.
        more: other fields of ``Architecture``.
    """
    short = space.short_form(space.check(genotype))
    chosen: dict[str, Any] = {"choices": dict(genotype)} if short is None else {"blocks": short}
    classes = class_entries(labels) if labels else None
    return Architecture(space=space.name, classes=classes, **chosen, **more)


def architecture_for(space: SearchSpace, genotype: Genotype, data: Data, **more: Any) -> Architecture:
    """``architecture_of`` a network for a data set."""
    return architecture_of(space, genotype, **more).for_data(data)


def list_architectures() -> list[str]:
    """Names of the shipped architectures, in alphabetical order."""
    return yaml_names(_FILES)


def load_architecture(source: str | Path) -> Architecture:
    """An architecture by name (``squeezenas-lat-small``) or from a YAML file of the user's.

    Raises:
        InvalidArchitecture: no such name or file, not YAML, or unlike the schema: every fault in one message.
        UnknownSpace, UnknownCandidate: from the check against the space.
    """
    if Path(source).suffix.lower() in WEIGHTS:
        raise InvalidArchitecture(
            f"{source}: holds weights; give the architecture that they are of, a name or a .yaml file, and "
            "them beside it (--weights; to train on from them, --init)"
        )
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
        architecture = _written_out(architecture, Path(where).parent)
        genotype = architecture.genotype
    except SearchError as error:
        raise type(error)(f"{where}: {error}") from None
    short = architecture.search_space.short_form(genotype)
    if short is None or architecture.blocks is not None:
        return architecture
    return architecture.model_copy(update={"blocks": short, "choices": None})


def _written_out(architecture: Architecture, folder: Path) -> Architecture:
    """With an encoder that the file of another architecture says written out; the path is from ``folder``."""
    base, at, encoder = architecture.space.partition("@")
    if not at or Path(encoder).suffix not in YAML_SUFFIXES:
        return architecture
    return architecture.model_copy(update={"space": get_space(f"{base}@{folder / encoder}").name})


def dump_architecture(architecture: Architecture) -> str:
    """YAML text that ``parse_architecture`` reads back to an equal architecture."""
    document = architecture.model_dump(mode="json", exclude_none=True)
    if architecture.classes is not None:
        document["classes"] = _known_list(architecture.classes) or [
            {name: value for name, value in entry.items() if value} for entry in document["classes"]
        ]
    if architecture.key_points is not None:
        document["key_points"] = dumped_key_points(architecture.key_points)
    return dump_yaml(document)


def _known_list(classes: list[ClassEntry]) -> str | None:
    """The name of the list that these are."""
    return next((name for name, labels in CLASSES.items() if class_entries(labels) == classes), None)
