"""The controller: a recurrent network that says how probable each option of each decision is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search.spaces.space import Decision

HIDDEN = 100
_LAYERS = 2
_RANGE = 0.1  # of all weights at the beginning


@dataclass(frozen=True)
class Action:
    """What was chosen.

    Attributes:
        places: of each decision, the option's among its options.
        log_probability: of all of it, when it was drawn.
    """

    places: tuple[int, ...]
    log_probability: float


class Controller(nn.Module):
    """Two LSTM layers that begin from a learned vector and read their own last output.

    Decisions of one kind with the same options share a linear layer; what is wired has one each. As the
    authors released it, the controller does not see what it chose: its decisions are independent given its
    weights.

    Args:
        warm_up: steps before the first decision; the authors take one for each of the encoder's taps.
        feedback: whether it sees what it chose, as an embedding added to its next input.
    """

    def __init__(
        self, decisions: Sequence[Decision], warm_up: int, *, feedback: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.decisions, self.warm_up = tuple(decisions), warm_up
        self.start = nn.Parameter(torch.zeros(1, HIDDEN))
        self.cells = nn.ModuleList(nn.LSTMCell(HIDDEN, HIDDEN) for _ in range(_LAYERS))
        shared: dict[object, int] = {}
        self._head_of = [shared.setdefault(_head_key(own), len(shared)) for own in self.decisions]
        sizes = {head: len(own.options) for head, own in zip(self._head_of, self.decisions, strict=True)}
        self.heads = nn.ModuleList(nn.Linear(HIDDEN, sizes[head]) for head in range(len(sizes)))
        self.embeddings: nn.ModuleList | None = None
        if feedback:
            self.embeddings = nn.ModuleList(nn.Embedding(sizes[head], HIDDEN) for head in range(len(sizes)))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-_RANGE, _RANGE, generator=generator)

    def draw(self, generator: torch.Generator) -> Action:
        """Choose an option of every decision."""
        with torch.no_grad():
            places: list[int] = []
            total = 0.0
            for logits in self._walk(places):
                chances = logits.softmax(-1)
                place = int(torch.multinomial(chances, 1, generator=generator))
                total += float(logits.log_softmax(-1)[place])
                places.append(place)
        return Action(tuple(places), total)

    def log_probability(self, places: Sequence[int]) -> Tensor:
        """Of choosing these; a scalar with gradients."""
        return torch.stack([row[place] for row, place in zip(self._rows(places), places, strict=True)]).sum()

    def entropy(self, places: Sequence[int]) -> Tensor:
        """Of all decisions, in nats; where the controller sees what it chose, behind these choices."""
        return torch.stack([-(row.exp() * row).sum() for row in self._rows(places)]).sum()

    def genotype(self, places: Sequence[int]) -> dict[str, str]:
        """What was chosen, by name."""
        return {own.name: own.options[place] for own, place in zip(self.decisions, places, strict=True)}

    def places(self, genotype: Mapping[str, str]) -> tuple[int, ...]:
        """The other way round."""
        return tuple(own.options.index(genotype[own.name]) for own in self.decisions)

    def _rows(self, places: Sequence[int]) -> list[Tensor]:
        """Logarithms of the probabilities of each decision's options."""
        return [logits.log_softmax(-1) for logits in self._walk(places)]

    def _walk(self, places: Sequence[int]) -> "_Walk":
        return _Walk(self, places)

    def step(self, value: Tensor, states: list[tuple[Tensor, Tensor]]) -> Tensor:
        """One step of all layers; ``states`` are changed in place."""
        for index, cell in enumerate(self.cells):
            states[index] = cell(value, states[index])
            value = states[index][0]
        return value

    def head(self, decision: int) -> nn.Module:
        """That tells the options of a decision."""
        return self.heads[self._head_of[decision]]

    def seen(self, decision: int, place: int) -> Tensor | None:
        """What the controller sees of a choice; None where it sees none."""
        if self.embeddings is None:
            return None
        chosen: Tensor = self.embeddings[self._head_of[decision]](torch.tensor([place]))
        return chosen


class _Walk:
    """Logits of decision after decision; reads each choice from a list when the next logits are wanted."""

    def __init__(self, controller: Controller, places: Sequence[int]) -> None:
        self._controller, self._places, self._decision = controller, places, 0
        zero = torch.zeros(1, HIDDEN)
        self._states = [(zero, zero)] * _LAYERS
        self._value: Tensor = controller.start
        for _ in range(controller.warm_up):
            self._value = controller.step(self._value, self._states)

    def __iter__(self) -> "_Walk":
        return self

    def __next__(self) -> Tensor:
        controller, decision = self._controller, self._decision
        if decision == len(controller.decisions):
            raise StopIteration
        if decision:
            seen = controller.seen(decision - 1, self._places[decision - 1])
            self._value = self._value if seen is None else self._value + seen
        self._value = controller.step(self._value, self._states)
        self._decision += 1
        logits: Tensor = controller.head(decision)(self._value)[0]
        return logits


def _head_key(decision: Decision) -> object:
    return decision.name if decision.kind == "wiring" else (decision.kind, decision.options)
