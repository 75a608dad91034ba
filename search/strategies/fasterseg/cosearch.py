"""FasterSeg's search (arXiv:1912.10917): a student and its teacher over shared cells, by descent.

Everything random is a function of the seed and the step: a search that was stopped and resumed, or spread
over processes, sees the same numbers.
"""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from search.architecture import Architecture
from search.data.loaders import Batch, TrainLoader
from search.errors import Diverged
from search.parallel.ranks import Ranks
from search.problem.goal import Budget
from search.problem.judged import Judged
from search.problem.strategy import Progress
from search.spaces.fasterseg.derive import score
from search.spaces.fasterseg.logits import Logits
from search.spaces.fasterseg.probabilities import option_probabilities
from search.spaces.space import Genotype
from search.strategies.fasterseg.derived import PAIRS, DerivedNetworks
from search.strategies.fasterseg.flatness import sureness
from search.strategies.fasterseg.head_judge import HeadJudge
from search.strategies.fasterseg.latency import KINDS, Chances
from search.strategies.fasterseg.passes import (
    STUDENT,
    TEACHER,
    Pass,
    likeliest_widths,
    pretraining_passes,
    search_passes,
)
from search.strategies.fasterseg.penalty import DecoupledPenalty
from search.strategies.fasterseg.recipe import CosearchRecipe
from search.strategies.sureness import undecided
from search.supernet.fasterseg.supernet import PREDICTIONS, GridSupernet, Learner
from search.tasks.task import Loss
from targets.support.interrupts import HeldInterrupts

Passes = Callable[[GridSupernet, torch.Generator], Sequence[Pass]]


@dataclass(frozen=True)
class Loaders:
    """Batches: of the first half of the training frames for the pretraining and for weights, of the second
    half for logits."""

    pretraining: TrainLoader
    weights: TrainLoader
    logits: TrainLoader


@dataclass(frozen=True)
class Handed:
    """The teacher's network, and what it is in the search."""

    genotype: dict[str, str]
    reward: float
    latency_s: float


