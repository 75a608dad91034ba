"""All networks of a grid in one: cells with shared weights, which a teacher and a student walk through."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from search.errors import InvalidArchitecture, InvalidResolution
from search.networks.graph_module import GraphModule
from search.resolution import Resolution
from search.spaces.fasterseg.grid import OPERATIONS, Grid
from search.spaces.fasterseg.logits import Logits
from search.spaces.fasterseg.operations import classify_graph, merge_graph
from search.spaces.fasterseg.space import FastersegSpace
from search.supernet.choice import Form
from search.supernet.fasterseg.fused import CellMaps, fused_mix
from search.supernet.fasterseg.slimmable import MixedOperation
from search.supernet.fasterseg.widths import MapWidths

PREDICTIONS = ("first", "second", "third", "first + third", "second + third")
"""What the heads are on: the last maps of scales, brought to the first one."""
_INITIAL = 1e-3  # of all logits


class Learner(nn.Module):
    """What a network of the search has for itself: stem, refinement, heads and logits."""

    def __init__(self, space: FastersegSpace, outputs: int) -> None:
        super().__init__()
        grid = space.grid
        full = [grid.channels(scale, grid.ratio) for scale in range(3)]
        self.grid = grid
        self.stem = GraphModule(space.stem_graph())
        self.second_to_first = GraphModule(merge_graph(full[1], full[0], full[0]))
        self.third_to_second = GraphModule(merge_graph(full[2], full[1], full[1]))
        self.third_to_first = GraphModule(merge_graph(full[1], full[0], full[0]))
        self.heads = nn.ModuleList(
            GraphModule(classify_graph(full[0] * (1 + (" + " in name)), outputs)) for name in PREDICTIONS
        )
        logits = Logits.shapes(grid)
        self.alpha, self.beta, self.ratio = (
            nn.ParameterList(nn.Parameter(torch.full(shape, _INITIAL)) for shape in logits[name])
            for name in ("alpha", "beta", "ratio")
        )

    def logit_parameters(self) -> list[nn.Parameter]:
        """Of operations, paths and widths."""
        return [*self.alpha, *self.beta, *self.ratio]

    def predictions(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Logits at the first scale, of the last maps of all three: ``PREDICTIONS``."""
        first, second, third = maps
        refined = {"first": first, "second": self.second_to_first(second, first)}
        refined["third"] = self.third_to_first(self.third_to_second(third, second), first)
        inputs = (torch.cat([refined[part] for part in name.split(" + ")], 1) for name in PREDICTIONS)
        return [head(x) for head, x in zip(self.heads, inputs, strict=True)]


class GridSupernet(nn.Module):
    """The cells of a grid with every operation at every width, and those who learn with them.

    A cell runs on each of its predecessors; what it makes of them is mixed. Both forms have the same
    parameters under the same names and compute the same numbers; ``fused`` needs less time and memory in
    training mode, where weights are channels_last. In evaluation mode both go in turn. What a step does not
    learn, set ``requires_grad_(False)``: gradients of weights are a third of the work.

    Args:
        spaces: of those who learn, by name; of one grid but for widths, ratio and operations.
        outputs: channels of the predictions.
        form: ``plain`` takes operations and predecessors in turn, ``fused`` together.

    Raises InvalidArchitecture for grids that cannot share cells.
    """

    def __init__(self, spaces: Mapping[str, FastersegSpace], outputs: int, *, form: Form = "fused") -> None:
        super().__init__()
        self._form = form
        grids = [space.grid for space in spaces.values()]
        if len({(grid.layers, grid.scales, grid.base) for grid in grids}) > 1:
            raise InvalidArchitecture(
                f"spaces {', '.join(spaces)}: their grids differ in layers, scales or base; cells are shared "
                "by grids that are alike in these"
            )
        self.grid = max(grids, key=lambda grid: len(grid.widths))
        widths = sorted({width for space in spaces.values() for width in space.grid.widths})
        self.cells = nn.ModuleDict()
        for layer, scale, down in self.grid.mixed_operations:
            before = self.grid.channels(scale, widths[-1])
            behind = [self.grid.channels(scale + down, width) for width in widths]
            mixed = MixedOperation(OPERATIONS, before, behind, down=down)
            self.cells[_name(layer, scale, down=down)] = mixed
        self.learners = nn.ModuleDict({name: Learner(space, outputs) for name, space in spaces.items()})

    def learner(self, name: str) -> Learner:
        """One of those who learn."""
        found = self.learners[name]
        assert isinstance(found, Learner)
        return found

    @property
    def fuses(self) -> bool:
        """Whether what it computes now is fused."""
        return self._form == "fused" and self.training

    def mixed_operation(self, layer: int, scale: int, *, down: bool) -> MixedOperation:
        """Of a cell; see ``Grid.mixed_operations`` for those that are there."""
        mixed = self.cells[_name(layer, scale, down=down)]
        assert isinstance(mixed, MixedOperation)
        return mixed

    def weight_parameters(self) -> list[nn.Parameter]:
        """All but logits."""
        logits = {id(p) for own in self.learners.values() for p in _learner(own).logit_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in logits]

    def forward(self, images: Tensor, learner: str, widths: MapWidths) -> list[Tensor]:
        """Predictions (N, outputs, H / 8, W / 8) of images (N, 3, H, W), RGB, ImageNet-normalised.

        Raises InvalidResolution for sides that the last scale does not divide, or too small ones.
        """
        _check(images, self.grid, training=self.training)
        own = self.learner(learner)
        alpha = [logits.softmax(-1) for logits in own.alpha]
        beta = [logits.softmax(-1) for logits in own.beta]
        stem = own.stem(images)
        assert isinstance(stem, Tensor)
        coming: dict[int, list[tuple[Tensor, Tensor]]] = {0: [(stem.new_ones(()), stem)]}
        for layer in range(self.grid.layers):
            kept: dict[int, Tensor] = {}
            down: dict[int, Tensor] = {}
            for scale, inputs in coming.items():
                chances = alpha[scale][layer - scale]
                cell = _Cell(self, own.grid, widths, layer, scale, inputs)
                kept[scale] = cell.mixed(chances, down=False)
                if _name(layer, scale, down=True) in self.cells:
                    down[scale + 1] = cell.mixed(chances, down=True)
            if layer < self.grid.layers - 1:
                coming = {s: _predecessors(beta, layer + 1, s, kept, down) for s in {**kept, **down}}
        return own.predictions([kept[scale] for scale in range(3)])


