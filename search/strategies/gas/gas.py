"""A search after GAS (arXiv:1909.06793): weights and logits by descent, from the same batch.

Everything random is a function of the seed and the step: a search that was stopped and resumed, or spread
over processes, sees the same numbers.
"""

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from search.architecture import Architecture
from search.costs.space_costs import SpaceCosts
from search.data.loaders import Batch, TrainLoader
from search.errors import Diverged
from search.parallel.ranks import Ranks
from search.problem.goal import SEARCHED, Budget
from search.problem.judged import Judged
from search.problem.strategy import Progress
from search.spaces.space import Genotype
from search.strategies.gas.draw import drawn, temperature
from search.strategies.gas.latency import EdgeLatency
from search.strategies.gas.messages import Messages
from search.strategies.gas.penalty import LogPenalty
from search.strategies.gas.proposals import Array, by_decision, proposals
from search.strategies.gas.recipe import GasRecipe
from search.strategies.sureness import mean_sureness, undecided
from search.supernet.gas.supernet import CellSupernet
from search.supernet.path_judge import PathJudge
from search.tasks.task import Loss
from targets.support.interrupts import HeldInterrupts


class _Losses(nn.Module):
    """Everything that has a gradient, in one forward, as DistributedDataParallel wants it."""

    def __init__(self, supernet: CellSupernet, messages: Messages, loss: Loss, penalty: LogPenalty) -> None:
        super().__init__()
        self.supernet, self.messages = supernet, messages
        self._loss, self._penalty = loss, penalty

    def forward(
        self, images: Tensor, labels: Tensor, draw: Callable[[Tensor], Tensor], priced: bool
    ) -> tuple[Tensor, Tensor]:
        """The task's loss, and that with what is paid for latency where ``priced``."""
        weights = draw(self.messages(self.supernet.logits))
        task = self._loss(self.supernet(images, weights).float(), labels)
        return task.detach(), task + self._penalty(weights) if priced else task


