"""What every search space is to the rest: decisions, the network that they give, and its parts. No PyTorch.

A space tells how probable each part is, a cost model its price; the expected cost of a distribution over
networks is their inner product. So costs, penalties and strategies need no word of what a space looks like.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import Graph
from cost_models.ir.ops import Crop, Resize, Shape
from search.errors import InvalidArchitecture, UnknownCandidate
from search.resolution import Resolution
from targets.support.text import near_miss

A = TypeVar("A", bound=Any)  # an array of numpy or a tensor of PyTorch
Genotype = Mapping[str, str]
"""Name of each decision -> the option that was chosen."""
_NAMED = 12  # of the options of a decision, in errors


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that is chosen in a space.

    Attributes:
        name: unique in its space, such as ``blocks.3``.
        kind: what is decided: which operation, which path through the network, how wide, what is wired.
    """

    name: str
    options: tuple[str, ...]
    kind: Literal["operation", "path", "width", "wiring"] = "operation"


@dataclass(frozen=True)
class Head:
    """What a task wants at the end of a network.

    Attributes:
        outputs: channels of the network's last map.
        after: from that map, ``x`` (N, outputs, H, W), to what a deployed network gives back.
        output, meaning, dtype: name, meaning and type of that, as a bundle says them.
        stride: pixels of the image that a pixel of the last map stands for.
        quiet: networks that nobody trained yet begin with outputs near 0.
    """

    outputs: int
    after: Graph
    output: str = "classes"
    meaning: str = "class index"
    dtype: str = "uint8"
    stride: int = 1
    quiet: bool = False

    def last_shape(self, resolution: Resolution) -> Shape:
        """Of a network's last map. Raises InvalidResolution where the image's sides are no multiples."""
        height, width = resolution.divided_by(self.stride)
        return 1, self.outputs, height // self.stride, width // self.stride

    def ending(self, graph: Graph) -> Graph:
        """``at_stride`` of the head."""
        return at_stride(graph, self.stride)


def at_stride(graph: Graph, stride: int) -> Graph:
    """A graph whose outputs are resized to an image's size, with outputs that many times smaller."""
    if stride == 1:
        return graph
    ends, nodes = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if node.name in ends and isinstance(node.op, Resize | Crop):
            ends.update(node.inputs)
            node = replace(node, size_over=stride)
        nodes.append(node)
    return replace(graph, nodes=tuple(reversed(nodes)))


@dataclass(frozen=True)
class Part:
    """A piece of a network whose cost is counted on its own: a graph and the shapes of its inputs.

    Attributes:
        slot: where it stands; of the parts of one slot at most one runs. Empty for what is in every network.
        published: what tables that others measured have of it, see ``cost_models.database.published``; None
            where nobody published any.
    """

    name: str
    graph: Graph
    inputs: dict[str, Shape]
    slot: str = ""
    published: tuple[Kernel, ...] | None = None

    @property
    def option(self) -> str:
        """Which of its slot it is."""
        return self.name.removeprefix(f"{self.slot}.")


class SearchSpace(Protocol):
    """A set of networks. See ``search.spaces.chain`` for the first of its kind."""

    @property
    def name(self) -> str:
        """By which ``get_space`` finds it."""

    @property
    def summary(self) -> str:
        """One line for people."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All, in an order that stays."""

    def check(self, genotype: Genotype) -> dict[str, str]:
        """The genotype in the order of the decisions.

        Raises InvalidArchitecture, or UnknownCandidate naming every option that there is not.
        """

    def check_resolution(self, resolution: Resolution) -> Resolution:
        """The resolution, or InvalidResolution naming the nearest that works."""

    def sample(self, random: np.random.Generator) -> dict[str, str]:
        """A genotype, every one of the space possible."""

    def network(self, genotype: Genotype, head: Head) -> Graph:
        """The whole network: float image ``x`` (N, 3, H, W), normalised -> (N, outputs, H, W), divided by the
        head's stride."""

    def borders(self, genotype: Genotype) -> tuple[str, ...]:
        """Values of that network at which one part ends and another begins: kernels do not reach across."""

    def parts(self, resolution: Resolution, head: Head) -> Iterator[Part]:
        """Everything whose cost a table must hold, from camera frame to what is deployed."""

    def marginals(self, probabilities: Mapping[str, A]) -> dict[str, A]:
        """Name of a part -> how often it runs, where decisions are independent.

        Args:
            probabilities: of each decision's options, (..., options); numpy or PyTorch alike.

        Returns:
            Shape (...) each; parts that are left out are in every network. Of a one-hot distribution they are
            the parts of that network.
        """

    def peak_bytes(self, resolution: Resolution, head: Head) -> dict[str, float]:
        """Name of a part -> bytes of feature maps alive while it runs, those that wait included."""

    def slot_label(self, slot: str) -> str:
        """A slot for people, with what its parts have in common."""

    def short_form(self, genotype: Genotype) -> list[str] | None:
        """The genotype as a list, where the space has such a form."""

    def from_short_form(self, options: Sequence[str]) -> dict[str, str]:
        """What ``short_form`` gave. Raises InvalidArchitecture."""


@runtime_checkable
class HasIdle(Protocol):
    """A space in whose networks not every decision changes something."""

    def idle(self, genotype: Genotype) -> frozenset[str]:
        """Names of the decisions that change nothing in a network, whatever their option."""


def require_decisions(space: SearchSpace, genotype: Genotype) -> None:
    """Raises InvalidArchitecture where a genotype does not decide what the space wants, or decides more."""
    names = [decision.name for decision in space.decisions]
    faults = [f"{name}: missing" for name in sorted(set(names) - genotype.keys())]
    extra = sorted(genotype.keys() - set(names))
    faults += [f"{name}: no decision of the space{near_miss(name, names)}" for name in extra]
    if faults:
        raise InvalidArchitecture(f"space {space.name}: {'; '.join(faults)}")


def checked(space: SearchSpace, genotype: Genotype) -> dict[str, str]:
    """What ``SearchSpace.check`` gives and raises, where a space has no words of its own for its options."""
    require_decisions(space, genotype)
    faults = []
    for decision in space.decisions:
        option = genotype[decision.name]
        if option not in decision.options:
            hint = near_miss(option, decision.options)
            allowed = ", ".join(decision.options[:_NAMED]) + ", ..." * (len(decision.options) > _NAMED)
            faults.append(f"{decision.name}: unknown option {option!r}{hint}; allowed: {allowed}")
    if faults:
        raise UnknownCandidate(f"space {space.name}: {'; '.join(faults)}")
    return {decision.name: genotype[decision.name] for decision in space.decisions}


def any_option(space: SearchSpace, random: np.random.Generator) -> dict[str, str]:
    """A genotype in which every option of a decision is as likely as the others."""
    return {d.name: d.options[int(random.integers(len(d.options)))] for d in space.decisions}


def one_hot(space: SearchSpace, genotypes: Sequence[Genotype]) -> dict[str, np.ndarray[Any, Any]]:
    """Distributions that are sure of a genotype each: decision -> (genotypes, options), float64."""
    rows = np.arange(len(genotypes))
    found = {}
    for decision in space.decisions:
        places = {option: place for place, option in enumerate(decision.options)}
        found[decision.name] = np.zeros((len(genotypes), len(decision.options)))
        found[decision.name][rows, [places[genotype[decision.name]] for genotype in genotypes]] = 1.0
    return found


def uniform(space: SearchSpace) -> dict[str, np.ndarray[Any, Any]]:
    """The distribution to which all options of a decision are alike."""
    return {d.name: np.full(len(d.options), 1 / len(d.options)) for d in space.decisions}
