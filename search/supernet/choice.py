"""A position of the supernet: its candidates, and their weighted sum in either form."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from search.networks.graph_module import GraphModule
from search.spaces.chain import ChainSpace
from search.supernet.fused.fused_sum import fused_sum, fusible

Form = Literal["plain", "fused"]


class Choice(nn.ModuleDict):
    """The candidates of one position, by name.

    Args:
        names: candidates, some of those that the space offers there.
        form: ``plain`` evaluates them in turn, ``fused`` together (in training mode).
        checkpointing: keep only the input for the backward pass, compute everything else again.
        compiled: see ``Supernet``.
    """

    def __init__(
        self,
        space: ChainSpace,
        index: int,
        names: Sequence[str],
        *,
        form: Form,
        checkpointing: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__({name: GraphModule(space.block(index, name)) for name in names})
        position = space.positions[index]
        self._stride = position.stride
        self._keeps_shape = position.stride == 1 and position.in_channels == position.out_channels
        self._form, self._checkpointing, self._compiled = form, checkpointing, compiled

    def forward(self, x: Tensor, weights: Tensor, names: Sequence[str]) -> Tensor:
        """Weighted sum of the candidates ``names``; x (N, C, H, W), weights (N or 1, names)."""
        run = self._fused if self._form == "fused" and self.training else self._plain
        if not (self._checkpointing and torch.is_grad_enabled()):
            return run(x, weights, names)
        again = contextlib.nullcontext, self._paused_statistics
        result: Tensor = checkpoint(
            *(run, x, weights, names), use_reentrant=False, context_fn=lambda: (again[0](), again[1]())
        )
        return result

    def _plain(self, x: Tensor, weights: Tensor, names: Sequence[str]) -> Tensor:
        terms = (weights[:, i].view(-1, 1, 1, 1) * self[name](x) for i, name in enumerate(names))
        total: Tensor = sum(terms, next(terms))
        return total

    def _fused(self, x: Tensor, weights: Tensor, names: Sequence[str]) -> Tensor:
        together = [i for i, name in enumerate(names) if fusible(name)]
        alone = [i for i, name in enumerate(names) if not fusible(name)]
        terms = [weights[:, i].view(-1, 1, 1, 1) * self[names[i]](x) for i in alone]
        if together:
            blocks = [(names[i], self._block(names[i])) for i in together]
            shares = weights[:, together]
            terms.append(fused_sum(x, blocks, shares, self._stride, compiled=self._compiled))
            if self._keeps_shape:
                terms.append(shares.sum(1).view(-1, 1, 1, 1) * x)
        total: Tensor = sum(terms[1:], terms[0])
        return total

    def _block(self, name: str) -> GraphModule:
        block = self[name]
        assert isinstance(block, GraphModule)
        return block

    @contextlib.contextmanager
    def _paused_statistics(self) -> Iterator[None]:
        """What runs again must not be counted again in the running statistics."""
        norms = [m for m in self.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        counts = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
        momenta, counted = [norm.momentum for norm in norms], [count.clone() for count in counts]
        for norm in norms:  # they stay tracked: what is kept for the backward pass must be the same
            norm.momentum = 0.0
        try:
            yield
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
            torch._foreach_copy_(counts, counted)
