"""Decoders scored over an encoder that is trained already: on its kept maps first, then together with it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from search.data.loaders import Augmentation, TrainLoader, eval_loader, train_loader
from search.errors import Diverged, InvalidRecipe, InvalidSearch
from search.networks.graph_module import GraphModule
from search.networks.names import ENCODER, HasEncoder
from search.networks.split import SplitNetwork
from search.networks.weights import load_encoder
from search.parallel.ranks import Ranks
from search.problem.problem import SearchProblem
from search.spaces.encoders import Encoder
from search.spaces.space import Genotype
from search.strategies.fastdense.stopping import EarlyStop
from search.strategies.sampling.maps import KeptMaps, Taught, kept_bytes
from search.strategies.sampling.recipe import ProgressiveScoring, SampledRecipe
from search.strategies.sampling.scorer import check_sums, teacher_of
from search.strategies.sampling.tried import Tried
from search.supernet.path_judge import spread
from search.tasks.evaluation import evaluate_network
from search.training.ema import Polyak
from targets.support.files import sha256

DECODER, EVERYTHING = "decoder", "everything"


class ProgressiveScorer:
    """Every network is trained from the same seed on the same frames, in each process by itself.

    Raises:
        InvalidSearch: a space without an encoder.
        InvalidData: fewer frames than a batch.
        InvalidRecipe: no weights are named, or kept maps would take more memory than the recipe allows.
        InvalidWeights: those of another encoder, or a teacher's.
        InvalidArchitecture: a teacher of another task or other classes.
    """

    alone = True

    def __init__(
        self, problem: SearchProblem, recipe: SampledRecipe, scoring: ProgressiveScoring, ranks: Ranks
    ) -> None:
        self._problem, self._recipe, self._scoring = problem, recipe, scoring
        self._ranks = Ranks(0, 1, ranks.device)  # networks of other processes are others
        self._encoder = _encoder(problem)
        path = _init(recipe, scoring, self._encoder)
        found = load_encoder(self._encoder, path)
        self._weights = {name: torch.from_numpy(values) for name, values in found.items()}
        self._teacher = teacher_of(problem, scoring.teacher)
        self._sums = {"init": sha256(path)}
        if self._teacher:
            self._sums["teacher"] = self._teacher.weights_sha256
        frames = problem.data.frames("train")
        self._loss = problem.task.loss(recipe.loss, frames, problem.head.outputs, self._ranks)
        self._mib = self._needed_mib()
        first, then = scoring.decoder, scoring.everything
        steps = math.ceil(first.frames / recipe.batch_size)
        self._once = self._loader(first.crop, recipe.batch_size, steps, 0)
        self._frames = self._loader(then.crop, then.batch_size, then.steps, 1) if then else None
        self.step, self.steps_wanted, self.steps_per_epoch = 0, 0, 1

    @property
    def about(self) -> str:
        """How much memory the maps take."""
        return f"maps of {self._scoring.decoder.frames} frames, {self._mib:.0f} MiB"

    def prepare(self) -> float:
        """There is nothing to prepare."""
        raise AssertionError("no step is wanted")

    def score(self, genotype: Genotype, log: Sequence[Tried]) -> Tried:
        """After trainings of its own; weak ones have fewer."""
        torch.manual_seed(self._recipe.seed)
        network = SplitNetwork(self._problem.architecture(genotype, "scored")).to(self._ranks.device)
        own = network.state_dict()
        taken = {f"{ENCODER}{name}": values for name, values in self._weights.items()}
        network.load_state_dict({**own, **{name: taken[name] for name in own if name in taken}})
        rewards: list[float] = []
        stopped, wanted = None, self._scoring.decoder.validations + (self._scoring.everything is not None)
        for stage, reward in self._validations(network):
            rewards.append(reward)
            if len(rewards) < wanted and not self._goes_on(rewards, log):
                stopped = stage
                break
        return Tried(tuple(genotype.values()), rewards[-1], tuple(rewards), stopped)

    def _goes_on(self, rewards: Sequence[float], log: Sequence[Tried]) -> bool:
        """Whether it is worth more training, by what earlier networks had in the same validation."""
        if not self._scoring.early_stop:
            return True
        stop, index = EarlyStop(), len(rewards) - 1
        for tried in {tried.options: tried for tried in log}.values():
            if len(tried.rewards) > index:
                stop.goes_on(tried.rewards[index], 1.0)
        drawn = np.random.default_rng([self._recipe.seed, len(log), index]).random()
        return stop.goes_on(rewards[index], float(drawn))

    def _validations(self, network: SplitNetwork) -> Iterator[tuple[str, float]]:
        """Trains; tells the stage and the reward whenever one is known."""
        stage = self._scoring.decoder
        for epoch in self._decoder_epochs(network):
            done, before = ((number * stage.validations) // stage.epochs for number in (epoch + 1, epoch))
            if done > before:
                yield DECODER, self._reward_on_maps(network)
        if self._scoring.everything is not None:
            self._train_everything(network)
            yield EVERYTHING, self._reward(network)

    def _decoder_epochs(self, network: SplitNetwork) -> Iterator[int]:
        """Each epoch in which the decoder learnt, when it is over."""
        stage, maps, device = self._scoring.decoder, self._maps, self._ranks.device
        _, parameters = network.halves()
        optimizer = torch.optim.Adam(parameters, stage.learning_rate, weight_decay=stage.weight_decay)
        average = Polyak(parameters, stage.average)
        task, size = self._problem.task, _size_of(maps.taps[0])
        for epoch in range(stage.epochs):
            network.train()
            generator = torch.Generator().manual_seed((self._recipe.seed << 20) + epoch)
            order = torch.randperm(stage.frames, generator=generator)
            whole = stage.frames // stage.batch_size
            for rows in order[: whole * stage.batch_size].view(whole, stage.batch_size):
                taps = [maps.taps[index][rows].to(device) for index in network.taken]
                outputs = network.decode(taps, self._image_of(size))
                loss = self._total(outputs, task.truth_at(maps.truth[rows], size).to(device))
                if maps.taught is not None:
                    last = outputs[0] if isinstance(outputs, tuple) else outputs
                    squared = (last - maps.taught[rows].to(device)).square().mean()
                    loss = loss + self._scoring.distillation * squared
                optimizer.zero_grad(set_to_none=True)
                _descend(loss, [parameters], stage.gradient_norm, DECODER)
                optimizer.step()
                average.update()
            average.put()
            yield epoch

    def _train_everything(self, network: SplitNetwork) -> None:
        stage = self._scoring.everything
        assert stage is not None
        assert self._frames is not None
        encoder, decoder = network.halves()
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(decoder, stage.learning_rate, weight_decay=stage.weight_decay),
            torch.optim.SGD(
                encoder, stage.encoder_learning_rate, stage.momentum, weight_decay=stage.weight_decay
            ),
        ]
        average = Polyak([*encoder, *decoder], stage.average)
        network.train()
        network.get_submodule("encoder").train(not stage.freeze_norms)
        for images, truth in self._frames.epoch(0):
            taps = network.encode(images.to(self._ranks.device))
            size = _size_of(taps[0])
            told = self._problem.task.truth_at(truth, size).to(self._ranks.device)
            loss = self._total(network.decode(taps, self._image_of(size)), told)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            _descend(loss, [encoder, decoder], stage.gradient_norm, EVERYTHING)
            for optimizer in optimizers:
                optimizer.step()
            average.update()
        average.put()

    def _image_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Size of an image whose last map is of that size, the finest tap's, at which losses are taken."""
        stride = self._problem.head.stride
        return size[0] * stride, size[1] * stride

    def _total(self, outputs: Tensor | tuple[Tensor, ...], truth: Tensor) -> Tensor:
        last, *heads = outputs if isinstance(outputs, tuple) else (outputs,)
        total = self._loss(last, truth)
        for logits in heads:
            total = total + self._scoring.auxiliary * self._loss(logits, truth)
        return total

    @torch.inference_mode()
    def _reward_on_maps(self, network: SplitNetwork) -> float:
        """On kept maps of validation frames."""
        task, meter = self._problem.task, self._problem.task.meter(self._problem.data)
        network.eval()
        for maps in self._validation_maps:
            taps = [maps.taps[index].to(self._ranks.device) for index in network.taken]
            last = network.decode(taps, maps.size)
            assert isinstance(last, Tensor)
            meter.add(task.predict(last, maps.size).cpu().numpy(), maps.truth.numpy())
        return task.reward(meter.scores())

    def _reward(self, network: SplitNetwork) -> float:
        problem, frames = self._problem, eval_loader(self._validation, batch_size=1, workers=0)
        meter = problem.task.meter(problem.data)
        evaluate_network(network, frames, problem.task, meter, self._ranks)
        return problem.task.reward(meter.scores())

    @property
    def _validation(self) -> Any:
        return spread(self._problem.data.frames("val"), self._recipe.frames)

    def _loader(self, crop: tuple[int, int] | None, batch_size: int, steps: int, number: int) -> TrainLoader:
        recipe = self._recipe
        augmentation = Augmentation(crop or recipe.crop, recipe.scale, recipe.flip, recipe.colour)
        frames, seed = self._problem.data.frames("train"), recipe.seed + number
        return train_loader(
            frames, augmentation, batch_size=batch_size, workers=recipe.workers, seed=seed, steps=steps
        )

    @cached_property
    def _frozen(self) -> nn.Module:
        encoder = GraphModule(self._encoder.graph())
        encoder.load_state_dict({**encoder.state_dict(), **self._weights})
        return encoder.to(self._ranks.device).eval()

    @cached_property
    def _maps(self) -> KeptMaps:
        """Of augmented training frames, what decoders learn from."""
        taught, device = self._taught(), self._ranks.device
        parts = (KeptMaps.of(self._frozen, batch, taught, device) for batch in self._once.epoch(0))
        return KeptMaps.joined(parts, self._scoring.decoder.frames)

    @cached_property
    def _validation_maps(self) -> list[KeptMaps]:
        frames = eval_loader(self._validation, batch_size=1, workers=0)
        return [KeptMaps.of(self._frozen, batch, None, self._ranks.device) for batch in frames]

    def _taught(self) -> Taught | None:
        return self._teacher.network.to(self._ranks.device).eval() if self._teacher else None

    def _needed_mib(self) -> float:
        """Of all kept maps. Raises InvalidRecipe where that is too much."""
        stage, allowed = self._scoring.decoder, self._scoring.memory_mib
        taught = self._problem.head.outputs if self._teacher else 0
        needed = kept_bytes(self._encoder, stage.crop or self._recipe.crop, stage.frames, taught)
        image, _ = self._validation[0]
        needed += kept_bytes(self._encoder, image.shape[:2], len(self._validation))
        if needed > allowed << 20:
            raise InvalidRecipe(
                f"recipe {self._recipe.name}: maps of {stage.frames} frames and of {len(self._validation)} "
                f"to validate with take {needed / 2**20:.0f} MiB, more than scoring.memory_mib of {allowed}; "
                "raise it, or lower scoring.decoder.frames, crop or frames"
            )
        return needed / 2**20

    def state(self) -> dict[str, Any]:
        """By which weights networks were scored; nothing is kept between them."""
        return {"weights_sha256": dict(self._sums)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises InvalidCheckpoint where networks were scored by other weights."""
        check_sums(state["weights_sha256"], self._sums)


def _size_of(tap: Tensor) -> tuple[int, int]:
    height, width = tap.shape[-2:]
    return height, width


def _descend(loss: Tensor, halves: Sequence[Sequence[nn.Parameter]], norm: float, stage: str) -> None:
    """Gradients, each half's shortened to a norm. Raises Diverged."""
    if not math.isfinite(value := float(loss.detach())):
        raise Diverged(f"the loss is {value} while the {stage} learns: lower scoring.{stage}.learning_rate")
    loss.backward()  # type: ignore[no-untyped-call]
    for parameters in halves:
        length = float(torch.nn.utils.clip_grad_norm_(parameters, norm))
        if not math.isfinite(length):
            raise Diverged(
                f"the gradient's norm is {length} while the {stage} learns: "
                f"lower scoring.{stage}.learning_rate"
            )


def _encoder(problem: SearchProblem) -> Encoder:
    if isinstance(problem.space, HasEncoder):
        return problem.space.encoder
    raise InvalidSearch(
        f"scoring: kind progressive needs a space of decoders over an encoder, which {problem.space.name} is "
        "not; allowed: fastdense@ENCODER, fastdense-templates@ENCODER, or another kind of scoring"
    )


def _init(recipe: SampledRecipe, scoring: ProgressiveScoring, encoder: Encoder) -> Path:
    if scoring.init is None:
        raise InvalidRecipe(
            f"recipe {recipe.name}: scoring progressive needs weights of the encoder {encoder.name}: name a "
            "file of a network that begins with it (--init WEIGHTS, or scoring.init)"
        )
    return Path(scoring.init)
