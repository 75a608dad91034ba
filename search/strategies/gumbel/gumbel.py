"""Gumbel-softmax search (SqueezeNAS, arXiv:1908.01748, section 4): weights and architecture by descent.

Everything random is a function of the seed and the step, and of nothing else: of no process, worker or
interruption. So a search that was stopped and resumed gives the same numbers as one that was not.
"""

import contextlib
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from search.architecture import Architecture
from search.data.loaders import Batch, TrainLoader
from search.errors import Diverged, FailedTraining
from search.parallel.ranks import Ranks
from search.problem.judged import Judged
from search.problem.strategy import Progress
from search.spaces.space import Genotype
from search.strategies.drawn import draw_networks
from search.strategies.gumbel.recipe import GumbelRecipe
from search.strategies.penalties.budget import BudgetPenalty
from search.strategies.penalties.expected_costs import ExpectedCosts, Penalty
from search.supernet import Supernet
from search.supernet.path_judge import PathJudge
from search.tasks.task import Loss
from targets.support.interrupts import HeldInterrupts

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class _Losses(nn.Module):
    """Everything that has a gradient, in one forward, as DistributedDataParallel wants it."""

    def __init__(self, supernet: Supernet, loss: Loss, penalty: Penalty) -> None:
        super().__init__()
        self.supernet, self._loss, self._penalty = supernet, loss, penalty
        self.sampled_cost = False
        self.dtype = torch.float32

    def forward(
        self, images: Tensor, labels: Tensor, weights: Callable[[], list[Tensor]], priced: bool
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy, and that with the resource loss where ``priced``."""
        drawn = weights()
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.supernet(images, drawn)
        task = self._loss(logits.float(), labels)
        if not priced:
            return task.detach(), task
        spent = [w.mean(0) for w in drawn] if self.sampled_cost else self.supernet.probabilities()
        return task.detach(), task + self._penalty(self.supernet.by_decision(spent))


class GumbelSearch:
    """A ``SearchStrategy``: weights and logits by descent, candidates removed on the way.

    Args:
        supernet: on its device.
        loaders: of the training frames; with ``update: alternately`` two, of one half each: weights, logits.
        penalty: what architectures are paid for.
        costs: what they cost, to be told after every step.
        judge: makes what judges paths once the steps are done; called when first needed.

    Attributes:
        remapped: see ``search.problem.strategy.Remapped``.
    """

    def __init__(
        self,
        supernet: Supernet,
        recipe: GumbelRecipe,
        loaders: Sequence[TrainLoader],
        penalty: BudgetPenalty,
        costs: ExpectedCosts,
        loss: Loss,
        ranks: Ranks,
        judge: Callable[[], PathJudge],
    ) -> None:
        self.supernet, self.recipe, self.ranks = supernet, recipe, ranks
        self._loaders, self._penalty, self._costs = loaders, penalty, costs
        self._make_judge = judge
        self._judge: PathJudge | None = None
        self._losses = _Losses(supernet, loss, penalty)
        self._losses.sampled_cost = recipe.cost == "sampled"
        self._losses.dtype = DTYPES[recipe.precision]
        self._first_candidates = [len(position.candidates) for position in supernet.space.positions]
        self.weights = torch.optim.SGD(
            supernet.weight_parameters(),
            lr=recipe.weights.learning_rate,
            momentum=recipe.weights.momentum,
            weight_decay=recipe.weights.weight_decay,
            foreach=True,  # two thousand small tensors: one by one they take longer than their arithmetic
        )
        self.logits = torch.optim.Adam(
            supernet.logit_parameters(), lr=recipe.logits.learning_rate, betas=recipe.logits.betas
        )
        self.epoch = self.batch = 0  # the next ones
        self.removed: list[tuple[int, int, str]] = []  # epoch, position, candidate
        self.remapped: str | None = None
        self._wrap()

    curves = ("loss", "temperature", "resource_weight", "entropy", "candidates")

    @property
    def steps_per_epoch(self) -> int:
        """The same for all loaders."""
        return min(map(len, self._loaders))

    def _wrap(self) -> None:
        """Anew after candidates were removed: the wrapper knows the parameters it was made with."""
        self._module = self.ranks.wrap(self._losses, all_used=self._paths is None)

    @property
    def _paths(self) -> int | None:
        """How many candidates of a position a step evaluates; None for all."""
        return self.recipe.paths if self.epoch < self.recipe.epochs else 1

    @property
    def step(self) -> int:
        """Steps done."""
        return self.epoch * self.steps_per_epoch + self.batch

    @property
    def steps_wanted(self) -> int:
        """In all."""
        return self.recipe.all_epochs * self.steps_per_epoch

    def steps(self) -> Generator[Progress, None, None]:
        """Go on to the end. A checkpoint may be made after any step, not within one."""
        while self.epoch < self.recipe.all_epochs:
            epoch = self.epoch
            loaders = [loader.epoch(epoch, self.batch) for loader in self._loaders]
            batches = zip(*loaders, strict=False)
            while (found := next(batches, None)) is not None:
                with HeldInterrupts(errors_first=True):
                    progress = self._step(epoch, self.step, found)
                    self.batch += 1
                    if self.batch == self.steps_per_epoch:
                        self._end_epoch()
                    yield progress  # within: a step that is counted is also told

    def _end_epoch(self) -> None:
        self.epoch, self.batch = self.epoch + 1, 0
        if self.epoch == self.recipe.epochs:
            self._wrap()

    def _step(self, epoch: int, step: int, found: Sequence[Batch]) -> Progress:
        searching = self.recipe.warmup_epochs <= epoch < self.recipe.epochs
        self.supernet.train()
        self._set_learning_rate(step)
        together = len(found) == 1
        optimizers: list[torch.optim.Optimizer] = [self.weights]
        if searching and together:
            optimizers.append(self.logits)
        loss = self._descend(found[0], optimizers, step, part=0, priced=searching and together)
        if searching and not together:
            self._descend(found[1], [self.logits], step, part=1, priced=True)
        if searching:
            self._penalty.update(self.supernet.by_decision(self.supernet.probabilities()))
            self._prune(epoch)
        self._check(loss, epoch, step)
        return self._progress(epoch, step, loss)

    def _descend(
        self,
        batch: Batch,
        optimizers: Sequence[torch.optim.Optimizer],
        step: int,
        *,
        part: int,
        priced: bool,
    ) -> float:
        images, labels = (tensor.to(self.ranks.device, non_blocking=True) for tensor in batch)
        images = images.contiguous(memory_format=torch.channels_last)
        self.weights.zero_grad(set_to_none=True)
        self.logits.zero_grad(set_to_none=True)
        compiling = _compiler_explained() if self.recipe.compile else contextlib.nullcontext()
        with self.ranks.watched(), compiling:
            task, total = self._module(images, labels, lambda: self._draw(len(images), step, part), priced)
            total.backward()
        loss = float(self.ranks.mean(task))
        if math.isfinite(loss):
            for optimizer in optimizers:
                optimizer.step()
        return loss

    def _draw(self, images: int, step: int, part: int) -> list[Tensor]:
        """Weights of this rank's images out of those of the whole batch."""
        ranks, recipe = self.ranks, self.recipe
        generator = torch.Generator().manual_seed((recipe.seed * 1_000_003 + step) * 2 + part)
        whole = self.supernet.draw(
            images * ranks.world_size,
            self.temperature(step),
            per_image=recipe.draws == "image",
            generator=generator,
            paths=self._paths,
        )
        if recipe.draws == "batch":
            return whole
        mine = slice(ranks.rank * images, (ranks.rank + 1) * images)
        return [weights[mine] for weights in whole]

    def temperature(self, step: int) -> float:
        """Falls from the first to the last, exponentially, while architectures are searched."""
        first, last = self.recipe.temperature
        start = self.recipe.warmup_epochs * self.steps_per_epoch
        steps = max(self.recipe.epochs * self.steps_per_epoch - 1 - start, 1)
        return float(first * (last / first) ** min(max((step - start) / steps, 0.0), 1.0))

    def _set_learning_rate(self, step: int) -> None:
        """Of the weights: half a cosine over the search, and another one over the paths after it."""
        recipe, searched = self.recipe, self.recipe.epochs * self.steps_per_epoch
        rate, done, total = recipe.weights.learning_rate, step, searched
        if step >= searched:
            rate, done = recipe.path_training.learning_rate, step - searched
            total = recipe.path_training.epochs * self.steps_per_epoch
        rate *= (1 + math.cos(math.pi * done / total)) / 2
        for group in self.weights.param_groups:
            group["lr"] = rate

    def _prune(self, epoch: int) -> None:
        removed = self.supernet.prune(self.recipe.remove_below, optimizers=(self.weights, self.logits))
        if removed:
            self.removed += [(epoch, position, name) for position, name in removed]
            self._wrap()

    def _check(self, loss: float, epoch: int, step: int) -> None:
        if not math.isfinite(loss):
            rate = self.weights.param_groups[0]["lr"]
            raise Diverged(
                f"the loss is {loss} in epoch {epoch + 1}, step {step}, at a learning rate of {rate:.3g}: "
                "lower weights.learning_rate or lengthen warmup_epochs"
            )

    @torch.no_grad()
    def _progress(self, epoch: int, step: int, loss: float) -> Progress:
        probabilities = self.supernet.probabilities()
        shares = [
            float(-(p * p.clamp_min(1e-12).log()).sum()) / math.log(count) if count > 1 else 0.0
            for p, count in zip(probabilities, self._first_candidates, strict=True)
        ]
        costs = self._costs.all(self.supernet.by_decision(probabilities))
        values = {
            "loss": loss,
            "temperature": self.temperature(step),
            "resource_weight": self._penalty.resource_weight,
            "entropy": sum(shares) / len(shares),
            "candidates": sum(map(len, self.supernet.candidates)),
        }
        return Progress(
            epoch=epoch,
            step=step + 1,
            ends_epoch=(step + 1) % self.steps_per_epoch == 0,
            values=values,
            expected={name: float(value) for name, value in costs.items()},
            said=f"epoch {epoch + 1} of {self.recipe.all_epochs}, loss {loss:.3f}, "
            f"temperature {values['temperature']:.2f}, entropy {values['entropy']:.0%}, "
            f"{values['candidates']} candidates left",
        )

    def propose(self, count: int, seed: int) -> list[Genotype]:
        """Drawn from the final distribution, the likeliest network first."""
        probabilities = [p.detach().cpu().tolist() for p in self.supernet.probabilities()]
        networks = draw_networks(probabilities, self.supernet.candidates, count, seed)
        return [self.supernet.space.from_short_form(network) for network in networks]

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

    @torch.no_grad()
    def choices(self) -> list[dict[str, float]]:
        """Of each position, the probability of every candidate that is left."""
        rows = zip(self.supernet.candidates, self.supernet.probabilities(), strict=True)
        return [dict(zip(names, p.cpu().tolist(), strict=True)) for names, p in rows]

    @torch.no_grad()
    def summary(self) -> dict[str, Any]:
        """The final distribution, what it costs, and the candidates that were removed on the way."""
        supernet = self.supernet
        costs = self._costs.all(supernet.by_decision(supernet.probabilities()))
        return {
            "expected": {name: float(value) for name, value in costs.items()},
            "choices": self.choices(),
            "removed": [
                {"epoch": epoch, "position": position, "candidate": name}
                for epoch, position, name in self.removed
            ],
        }

    def state(self) -> dict[str, Any]:
        """Of tensors and plain data."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "candidates": [list(names) for names in self.supernet.candidates],
            "supernet": self.supernet.state_dict(),
            "weights": self.weights.state_dict(),
            "logits": self.logits.state_dict(),
            "resource_weight": self._penalty.resource_weight,
            "removed": [list(entry) for entry in self.removed],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave, into a search whose supernet was made with the candidates left then."""
        self.supernet.load_state_dict(state["supernet"])
        self.weights.load_state_dict(state["weights"])
        self.logits.load_state_dict(state["logits"])
        if self._penalty.controller:
            self._penalty.controller.resource_weight = state["resource_weight"]
        self.removed = [(epoch, position, name) for epoch, position, name in state["removed"]]
        self.epoch, self.batch = state["epoch"], state["batch"]
        self._wrap()


@contextlib.contextmanager
def _compiler_explained() -> Iterator[None]:
    """PyTorch's compiler that finds none for C++ or the GPU, as FailedTraining."""
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).splitlines()[0]
        raise FailedTraining(
            f"compile: true does not work here ({reason}): install a C++ compiler (g++; for a GPU Triton), "
            "or set compile: false in the recipe"
        ) from error
