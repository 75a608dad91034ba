"""How accurate a network is that a search tries out: as a path through a supernet, or trained briefly."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from search.data.loaders import Augmentation, TrainLoader, eval_loader, train_loader
from search.errors import Diverged, InvalidSearch
from search.networks.beginning import begin_quietly
from search.networks.network import Network
from search.parallel.ranks import Ranks
from search.problem.problem import SearchProblem
from search.spaces.chain import ChainSpace
from search.spaces.space import Genotype
from search.strategies.beginning import begin_with
from search.strategies.sampling.progressive import ProgressiveScorer
from search.strategies.sampling.recipe import PathScoring, ProgressiveScoring, SampledRecipe, TrainingScoring
from search.strategies.sampling.tried import Tried
from search.supernet import Supernet
from search.supernet.path_judge import Judgement, PathJudge, spread
from search.tasks.evaluation import evaluate_network
from search.tasks.task import Loss
from search.training.recipe import Cosine, Sgd, Stage
from search.training.trainer import Trainer


class Scorer(Protocol):
    """Prepares itself in ``steps_wanted`` steps, then scores networks.

    Everything random is a function of the recipe's seed and the step or the network.

    Attributes:
        alone: whether each process scores networks by itself; else all score one together.
        about: what to know of it while it scores, a phrase or nothing.
    """

    step: int

    @property
    def alone(self) -> bool: ...

    @property
    def about(self) -> str: ...

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def steps_wanted(self) -> int: ...

    def prepare(self) -> float:
        """The next step; returns its loss."""

    def score(self, genotype: Genotype, log: Sequence[Tried]) -> Tried:
        """A network and the task's reward; the same in every process.

        Args:
            log: of the networks before it.

        Raises Diverged, and what PyTorch raises where memory runs out.
        """

    def state(self) -> dict[str, Any]:
        """Tensors and plain data."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave."""


def make_scorer(
    problem: SearchProblem, recipe: SampledRecipe, ranks: Ranks, *, goes_on: bool = False
) -> Scorer:
    """As the recipe says.

    Args:
        goes_on: whether it is to be restored, and needs no weights to begin with.

    Raises InvalidSearch for paths in a space that has no supernet, and what ``begin_with`` and
    ``ProgressiveScorer`` do.
    """
    if isinstance(recipe.scoring, PathScoring):
        return PathScorer(problem, recipe, recipe.scoring, ranks, goes_on=goes_on)
    if isinstance(recipe.scoring, ProgressiveScoring):
        return ProgressiveScorer(problem, recipe, recipe.scoring, ranks)
    return TrainingScorer(problem, recipe, recipe.scoring, ranks)


def _loader(problem: SearchProblem, recipe: SampledRecipe, ranks: Ranks) -> TrainLoader:
    return train_loader(
        problem.data.frames("train"),
        Augmentation(recipe.crop, recipe.scale, recipe.flip, recipe.colour),
        batch_size=ranks.share(recipe.batch_size),
        workers=recipe.workers,
        seed=recipe.seed,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )


class _PathLoss(nn.Module):
    """Forward and loss in one, as DistributedDataParallel wants it."""

    def __init__(self, supernet: Supernet, loss: Loss) -> None:
        super().__init__()
        self.supernet, self._loss = supernet, loss

    def forward(self, images: Tensor, labels: Tensor, path: list[Tensor]) -> Tensor:
        return self._loss(self.supernet(images, path), labels)


class PathScorer:
    """Weights shared by all networks of a chain; each step trains one path, drawn uniformly (SPOS,
    arXiv:1904.00420)."""

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
        self._loader = _loader(problem, recipe, ranks)
        self._module = ranks.wrap(_PathLoss(self._supernet, loss), all_used=False)
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
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave."""
        self._supernet.load_state_dict(state["supernet"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step, self._batches = state["step"], None


class TrainingScorer:
    """Every network is trained from the same seed on the same batches. Works on every space."""

    alone, about = False, ""

    def __init__(
        self, problem: SearchProblem, recipe: SampledRecipe, scoring: TrainingScoring, ranks: Ranks
    ) -> None:
        self._problem, self._recipe, self._ranks = problem, recipe, ranks
        self._stage = Stage(
            kind="segmentation",
            name="scoring",
            epochs=scoring.epochs,
            batch_size=recipe.batch_size,
            crop=recipe.crop,
            optimizer=Sgd(learning_rate=scoring.learning_rate, weight_decay=scoring.weight_decay),
            schedule=Cosine(kind="cosine"),
        )
        self._loader = _loader(problem, recipe, ranks)
        frames = problem.data.frames("train")
        self._loss = problem.task.loss(recipe.loss, frames, problem.head.outputs, ranks)
        self.step, self.steps_wanted, self.steps_per_epoch = 0, 0, 1

    def prepare(self) -> float:
        """There is nothing to prepare."""
        raise AssertionError("no step is wanted")

    def score(self, genotype: Genotype, log: Sequence[Tried]) -> Tried:
        """After a training of its own."""
        problem, ranks = self._problem, self._ranks
        torch.manual_seed(self._recipe.seed)
        network = Network(problem.architecture(genotype, "scored")).to(ranks.device)
        steps = len(self._loader)
        trainer = Trainer(network, self._stage, self._loss, ranks, steps_per_epoch=steps)
        for epoch in range(self._stage.epochs):
            for batch, (images, labels) in enumerate(self._loader.epoch(epoch)):
                trainer.step(images, labels, epoch * steps + batch)
        frames = eval_loader(
            spread(problem.data.frames("val"), self._recipe.frames),
            batch_size=1,
            workers=0,
            rank=ranks.rank,
            world_size=ranks.world_size,
        )
        meter = problem.task.meter(problem.data)
        evaluate_network(trainer.evaluated, frames, problem.task, meter, ranks)
        return Tried(tuple(genotype.values()), problem.task.reward(meter.scores()))

    def state(self) -> dict[str, Any]:
        """Nothing is kept between networks."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing."""
