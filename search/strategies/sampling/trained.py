"""Networks scored by a short training of their own, from random weights or from another network's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from search.data.loaders import eval_loader
from search.networks.network import Network
from search.parallel.ranks import Ranks
from search.problem.problem import SearchProblem
from search.remapping.begin import begin_network
from search.spaces.space import Genotype
from search.strategies.loading import loader_of
from search.strategies.sampling.recipe import SampledRecipe, TrainingScoring
from search.strategies.sampling.scorer import check_sums
from search.strategies.sampling.tried import Tried
from search.supernet.path_judge import spread
from search.tasks.evaluation import evaluate_network
from search.training.recipe import Cosine, Sgd, Stage
from search.training.trainer import Trainer
from targets.support.files import sha256


class TrainingScorer:
    """Every network is trained from the same seed on the same batches, in each process by itself.

    Works on every space; weights to begin with are for chains whose blocks have kin. Raises what
    ``begin_network`` does.
    """

    alone, about = True, ""

    def __init__(
        self, problem: SearchProblem, recipe: SampledRecipe, scoring: TrainingScoring, ranks: Ranks
    ) -> None:
        self._problem, self._recipe, self._scoring = problem, recipe, scoring
        self._ranks = Ranks(0, 1, ranks.device)  # networks of other processes are others
        self._stage = Stage(
            kind="segmentation",
            name="scoring",
            epochs=scoring.epochs,
            batch_size=recipe.batch_size,
            crop=recipe.crop,
            optimizer=Sgd(learning_rate=scoring.learning_rate, weight_decay=scoring.weight_decay),
            schedule=Cosine(kind="cosine"),
            ema_decay=scoring.average or None,
        )
        self._sums: dict[str, str] = {}
        if scoring.init is not None:  # that it fits is known before the first training
            some = problem.architecture(problem.space.sample(np.random.default_rng(0)), "some")
            self._sums["init"] = sha256(begin_network(some, scoring.init, new_head=scoring.new_head).path)
        self._loader = loader_of(problem, recipe, self._ranks)
        frames = problem.data.frames("train")
        self._loss = problem.task.loss(recipe.loss, frames, problem.head.outputs, self._ranks)
        self.step, self.steps_wanted, self.steps_per_epoch = 0, 0, 1

    def prepare(self) -> float:
        """There is nothing to prepare."""
        raise AssertionError("no step is wanted")

    def score(self, genotype: Genotype, log: Sequence[Tried]) -> Tried:
        """After a training of its own."""
        problem, ranks = self._problem, self._ranks
        network = self._begun(genotype)
        steps = len(self._loader)
        trainer = Trainer(network, self._stage, self._loss, ranks, steps_per_epoch=steps)
        for epoch in range(self._stage.epochs):
            for batch, (images, labels) in enumerate(self._loader.epoch(epoch)):
                trainer.step(images, labels, epoch * steps + batch)
        frames = eval_loader(spread(problem.data.frames("val"), self._recipe.frames), batch_size=1, workers=0)
        meter = problem.task.meter(problem.data)
        evaluate_network(trainer.evaluated, frames, problem.task, meter, ranks)
        return Tried(tuple(genotype.values()), problem.task.reward(meter.scores()))

    def _begun(self, genotype: Genotype) -> Network:
        torch.manual_seed(self._recipe.seed)
        architecture = self._problem.architecture(genotype, "scored")
        network = Network(architecture)
        if self._scoring.init is not None:
            begun = begin_network(architecture, self._scoring.init, new_head=self._scoring.new_head)
            tensors = {name: torch.from_numpy(values) for name, values in begun.tensors.items()}
            network.load_state_dict(tensors, strict=False)  # the others are made anew
        return network.to(self._ranks.device)

    def state(self) -> dict[str, Any]:
        """By which weights networks were scored; nothing is kept between them."""
        return {"weights_sha256": dict(self._sums)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises InvalidCheckpoint where networks were scored by other weights."""
        check_sums(state["weights_sha256"], self._sums)
