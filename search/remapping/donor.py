"""Whose weights a file holds: the network that it says, that lies beside it, or that its tensors tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search.architecture import Architecture, list_architectures, load_architecture
from search.data.classes import MOST_CLASSES, unnamed
from search.errors import InvalidArchitecture, InvalidWeights, SearchError
from search.networks.names import head_tensors, our_names
from search.networks.weights import Array, fit_tensors, read_tensors
from search.remapping.classes import ClassMatch, in_order, match_classes, none_taken
from search.spaces.chain import ChainSpace
from search.spaces.inverted_residual import SKIP, InvertedResidual
from search.spaces.registry import SPACES
from search.spaces.space import SearchSpace
from targets.support.strict_yaml import YAML_SUFFIXES

BESIDE = "architecture.yaml"  # as a training leaves it beside its weights
_LAST = ("decoder.classify_high.bias", "decoder.classify.bias")  # as long as there are outputs
_NAMED = 6


@dataclass(frozen=True)
class Donor:
    """A network with weights.

    Attributes:
        tensors: by our names; of an encoder alone without those of ``head_tensors``.
    """

    architecture: Architecture
    tensors: dict[str, Array]
    path: Path

    @property
    def headless(self) -> bool:
        """Whether it is an encoder alone."""
        return not any(name in self.tensors for name in _LAST)


def find_donor(init: str | Path, own: Architecture | None = None) -> Donor:
    """The network of weights. Of two that fit alike the one counts that lies beside, then ``own``.

    Args:
        init: a file of weights; ARCH=FILE, where nobody else says of which network it is; or an architecture
            file that names its weights.
        own: the network that is to have them, which is tried as well.

    Raises:
        InvalidWeights: not readable, of no network that is known, or with values that are no finite numbers.
        InvalidArchitecture, UnknownSpace, UnknownCandidate: what is named is none.
    """
    named, path = named_file(init)
    tensors = read_tensors(path)
    if named is not None:
        return Donor(*_taken(_with_outputs(named, tensors) or named, tensors, path), path)
    shipped = {name: load_architecture(name) for name in list_architectures()}
    near = _beside(path) | ({f"{own.name} itself": own} if own else {})
    for form in (_as_it_is, _with_outputs, _without_head):
        for known in (near, shipped):
            forms = (form(candidate, tensors) for candidate in known.values())
            fitting = [found for found in forms if found and _fits(found, tensors, form is _without_head)]
            if not fitting:
                continue
            first = fitting[0]
            others = [one.name for one in fitting if _differ(one, first)]
            if others and known is shipped:
                raise InvalidWeights(
                    f"{path}: fits {first.name} and {', '.join(others)} alike; say which: --init "
                    f"{first.name}={path}"
                )
            return Donor(*_taken(first, tensors, path), path)
    raise InvalidWeights(
        f"{path}: fits no network that is known; tried {', '.join([*near, *shipped])}; name the architecture "
        "that it is of: --init ARCH=FILE, where ARCH is a name or a .yaml file"
    )


def has_kin(space: SearchSpace) -> bool:
    """Whether weights go from other networks into those of a space: chains of inverted residuals alone."""
    return _kind(space) is not None


def check_kin(donor: Architecture, space: SearchSpace, path: Path) -> ChainSpace:
    """The space, if weights of the donor can be remapped into its networks.

    Raises InvalidWeights where blocks of the one are of another kind than those of the other.
    """
    kind = _kind(space)
    if isinstance(space, ChainSpace) and kind is not None and kind == _kind(donor.search_space):
        return space
    kin = [known.name for known in SPACES.values() if kind is not None and _kind(known) == kind]
    allowed = f"weights of networks of {', '.join(kin)}" if kin else "weights of the network itself"
    raise InvalidWeights(
        f"{path} is of {donor.name} (space {donor.space}), another family than {space.name}: its blocks have "
        f"nothing of theirs; allowed: {allowed}"
    )


def classes_between(donor: Donor, task: str, names: Sequence[str], *, new_head: bool = False) -> ClassMatch:
    """Which of the donor's classes those of a network become.

    Args:
        names: of the network's classes.
        new_head: take none of them.

    Raises InvalidWeights where both have names and none is the other's.
    """
    own = donor.architecture.tells
    if new_head or donor.headless or donor.architecture.task != task:
        return none_taken(own, names)
    if _are_numbers(own) or _are_numbers(names):
        return (in_order if len(own) == len(names) else none_taken)(own, names)
    found = match_classes(own, names)
    if not found.found:
        raise InvalidWeights(
            f"{donor.path}: none of its {len(own)} classes ({_first(own)}) is one of the {len(names)} wanted "
            f"({_first(names)}); --new-head takes all but the classifier, which begins anew"
        )
    return found


def named_file(init: str | Path) -> tuple[Architecture | None, Path]:
    """The network that is named with weights, if one is, and their file. See ``find_donor``."""
    init, path = str(init), Path(init)
    if path.suffix.lower() in YAML_SUFFIXES and "=" not in init:
        architecture = load_architecture(init)
        if architecture.weights_path is None:
            raise InvalidArchitecture(
                f"{init} names no weights (weights:); give a file of weights, or ARCH=FILE"
            )
        return architecture, architecture.weights_path
    name, equals, file = init.partition("=")
    if not equals or path.is_file():
        return None, path
    if not name or not file:
        raise InvalidWeights(f"--init {init}: allowed: FILE, or ARCH=FILE with both")
    return load_architecture(name), Path(file)


def _beside(path: Path) -> dict[str, Architecture]:
    """What a training says of its weights, by its file."""
    beside = path.parent / BESIDE
    try:
        return {str(beside): load_architecture(beside)} if beside.is_file() else {}
    except SearchError:
        return {}  # another file of that name


def _as_it_is(architecture: Architecture, tensors: Mapping[str, Array]) -> Architecture | None:
    return architecture


def _with_outputs(architecture: Architecture, tensors: Mapping[str, Array]) -> Architecture | None:
    """The same network with as many classes as a file has, without names; None where nothing tells."""
    names = our_names(architecture, tensors)
    counts = [len(tensors[name]) for name, ours in names.items() if ours in _LAST and tensors[name].ndim == 1]
    if counts and counts[0] == architecture.head.outputs:
        return architecture
    if not counts or not 2 <= counts[0] <= MOST_CLASSES:
        return None
    return architecture.model_copy(update={"task": "segmentation"}).for_classes(unnamed(counts[0]))


def _without_head(architecture: Architecture, tensors: Mapping[str, Array]) -> Architecture | None:
    """Of a chain, the only kind whose encoder goes into other networks."""
    return architecture if isinstance(architecture.search_space, ChainSpace) else None


def _fits(architecture: Architecture, tensors: Mapping[str, Array], headless: bool) -> bool:
    graph = architecture.network()
    wanted = graph.parameters() | graph.buffers()
    if headless:
        head = head_tensors(architecture)
        wanted = {name: shape for name, shape in wanted.items() if name not in head}
    names = our_names(architecture, tensors)
    if len(names) != len(wanted) or set(names.values()) != wanted.keys():
        return False
    return all(tuple(tensors[name].shape) == tuple(wanted[ours]) for name, ours in names.items())


def _taken(
    architecture: Architecture, tensors: Mapping[str, Array], path: Path
) -> tuple[Architecture, dict[str, Array]]:
    """Checked, by our names; an encoder alone without its head."""
    head = head_tensors(architecture)
    if head & set(our_names(architecture, tensors).values()):
        return architecture, fit_tensors(architecture, tensors, path)
    graph = architecture.network()
    shapes = graph.parameters() | graph.buffers()
    blank = {name: np.zeros(shapes[name], np.float32) for name in head}
    found = fit_tensors(architecture, {**tensors, **blank}, path)
    return architecture, {name: values for name, values in found.items() if name not in head}


def _differ(one: Architecture, other: Architecture) -> bool:
    return (one.space, dict(one.genotype)) != (other.space, dict(other.genotype))


def _kind(space: SearchSpace) -> str | None:
    """What has to be alike in blocks whose weights go from one into another; None where nothing does."""
    if not isinstance(space, ChainSpace):
        return None
    names = {name for position in space.positions for name in position.candidates} - {SKIP}
    blocks = [InvertedResidual.parse(name) for name in names]
    kinds = {space.activation, *(block.activation for block in blocks)}
    if len(kinds) > 1 or any(block.squeeze_excite or not block.expansion for block in blocks):
        return None
    return kinds.pop()


def _are_numbers(names: Sequence[str]) -> bool:
    return list(names) == [entry.name for entry in unnamed(len(names))]


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)
