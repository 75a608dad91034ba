"""Scores of networks that ``ranking_scorers.py`` judges: paths through supernets, and networks untrained."""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from records import say

from cost_models.lookup import cost_model
from search.architecture import architecture_for
from search.costs.chain_costs import space_costs
from search.data.datasets import open_data
from search.data.loaders import Augmentation, train_loader
from search.networks.network import Network
from search.parallel.ranks import Ranks
from search.problem.goal import Mix
from search.problem.problem import SearchProblem
from search.resolution import Resolution
from search.spaces.registry import get_space
from search.spaces.space import Genotype
from search.strategies.sampling.guesses import guessed
from search.strategies.sampling.paths import PathScorer
from search.strategies.sampling.recipe import PathScoring, RandomRecipe, TrainingScoring
from search.strategies.sampling.trained import TrainingScorer
from search.strategies.sampling.tried import Tried
from search.tasks.registry import TASKS
from targets import load_device

_TARGET = "local-cpu"  # of costs that no score asks for
_CALIBRATION = 4  # batches
_BATCH = 8

Vector = npt.NDArray[np.float64]


def scores_of_networks(
    genotypes: Sequence[Sequence[str]], args: argparse.Namespace
) -> Iterator[tuple[str, Vector]]:
    """Names of scores, and a number for each network; higher is better."""
    problem = _problem(args)
    names = [decision.name for decision in problem.space.decisions]
    known = [dict(zip(names, genotype, strict=True)) for genotype in genotypes]
    if args.untrained:
        yield from _untrained(problem, known)
    for epochs in args.trained:
        yield f"trained alone, {epochs} epochs", _trained(problem, known, epochs, args)
    for epochs in args.paths:
        yield from _paths(problem, known, epochs, args)


def _trained(
    problem: SearchProblem, known: Sequence[Genotype], epochs: int, args: argparse.Namespace
) -> Vector:
    given = {"weight_decay": 1e-4, "init": args.init, "new_head": args.new_head}
    scoring = TrainingScoring(kind="training", epochs=epochs, **given)
    recipe = _recipe(args, 1, 0).model_copy(update={"scoring": scoring})
    scorer = TrainingScorer(problem, recipe, scoring, Ranks.start())
    return np.array([scorer.score(genotype, ()).reward for genotype in known])


def _paths(
    problem: SearchProblem, known: Sequence[Genotype], epochs: int, args: argparse.Namespace
) -> Iterator[tuple[str, Vector]]:
    trained = _scorer(problem, args, epochs, _CALIBRATION)
    while trained.step < epochs * trained.steps_per_epoch:
        loss = trained.prepare()
        if trained.step % trained.steps_per_epoch == 0:
            say(f"supernet: epoch {trained.step // trained.steps_per_epoch} of {epochs}, loss {loss:.3f}")
    plain = _scorer(problem, args, epochs, 0)
    plain.restore(trained.state())
    taught = f", taught by {args.teacher}" if args.teacher and epochs else ""
    name = f"{args.sampling} paths, {epochs} epochs{taught}" if epochs else "paths, 0 epochs"
    scored = [_tried(trained, genotype) for genotype in known]
    yield f"{name}, statistics of their own", np.array([tried.reward for tried in scored])
    if args.more:
        random = np.random.default_rng(1)
        scored += [_tried(trained, problem.space.sample(random)) for _ in range(args.more)]
        yield f"{name}, trees over {len(scored)}", guessed(problem.costs, scored, known)
    yield f"{name}, without", np.array([_tried(plain, genotype).reward for genotype in known])


def _tried(scorer: PathScorer, genotype: Genotype) -> Tried:
    return scorer.score(genotype, ())


def _problem(args: argparse.Namespace) -> SearchProblem:
    space, task, data = get_space(args.space), TASKS["segmentation"], open_data(args.data)
    size = Resolution.parse(args.resolution)
    return SearchProblem(
        space=space,
        task=task,
        data=data,
        costs=space_costs(cost_model(load_device(_TARGET)), space, size, task.head(data)),
        target=_TARGET,
        mix=Mix.parse("macs"),
        budget=None,
        strategy="random",
        recipe=_recipe(args, 1, 0),
        resolution=size,
        data_spec=args.data,
    )


def _recipe(args: argparse.Namespace, epochs: int, batches: int) -> RandomRecipe:
    scoring = PathScoring(
        kind="paths",
        epochs=max(epochs, 1),
        calibration_batches=batches,
        sampling=args.sampling,
        teacher=args.teacher,
        distillation=args.distillation,
        init=args.init,
        new_head=args.new_head,
    )
    return RandomRecipe(
        schema_version=1,
        kind="random",
        name="ranking",
        summary="of the bench",
        crop=tuple(args.crop),
        scale=(0.5, 1.0),
        batch_size=_BATCH,
        workers=0,
        scoring=scoring,
        candidates=1,
        frames=args.frames,
    )


def _scorer(problem: SearchProblem, args: argparse.Namespace, epochs: int, batches: int) -> PathScorer:
    recipe = _recipe(args, epochs, batches)
    assert isinstance(recipe.scoring, PathScoring)
    return PathScorer(problem, recipe, recipe.scoring, Ranks.start())


def _untrained(problem: SearchProblem, genotypes: Sequence[Genotype]) -> Iterator[tuple[str, Vector]]:
    """Scores "at no cost" as in "Zero-Cost Proxies for Lightweight NAS" (arXiv:2101.08134, section 3)."""
    recipe = problem.recipe
    assert isinstance(recipe, RandomRecipe)
    loader = train_loader(
        problem.data.frames("train"),
        Augmentation(recipe.crop, (1.0, 1.0), False, 0.0),
        batch_size=_BATCH,
        workers=0,
        seed=0,
    )
    images, labels = next(iter(loader.epoch(0)))
    frames = problem.data.frames("train")
    loss = problem.task.loss(recipe.loss, frames, problem.head.outputs, Ranks.start())
    gradients, flows = [], []
    for genotype in genotypes:
        torch.manual_seed(0)
        network = Network(architecture_for(problem.space, genotype, problem.data, name="untrained")).train()
        torch.autograd.backward(loss(network(images), labels))
        gradients.append(sum(float(p.grad.norm()) for p in network.parameters() if p.grad is not None))
        flows.append(_synaptic_flow(network, images[:1]))
    yield "norm of gradients, untrained", np.array(gradients)
    yield "synaptic flow, untrained", np.array(flows)


def _synaptic_flow(network: Network, image: torch.Tensor) -> float:
    """The logarithm of the sum of |weight x gradient|, all weights positive and the image of ones."""
    network.eval().double().zero_grad(set_to_none=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    torch.autograd.backward(network(torch.ones_like(image, dtype=torch.float64)).sum())
    total = sum(float((p.detach() * p.grad).sum()) for p in network.parameters() if p.grad is not None)
    return float(np.log(max(total, np.finfo(np.float64).tiny)))
