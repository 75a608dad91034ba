"""Networks scored as paths through a supernet whose weights they share."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from search.errors import Diverged, InvalidSearch
from search.networks.beginning import begin_quietly
from search.parallel.ranks import Ranks
from search.problem.problem import SearchProblem
from search.spaces.chain import ChainSpace
from search.spaces.space import Genotype
from search.strategies.beginning import begin_with
from search.strategies.loading import loader_of
from search.strategies.sampling.recipe import PathScoring, SampledRecipe
from search.strategies.sampling.scorer import check_sums, teacher_of
from search.strategies.sampling.tried import Tried
from search.supernet import Supernet
from search.supernet.path_judge import Judgement, PathJudge
from search.tasks.task import Loss
from search.training.recipe import Distillation
from search.training.teacher import TeacherLoss


class _PathLoss(nn.Module):
    """Forward and loss in one, as DistributedDataParallel wants it."""

    def __init__(self, supernet: Supernet, loss: Loss, teacher: TeacherLoss | None) -> None:
        super().__init__()
        self.supernet, self._loss, self._teacher = supernet, loss, teacher

    def forward(self, images: Tensor, labels: Tensor, path: list[Tensor]) -> Tensor:
        last = self.supernet(images, path)
        loss = self._loss(last, labels)
        return loss + self._teacher(last, self._teacher.taught(images)) if self._teacher else loss


class PathScorer:
    """Weights shared by all networks of a chain; each step trains one path (SPOS, arXiv:1904.00420).

    Raises:
        InvalidSearch: a space without a supernet of a chain.
        InvalidWeights, InvalidArchitecture: what ``begin_with`` and ``load_teacher`` say.
    """

    alone, about = False, ""

    def __init__(
        self,
        problem: SearchProblem,
        recipe: SampledRecipe,
        scoring: PathScoring,
        ranks: Ranks,
        *,
        goes_on: bool = False,
    ) -> None:
        if not isinstance(problem.space, ChainSpace):
            raise InvalidSearch(
                f"scoring: kind paths needs a supernet of a chain, which space {problem.space.name} has not; "
                "allowed there: kind training, such as --recipe training"
            )
        self._seed, self._scoring, self._ranks = recipe.seed, scoring, ranks
        self._supernet = Supernet(
            problem.space, problem.head.outputs, stride=problem.head.stride, form="plain"
        )
        begin_quietly(self._supernet.decoder, problem.head)
        self.remapped: str | None = None
        if scoring.init is not None and not goes_on:
            self.remapped = begin_with(self._supernet, problem, scoring.init, new_head=scoring.new_head)
        self._supernet.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        frames = problem.data.frames("train")
        loss = problem.task.loss(recipe.loss, frames, problem.head.outputs, ranks)
        self._loader = loader_of(problem, recipe, ranks)
        teacher, how = teacher_of(problem, scoring.teacher), Distillation(coefficient=scoring.distillation)
        self._sums = {"teacher": teacher.weights_sha256} if teacher else {}
        taught = TeacherLoss(teacher, problem.task, how, ranks) if teacher else None
        self._module = ranks.wrap(_PathLoss(self._supernet, loss, taught), all_used=False)
        self._optimizer = torch.optim.SGD(
            self._supernet.weight_parameters(),
            lr=scoring.learning_rate,
            momentum=0.9,
            weight_decay=scoring.weight_decay,
            foreach=True,
        )
        self._batches: Any = None
        by = Judgement(
            recipe.frames, scoring.calibration_batches, recipe.crop, recipe.batch_size, recipe.seed
        )
        self._make_judge: Callable[[], PathJudge] = partial(
            PathJudge, problem.space, self._supernet.path, problem.task, problem.data, by, ranks
        )
        self._judge: PathJudge | None = None
        self.step = 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches of it."""
        return len(self._loader)

    @property
    def steps_wanted(self) -> int:
        """Over all epochs."""
        return self._scoring.epochs * self.steps_per_epoch

    def prepare(self) -> float:
        """Descend along one path."""
        epoch, batch = divmod(self.step, len(self._loader))
        if self._batches is None or batch == 0:
            self._batches = self._loader.epoch(epoch, batch)
        images, labels = (tensor.to(self._ranks.device) for tensor in next(self._batches))
        images = images.contiguous(memory_format=torch.channels_last)
        rate = self._scoring.learning_rate * (1 + math.cos(math.pi * self.step / self.steps_wanted)) / 2
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._supernet.train()
        self._optimizer.zero_grad(set_to_none=True)
        with self._ranks.watched():
            part = self._module(images, labels, self._path())
            part.backward()
            loss = float(self._ranks.mean(part))
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss is {loss} in step {self.step} at a learning rate of {rate:.3g}: lower "
                "scoring.learning_rate"
            )
        self._optimizer.step()
        self.step += 1
        return loss

    def _path(self) -> list[Tensor]:
        """One candidate a position, the same in every process."""
        if self._scoring.sampling == "fair":
            return fair_path([len(names) for names in self._supernet.candidates], self._seed, self.step)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self.step)
        with torch.no_grad():
            return self._supernet.draw(1, 1.0, per_image=False, generator=generator, paths=1)

    def score(self, genotype: Genotype, log: Sequence[Tried]) -> Tried:
        """Of its path, with batch statistics of its own."""
        if self._judge is None:
            self._judge = self._make_judge()
        return Tried(tuple(genotype.values()), self._judge.score(genotype))

    def state(self) -> dict[str, Any]:
        """Weights, optimizer, steps."""
        return {
            "supernet": self._supernet.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "weights_sha256": dict(self._sums),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave. Raises InvalidCheckpoint where another teacher taught."""
        check_sums(state["weights_sha256"], self._sums)
        self._supernet.load_state_dict(state["supernet"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step, self._batches = state["step"], None


def fair_path(counts: Sequence[int], seed: int, step: int) -> list[Tensor]:
    """Weights (1, candidates) a position, of one candidate each.

    Steps come in rounds as long as the largest count: in a round each candidate of such a position has one
    step, in an order of its own, and those of others as equally many as they can.

    Args:
        counts: of candidates at each position.
    """
    length = max(counts)
    round_, turn = divmod(step, length)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + round_)
    path = []
    for count in counts:
        orders = [torch.randperm(count, generator=generator) for _ in range(-(-length // count))]
        path.append(torch.nn.functional.one_hot(torch.cat(orders)[turn], count).float().unsqueeze(0))
    return path