class GasSearch:
    """A ``SearchStrategy``: in every step each edge draws the weights of its operations.

    Args:
        supernet, messages: on their device.
        latency: of what is mixed, in numpy.
        penalty: what is paid for it.
        costs: of networks.
        judge: makes what judges paths once the steps are done; called when first needed.
    """

    curves = ("loss", "temperature", "resource_weight", "entropy")

    def __init__(
        self,
        supernet: CellSupernet,
        messages: Messages,
        recipe: GasRecipe,
        loader: TrainLoader,
        latency: EdgeLatency,
        penalty: LogPenalty,
        costs: SpaceCosts,
        budget: Budget | None,
        loss: Loss,
        ranks: Ranks,
        judge: Callable[[], PathJudge],
    ) -> None:
        self.supernet, self.messages, self.recipe, self.ranks = supernet, messages, recipe, ranks
        self._loader, self._latency, self._penalty = loader, latency, penalty
        self._costs, self._budget, self._make_judge = costs, budget, judge
        self._judge: PathJudge | None = None
        self.weights = torch.optim.SGD(
            supernet.weight_parameters(),
            lr=recipe.weights.learning_rate,
            momentum=recipe.weights.momentum,
            weight_decay=recipe.weights.weight_decay,
            foreach=True,
        )
        rate = recipe.logits.message_learning_rate or recipe.logits.learning_rate
        groups: list[dict[str, Any]] = [{"params": supernet.logit_parameters()}]
        if telling := list(messages.parameters()):
            groups.append({"params": telling, "lr": rate})
        self.logits = torch.optim.Adam(
            groups,
            lr=recipe.logits.learning_rate,
            betas=recipe.logits.betas,
            weight_decay=recipe.logits.weight_decay,
        )
        self._module = ranks.wrap(_Losses(supernet, messages, loss, penalty))
        self.epoch = self.batch = 0  # the next ones

    @property
    def step(self) -> int:
        """Steps done."""
        return self.epoch * len(self._loader) + self.batch

    @property
    def steps_wanted(self) -> int:
        """In all."""
        return self.recipe.epochs * len(self._loader)

    def steps(self) -> Generator[Progress, None, None]:
        """Go on to the end. A checkpoint may be made after any step, not within one."""
        while self.epoch < self.recipe.epochs:
            batches = self._loader.epoch(self.epoch, self.batch)
            while (found := next(batches, None)) is not None:
                with HeldInterrupts(errors_first=True):
                    yield self._step(found)  # within: a step that is counted is also told

    def _step(self, found: Batch) -> Progress:
        self.supernet.train()
        epoch, step = self.epoch, self.step
        searching = epoch >= self.recipe.warmup_epochs
        rate = self._set_learning_rate(step)
        loss = self._descend(found, step, searching=searching)
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss is {loss} in epoch {epoch + 1}, step {step + 1}, at a learning rate of "
                f"{rate:.3g}: lower weights.learning_rate or lengthen warmup"
            )
        shares = self._shares()
        expected = self._expected(shares)
        if searching:
            self._penalty.update(torch.tensor(shares).to(self.supernet.logits), expected["latency"])
        self.batch += 1
        if self.batch == len(self._loader):
            self.epoch, self.batch = self.epoch + 1, 0
        return self._progress(epoch, step, loss, shares, expected)

    def _descend(self, batch: Batch, step: int, *, searching: bool) -> float:
        images, labels = (tensor.to(self.ranks.device, non_blocking=True) for tensor in batch)
        images = images.contiguous(memory_format=torch.channels_last)
        self.weights.zero_grad(set_to_none=True)
        self.logits.zero_grad(set_to_none=True)
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        heat = self.temperature(step)
        with self.ranks.watched():
            task, total = self._module(images, labels, lambda own: drawn(own, heat, generator), searching)
            total.backward()
        loss = float(self.ranks.mean(task))
        if math.isfinite(loss):
            self.weights.step()
            if searching:
                self.logits.step()
        return loss

    def temperature(self, step: int) -> float:
        """Falls from the first to the last, exponentially, while logits learn."""
        start = self.recipe.warmup_epochs * len(self._loader)
        steps = max(self.steps_wanted - 1 - start, 1)
        return temperature((step - start) / steps, *self.recipe.temperature)

    def _set_learning_rate(self, step: int) -> float:
        """Of the weights: half a cosine over the search."""
        own = self.recipe.weights
        fallen = (1 + math.cos(math.pi * step / self.steps_wanted)) / 2
        rate = own.last_learning_rate + (own.learning_rate - own.last_learning_rate) * fallen
        for group in self.weights.param_groups:
            group["lr"] = rate
        return rate

    @torch.no_grad()
    def _shares(self) -> Array:
        """How probable each operation is: (cells, edges, operations), messages included."""
        logits = self.messages(self.supernet.logits).double()
        return logits.softmax(-1).cpu().numpy()  # type: ignore[no-any-return]

    def _expected(self, shares: Array) -> dict[str, float]:
        """Mean costs of networks of the distribution."""
        costs = self._costs.expected(by_decision(self._costs.space, shares))
        return {name: costs[name] for name in SEARCHED}

    def _progress(
        self, epoch: int, step: int, loss: float, shares: Array, expected: Mapping[str, float]
    ) -> Progress:
        values = {
            "loss": loss,
            "temperature": self.temperature(step),
            "resource_weight": self._penalty.beta,
            "entropy": mean_sureness(shares).entropy,
        }
        return Progress(
            epoch=epoch,
            step=step + 1,
            ends_epoch=(step + 1) % len(self._loader) == 0,
            values=values,
            expected=expected,
            said=f"epoch {epoch + 1} of {self.recipe.epochs}, loss {loss:.3f}, temperature "
            f"{values['temperature']:.2f}, beta {values['resource_weight']:.3g}, entropy "
            f"{values['entropy']:.0%}",
        )

    def propose(self, count: int, seed: int) -> list[Genotype]:
        """The likeliest network, also within the budget, and draws from the final distribution."""
        found = proposals(self._costs, self._latency, self._shares(), self._budget, count, seed)
        return list(found)

    def score(self, genotype: Genotype) -> float:
        """Of the network's path through the supernet."""
        if self._judge is None:
            self._judge = self._make_judge()
        return self._judge.score(genotype)

    def worth(self, network: Judged) -> float:
        """Its score."""
        return network.score

    def companions(self) -> dict[str, Architecture]:
        """None."""
        return {}

    def choices(self) -> list[dict[str, float]]:
        """Of each edge, the probability of every operation."""
        space = self._costs.space
        rows = zip(space.decisions, by_decision(space, self._shares()).values(), strict=True)
        return [dict(zip(own.options, row.tolist(), strict=True)) for own, row in rows]

    def summary(self) -> dict[str, Any]:
        """The final distribution, what it costs, and how sure it is."""
        shares = self._shares()
        sure = {"cells": {"operation": mean_sureness(shares)}}
        return {
            "expected": self._expected(shares),
            "choices": self.choices(),
            "sureness": {"cells": {"operation": asdict(sure["cells"]["operation"])}},
            "undecided": undecided(sure),
        }

    def state(self) -> dict[str, Any]:
        """Of tensors and plain data."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "supernet": self.supernet.state_dict(),
            "messages": self.messages.state_dict(),
            "weights": self.weights.state_dict(),
            "logits": self.logits.state_dict(),
            "penalty": list(self._penalty.state()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave."""
        self.supernet.load_state_dict(state["supernet"])
        self.messages.load_state_dict(state["messages"])
        self.weights.load_state_dict(state["weights"])
        self.logits.load_state_dict(state["logits"])
        beta, ratio = state["penalty"]
        self._penalty.restore((beta, ratio))
        self.epoch, self.batch = state["epoch"], state["batch"]
