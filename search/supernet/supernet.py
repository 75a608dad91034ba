"""All networks of a space in one, with shared weights (SqueezeNAS, arXiv:1908.01748, section 4)."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from search.errors import UnknownCandidate
from search.networks.graph_module import GraphModule
from search.resolution import Resolution
from search.spaces.chain import ChainSpace
from search.spaces.space import Genotype, at_stride
from search.supernet.choice import Choice, Form
from search.supernet.draws import gumbel_softmax
from search.supernet.pruning import forget, likely, shrink
from targets.support.text import near_miss


class Supernet(nn.Module):
    """Every position is the sum of its candidates, each times a weight that is drawn anew for every step.

    Both forms have the same parameters under the same names and compute the same numbers. ``fused`` needs a
    fraction of the time and memory in training mode; in evaluation mode both evaluate candidates in turn.

    In several processes: make it alike in all of them (same seed), replace its batch normalisations by
    synchronised ones if the statistics are to be those of all, and wrap it in DistributedDataParallel, all
    of it anew after ``prune`` has removed something.

    Args:
        outputs: channels of the network's last map.
        form: ``plain`` evaluates the candidates of a position in turn, ``fused`` together.
        checkpointing: compute each position again in the backward pass instead of keeping what it made.
        compiled: of the fused form: PyTorch's compiler makes the passes over the hidden maps, at the first
            step, which needs a C++ compiler, or Triton on a GPU; the same numbers within rounding.
        candidates: those left at every position, to go on with a pruned supernet; all by default.

    Raises:
        UnknownCandidate, InvalidArchitecture: ``candidates`` are not of this space.
    """

    def __init__(
        self,
        space: ChainSpace,
        outputs: int,
        *,
        stride: int = 1,
        form: Form = "fused",
        checkpointing: bool = False,
        compiled: bool = False,
        candidates: Sequence[Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        names = candidates if candidates is not None else [p.candidates for p in space.positions]
        for round_ in range(max(map(len, names), default=0)):
            space.from_short_form([left[min(round_, len(left) - 1)] for left in names])
        self.stem = GraphModule(space.stem_graph())
        self.blocks = nn.ModuleList(
            Choice(space, index, left, form=form, checkpointing=checkpointing, compiled=compiled)
            for index, left in enumerate(names)
        )
        self.head = GraphModule(space.head_graph())
        self.decoder = GraphModule(at_stride(space.decoder_graph(outputs), stride))
        self.logits = nn.ParameterList(nn.Parameter(torch.zeros(len(left))) for left in names)

    @property
    def choices(self) -> Iterator[Choice]:
        """The positions in order."""
        for choice in self.blocks:
            assert isinstance(choice, Choice)
            yield choice

    @property
    def candidates(self) -> list[list[str]]:
        """Names of the candidates left at each position, in the order of ``logits``."""
        return [list(choice) for choice in self.choices]

    def weight_parameters(self) -> list[nn.Parameter]:
        """All but the logits."""
        return [p for name, p in self.named_parameters() if not name.startswith("logits.")]

    def logit_parameters(self) -> list[nn.Parameter]:
        """One tensor a position."""
        return list(self.logits)

    def probabilities(self) -> list[Tensor]:
        """Of the candidates left at each position; differentiable."""
        return [logits.softmax(0) for logits in self.logits]

    def by_decision(self, values: Sequence[Tensor]) -> dict[str, Tensor]:
        """Values (..., candidates left) a position as values of all options of its decision, 0 for others."""
        found = {}
        for decision, names, value in zip(self.space.decisions, self.candidates, values, strict=True):
            places = [decision.options.index(name) for name in names]
            whole = value.new_zeros((*value.shape[:-1], len(decision.options)))
            index = torch.tensor(places, device=value.device)
            found[decision.name] = whole.index_copy(-1, index, value)
        return found

    def draw(
        self,
        images: int,
        temperature: float,
        *,
        per_image: bool,
        generator: torch.Generator | None = None,
        paths: int | None = None,
    ) -> list[Tensor]:
        """Weights for ``forward``, differentiable in the logits: (images or 1, candidates left) a position.

        Args:
            per_image: a draw for every image, else one for the batch.
            paths: only that many sampled candidates of a position have a weight, and are computed.
        """
        rows = images if per_image else 1
        return [
            gumbel_softmax(logits, rows, temperature, paths=paths, generator=generator)
            for logits in self.logits
        ]

    def forward(self, images: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Last maps (N, outputs, H, W) of images (N, 3, H, W), RGB, ImageNet-normalised.

        Args:
            weights: (N or 1, candidates left) a position; a candidate whose weights are all 0 costs nothing.
        """
        Resolution(*images.shape[-2:]).checked()
        x = low = self.stem(images)
        for index, (choice, shares, chosen) in enumerate(
            zip(self.choices, weights, _with_weight(weights), strict=True)
        ):
            names = list(choice)
            x = choice(x, shares[:, chosen], [names[i] for i in chosen])
            low = x if index == self.space.tap else low
        last: Tensor = self.decoder(self.head(x), low, images)
        return last

    def prune(self, threshold: float = 0.005, optimizers: Iterable[Optimizer] = ()) -> list[tuple[int, str]]:
        """Remove for good every candidate less likely than ``threshold``, never the likeliest of a position.

        Their parameters are gone, from the optimizers too; what those keep for the logits is cut. Which ones
        are removed depends on the logits alone, so processes that agree on them stay alike; each must wrap
        its supernet in DistributedDataParallel anew, before which there must be no other backward pass.

        Returns:
            (position, candidate) of those removed.
        """
        optimizers, removed = list(optimizers), list[tuple[int, str]]()
        for index, (choice, probabilities) in enumerate(zip(self.choices, self.probabilities(), strict=True)):
            kept = likely(probabilities.detach(), threshold)
            names = list(choice)
            gone = [name for i, name in enumerate(names) if i not in kept.tolist()]
            if gone:
                forget([p for name in gone for p in choice[name].parameters()], optimizers)
                for name in gone:
                    del choice[name]
                self.logits[index] = shrink(self.logits[index], kept, optimizers)
                removed += [(index, name) for name in gone]
        return removed

    def path(self, genotype: Genotype) -> dict[str, Tensor]:
        """``extract`` of a genotype."""
        return self.extract(self.space.short_form(genotype))

    def extract(self, blocks: Sequence[str]) -> dict[str, Tensor]:
        """State dict of the Network of one architecture; its tensors are the supernet's own.

        Raises UnknownCandidate for a block that is not left.
        """
        self.space.from_short_form(blocks)
        for index, (choice, name) in enumerate(zip(self.choices, blocks, strict=True)):
            if name not in choice:
                raise UnknownCandidate(
                    f"position {index}: block {name!r} was removed from the supernet"
                    f"{near_miss(name, choice)}; left there: {', '.join(choice)}"
                )
        state = dict(self.stem.state_dict())
        for index, (choice, name) in enumerate(zip(self.choices, blocks, strict=True)):
            state |= choice[name].state_dict(prefix=f"blocks.{index}.")
        return state | self.head.state_dict() | self.decoder.state_dict(prefix="decoder.")


def _with_weight(weights: Sequence[Tensor]) -> list[list[int]]:
    """Indices of the candidates of each position that have any weight; waits for the device once."""
    flags = torch.cat([(weight.detach() != 0).any(0) for weight in weights]).tolist()
    chosen = []
    for weight in weights:
        count = weight.shape[1]
        chosen.append([i for i, flag in enumerate(flags[:count]) if flag])
        flags = flags[count:]
    return chosen