class CoSearch:
    """A ``SearchStrategy``: weights and logits by turns, each from frames of its own.

    Args:
        supernet: on its device.
        networks: that the logits of each learner mean.
        penalty: what the student pays for its latency.
        loss: of predictions, which are of a smaller size than the truth.
        judge: makes what judges the heads once the steps are done; called when first needed.
        teacher: makes the architecture of the teacher's network.
    """

    curves = ("loss", "resource_weight", *(f"entropy_{kind}" for kind in KINDS))

    def __init__(
        self,
        supernet: GridSupernet,
        recipe: CosearchRecipe,
        loaders: Loaders,
        networks: Mapping[str, DerivedNetworks],
        penalty: DecoupledPenalty,
        budget: Budget,
        loss: Loss,
        ranks: Ranks,
        judge: Callable[[], HeadJudge],
        teacher: Callable[[Handed], Architecture],
    ) -> None:
        self.supernet, self.recipe, self.ranks = supernet, recipe, ranks
        self._loaders, self._networks, self._penalty, self._loss = loaders, networks, penalty, loss
        self._budget, self._make_judge, self._make_teacher = budget, judge, teacher
        self._rewards: dict[str, dict[int, float]] | None = None
        self._costs: tuple[list[dict[str, str]], dict[str, float]] | None = None
        ranks.share_statistics(supernet)
        self.weights = torch.optim.SGD(
            supernet.weight_parameters(),
            lr=recipe.weights.learning_rate,
            momentum=recipe.weights.momentum,
            weight_decay=recipe.weights.weight_decay,
            foreach=True,
        )
        self.logits = {
            name: torch.optim.Adam(
                self._learner(name).logit_parameters(),
                lr=recipe.logits.learning_rate,
                betas=recipe.logits.betas,
            )
            for name in (TEACHER, STUDENT)
        }
        self.epoch = self.batch = 0  # the next ones

    def _learner(self, name: str) -> Learner:
        return self.supernet.learner(name)

    def _learned(self, name: str) -> Logits:
        """As they are now."""
        own = self._learner(name)
        parts = (own.alpha, own.beta, own.ratio)
        return Logits(*(tuple(p.detach().cpu().double().numpy() for p in part) for part in parts))

    @property
    def _pretrains(self) -> bool:
        return self.epoch < self.recipe.pretraining.epochs

    @property
    def _steps_per_epoch(self) -> int:
        """Of the epoch at hand."""
        if self._pretrains:
            return len(self._loaders.pretraining)
        return min(len(self._loaders.weights), len(self._loaders.logits))

    @property
    def step(self) -> int:
        """Steps done."""
        before = min(self.epoch, self.recipe.pretraining.epochs)
        done = before * len(self._loaders.pretraining) + self.batch
        return done + (self.epoch - before) * min(len(self._loaders.weights), len(self._loaders.logits))

    @property
    def steps_wanted(self) -> int:
        """In all."""
        searching = min(len(self._loaders.weights), len(self._loaders.logits))
        recipe = self.recipe
        return recipe.pretraining.epochs * len(self._loaders.pretraining) + recipe.epochs * searching

    def steps(self) -> Generator[Progress, None, None]:
        """Go on to the end. A checkpoint may be made after any step, not within one."""
        while self.epoch < self.recipe.all_epochs:
            batches = self._batches()
            while (found := next(batches, None)) is not None:
                with HeldInterrupts(errors_first=True):
                    yield self._step(found)  # within: a step that is counted is also told

    def _batches(self) -> Iterator[tuple[Batch, ...]]:
        """What is left of the epoch: in the pretraining for weights, then for logits and for weights."""
        loaders = [self._loaders.pretraining]
        if not self._pretrains:
            loaders = [self._loaders.logits, self._loaders.weights]
        return zip(*(loader.epoch(self.epoch, self.batch) for loader in loaders), strict=False)

    def _step(self, found: tuple[Batch, ...]) -> Progress:
        self.supernet.train()
        epoch, step = self.epoch, self.step
        rate = self._set_learning_rate(epoch)
        if self._pretrains:
            loss = self._descend(found[0], pretraining_passes, [self.weights], step, part=0)
        else:
            self._descend(found[0], search_passes, list(self.logits.values()), step, part=1)
            loss = self._descend(found[1], search_passes, [self.weights], step, part=0)
        self._check(loss, "loss", epoch, step, rate)
        self.batch += 1
        ends_epoch = self.batch == self._steps_per_epoch
        progress = self._progress(epoch, step, loss, ends_epoch=ends_epoch)
        if ends_epoch:
            self._end_epoch()
        return progress

    def _end_epoch(self) -> None:
        if not self._pretrains:
            networks = self._networks[STUDENT]
            pairs = networks.pairs(self._learned(STUDENT))
            self._penalty.steer(networks.latencies_s(pairs).tolist())
        self.epoch, self.batch = self.epoch + 1, 0
        if self.epoch == self.recipe.pretraining.epochs:
            self.weights.state.clear()  # the search begins with weights alone

    def _descend(
        self,
        batch: Batch,
        passes: Passes,
        optimizers: Sequence[torch.optim.Optimizer],
        step: int,
        *,
        part: int,
    ) -> float:
        """A step down the sum of the passes' losses; returns the mean of their predictions'."""
        images, labels = (tensor.to(self.ranks.device, non_blocking=True) for tensor in batch)
        images = images.contiguous(memory_format=torch.channels_last)
        learning = [p for own in optimizers for group in own.param_groups for p in group["params"]]
        self._learn_alone(learning)
        generator = torch.Generator().manual_seed((self.recipe.seed * 1_000_003 + step) * 2 + part)
        total = torch.zeros((), device=self.ranks.device)
        with self.ranks.watched():
            walked = passes(self.supernet, generator)
            for own in walked:
                predictions = self.supernet(images, own.learner, own.widths)
                loss = sum((self._loss(p.float(), labels) for p in predictions), torch.zeros_like(total))
                total += loss.detach()
                if own.paid and part == 1:
                    loss = loss + self._penalty(self._chances(own))
                torch.autograd.backward(loss)
            self.ranks.average(learning)
            found = float(self.ranks.mean(total)) / (len(walked) * len(PREDICTIONS))
        if math.isfinite(found):
            self._update(learning, optimizers, step)
        return found

    def _learn_alone(self, learning: Sequence[nn.Parameter]) -> None:
        """Gradients for these parameters and no others, none yet."""
        chosen = set(map(id, learning))
        for parameter in self.supernet.parameters():
            parameter.grad = None
            parameter.requires_grad_(id(parameter) in chosen)

    def _update(
        self, learning: Sequence[nn.Parameter], optimizers: Sequence[torch.optim.Optimizer], step: int
    ) -> None:
        if self.weights in optimizers:
            norm = nn.utils.clip_grad_norm_(learning, self.recipe.weights.gradient_norm, foreach=True)
            rate = self.weights.param_groups[0]["lr"]
            self._check(float(norm), "gradient's norm", self.epoch, step, rate)
        for optimizer in optimizers:
            optimizer.step()

    def _chances(self, own: Pass) -> Chances:
        """By which a pass pays; widths are as it has drawn them."""
        learner = self._learner(own.learner)
        alpha, beta = ([p.softmax(-1) for p in part] for part in (learner.alpha, learner.beta))
        return Chances(alpha, beta, own.widths.rows)

    def _set_learning_rate(self, epoch: int) -> float:
        """Of the weights: falls by the same factor each epoch, in the search anew."""
        recipe, before = self.recipe, self.recipe.pretraining.epochs
        first = recipe.pretraining.learning_rate if epoch < before else recipe.weights.learning_rate
        rate = first * recipe.weights.decay ** (epoch if epoch < before else epoch - before)
        for group in self.weights.param_groups:
            group["lr"] = rate
        return rate

    def _check(self, value: float, what: str, epoch: int, step: int, rate: float) -> None:
        if not math.isfinite(value):
            part = "pretraining" if epoch < self.recipe.pretraining.epochs else "weights"
            raise Diverged(
                f"the {what} is {value} in epoch {epoch + 1}, step {step + 1}, at a learning rate of "
                f"{rate:.3g}: lower {part}.learning_rate"
            )

    def _progress(self, epoch: int, step: int, loss: float, *, ends_epoch: bool) -> Progress:
        sure = sureness(self._learned(STUDENT))
        values = {"loss": loss, "resource_weight": self._penalty.weight}
        values |= {f"entropy_{kind}": sure[kind].entropy for kind in KINDS}
        said = f"epoch {epoch + 1} of {self.recipe.all_epochs}, loss {loss:.3f}, "
        if epoch < self.recipe.pretraining.epochs:
            said += "weights alone"
        else:
            told = ", ".join(f"{kind} {sure[kind].entropy:.0%}" for kind in KINDS)
            said += f"latency weighs {self._penalty.weight:.3g}, entropy of {told}"
        return Progress(
            epoch=epoch,
            step=step + 1,
            ends_epoch=ends_epoch,
            values=values,
            expected=self._expected(),
            said=said,
        )

    def _expected(self) -> dict[str, float]:
        """Mean costs of the student in both pairs of branches, of which accuracy has yet to choose one."""
        pairs = self._networks[STUDENT].pairs(self._learned(STUDENT))
        if self._costs is None or self._costs[0] != pairs:
            spent = self._networks[STUDENT].spent(pairs)
            self._costs = pairs, {name: float(values.mean()) for name, values in spent.items()}
        return self._costs[1]

    def propose(self, count: int, seed: int) -> list[Genotype]:
        """The student in both pairs of branches as its logits have it, and within the budget where that is
        dearer; those that keep it first."""
        networks, logits = self._networks[STUDENT], self._learned(STUDENT)
        found = networks.pairs(logits)
        found += [networks.within(logits, fine_scale, self._budget.value) for fine_scale in PAIRS]
        different = list({tuple(own.values()): own for own in found}.values())
        dear = (networks.latencies_s(different) > self._budget.value).tolist()
        order = sorted(range(len(different)), key=dear.__getitem__)
        return [different[place] for place in order[:count]]

    def score(self, genotype: Genotype) -> float:
        """Of the supernet's head on the last maps of its pair of branches, the student's logits and likeliest
        widths given; networks of one pair are not told apart."""
        ends_at_second = self._networks[STUDENT].space.ends_at_second(genotype)
        return self._heads()[STUDENT][PAIRS[0] if ends_at_second else PAIRS[1]]

    def worth(self, network: Judged) -> float:
        """By which the authors choose the pair of branches: faster ones are worth a little more."""
        return score(network.score, network.latency_s)

    def companions(self) -> dict[str, Architecture]:
        """The teacher, its pair of branches chosen by its own numbers."""
        networks = self._networks[TEACHER]
        pairs = networks.pairs(self._learned(TEACHER))
        spent_s = networks.latencies_s(pairs).tolist()
        rewards = self._heads()[TEACHER]
        found = [Handed(p, rewards[s], own_s) for s, p, own_s in zip(PAIRS, pairs, spent_s, strict=True)]
        best = max(found, key=lambda own: score(own.reward, own.latency_s))
        return {TEACHER: self._make_teacher(best)}

    def _heads(self) -> dict[str, dict[int, float]]:
        """Rewards by learner and scale at which the fine branch ends."""
        if self._rewards is None:
            judge = self._make_judge()
            self._rewards = {
                name: judge.scores(name, likeliest_widths(self.supernet, name)) for name in self._networks
            }
        return self._rewards

    def choices(self) -> list[dict[str, float]]:
        """The student's."""
        space = self._networks[STUDENT].space
        rows = option_probabilities(space, self._learned(STUDENT)).values()
        pairs = zip(space.decisions, rows, strict=True)
        return [dict(zip(own.options, row.tolist(), strict=True)) for own, row in pairs]

    def summary(self) -> dict[str, Any]:
        """What the student costs, its distribution, and how sure it and its teacher are."""
        sure = {name: sureness(self._learned(name)) for name in (STUDENT, TEACHER)}
        return {
            "expected": self._expected(),
            "choices": self.choices(),
            "sureness": {
                name: {kind: asdict(own) for kind, own in kinds.items()} for name, kinds in sure.items()
            },
            "undecided": undecided(sure),
        }

    def state(self) -> dict[str, Any]:
        """Of tensors and plain data."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "supernet": self.supernet.state_dict(),
            "weights": self.weights.state_dict(),
            "logits": {name: own.state_dict() for name, own in self.logits.items()},
            "resource_weight": self._penalty.weight,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave."""
        self.supernet.load_state_dict(state["supernet"])
        self.weights.load_state_dict(state["weights"])
        for name, own in self.logits.items():
            own.load_state_dict(state["logits"][name])
        self._penalty.weight = float(state["resource_weight"])
        self.epoch, self.batch = state["epoch"], state["batch"]