class _Cell:
    """The cell at a layer and a scale, in one pass.

    Args:
        inputs: of each predecessor, how probable it is and its map.
    """

    def __init__(
        self,
        supernet: GridSupernet,
        grid: Grid,
        widths: MapWidths,
        layer: int,
        scale: int,
        inputs: Sequence[tuple[Tensor, Tensor]],
    ) -> None:
        self._supernet, self._grid, self._widths = supernet, grid, widths
        self._layer, self._scale = layer, scale
        self._inputs = inputs
        self._maps: CellMaps | None = None
        if supernet.fuses:
            self._maps = CellMaps([x for _, x in inputs], torch.stack([share for share, _ in inputs]))

    def mixed(self, chances: Tensor, *, down: bool) -> Tensor:
        """What it makes of each predecessor, times how probable that is."""
        layer, scale = self._layer, self._scale
        operation = self._supernet.mixed_operation(layer, scale, down=down)
        behind = (layer + 1, scale + down)
        width = self._widths.twelfths.get(behind, self._grid.ratio)
        channels = self._grid.channels(scale + down, width)
        factors = [self._widths.factors[p] for p in ((layer, scale), behind) if p in self._widths.factors]
        if self._maps is not None:
            for factor in factors:
                chances = chances * factor
            return fused_mix(operation, self._maps, chances, channels)
        total: Any = 0
        for share, x in self._inputs:
            value = operation(x, chances, channels)
            for factor in factors:
                value = value * factor
            total = total + share * value
        assert isinstance(total, Tensor)
        return total


def _predecessors(
    beta: Sequence[Tensor], layer: int, scale: int, kept: Mapping[int, Tensor], down: Mapping[int, Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """What comes into a cell from the finer scale and from its own, each with its probability."""
    if scale in kept and scale in down:
        finer, same = beta[scale - 1][layer - scale - 1]
        return [(finer, down[scale]), (same, kept[scale])]
    x = kept[scale] if scale in kept else down[scale]
    return [(x.new_ones(()), x)]


def _name(layer: int, scale: int, *, down: bool) -> str:
    return f"{layer}_{scale}_{'down' if down else 'keep'}"


def _learner(module: nn.Module) -> Learner:
    assert isinstance(module, Learner)
    return module


def _check(images: Tensor, grid: Grid, *, training: bool) -> None:
    last = grid.scales[-1]
    count, _, height, width = images.shape
    if height % last or width % last or min(height, width) < 2 * last:
        nearest = Resolution(*(max(round(side / last), 2) * last for side in (height, width)))
        raise InvalidResolution(
            f"crop {height}x{width}: a supernet takes sides that {last} divides, from {2 * last} on; the "
            f"nearest is {nearest}"
        )
    if training and count * (height // (2 * last)) * (width // (2 * last)) < 2:
        raise InvalidResolution(
            f"crop {height}x{width}, {count} image: zoomed operations of the last scale have one pixel, of "
            f"which there are no batch statistics; take 2 images or more, or from {2 * last}x{4 * last} on"
        )
