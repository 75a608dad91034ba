"""A training from beginning to end: the stages of a recipe, evaluation, checkpoints, the best weights."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from search.architecture import Architecture
from search.data import Augmentation, Data
from search.data.fingerprint import fingerprint
from search.data.loaders import TrainLoader, eval_loader, train_loader
from search.errors import InvalidData
from search.kept import CHECKPOINT
from search.networks.auxiliary import TrainingNetwork
from search.networks.network import build_network
from search.networks.weights import Array
from search.parallel.ranks import Ranks
from search.tasks.evaluation import evaluate_network
from search.tasks.registry import TASKS
from search.tasks.task import Meter
from search.training.batches import check_batches
from search.training.best import details, is_better, scores, write_best
from search.training.checkpoint import (
    check_place,
    load_checkpoint,
    random_states,
    restore_random_states,
    restoring,
    save_checkpoint,
)
from search.training.failures import damage_explained, failures_explained
from search.training.recipe import Exponential, Recipe, Stage, Steps
from search.training.records import Records, Row
from search.training.teacher import Teacher, TeacherLoss
from search.training.trainer import StepLoss, Trainer
from targets.support.interrupts import HeldInterrupts

_BEFORE, _AFTER = ("stage", "epoch", "step", "learning_rate", "loss"), ("seconds",)  # the scores' columns
DISTILLATION = "distillation"  # a column more where there is a teacher: the mean of that part of the loss
SAVE_EVERY_S = 300.0  # so much work at most is lost with a killed process; epochs may last longer


class TrainingRun:
    """Trains one architecture by a recipe; writes a checkpoint, the best weights and curves into ``out``.

    Args:
        architecture: for the data's task, with as many classes as it has. Files are read for ``fingerprint``.
        data: of each of ``recipe.training``.
        initial: weights to begin with; tensors that are missing keep their fresh values.
        workers: processes of this one that load data.
        teacher: for the same classes.
        about: is kept with the best weights as it is.

    Raises:
        InvalidArchitecture: a stage has heads for training alone, and the network's space has none.
        InvalidRecipe: a stage has batches of one image, too few for the network.
    """

    def __init__(
        self,
        architecture: Architecture,
        recipe: Recipe,
        data: Sequence[Data],
        out: Path,
        ranks: Ranks,
        *,
        initial: Mapping[str, Array] | None = None,
        workers: int = 0,
        teacher: Teacher | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._architecture, self._recipe, self._data = architecture, recipe, list(data)
        self._task = TASKS[architecture.task]
        self._out, self._ranks, self._workers = out, ranks, workers
        self._teacher = teacher
        self._about = dict(about or {}) | ({"teacher": teacher.about} if teacher else {})
        self._on_step: Callable[[str], None] = _silent
        torch.manual_seed(recipe.seed)
        with_heads = any(stage.auxiliary for stage in recipe.training)
        self._network = TrainingNetwork(architecture) if with_heads else build_network(architecture)
        check_batches(self._network.graph, recipe)
        if initial:
            tensors = {name: torch.from_numpy(values) for name, values in initial.items()}
            self._network.load_state_dict(tensors, strict=False)
        self._index = self._epoch = self._batch = 0
        self._loss_sum = self._distillation_sum = self._seconds = 0.0
        self._history: list[Row] = []
        self._best: dict[str, Any] | None = None
        self._trainer: Trainer | None = None
        self._resumed: dict[str, Any] | None = None
        self._steps = [
            _batches(stage, found) for stage, found in zip(recipe.training, self._data, strict=True)
        ]
        self._saved_s = time.monotonic()
        self.fingerprint = self._described()

    @property
    def steps_left(self) -> int:
        """Updates until the end, over all stages."""
        stages = list(zip(self._recipe.training, self._steps, strict=True))[self._index :]
        return sum(stage.epochs * steps for stage, steps in stages) - self._step

    def _described(self) -> dict[str, Any]:
        """What must be the same to go on from a checkpoint. Those of 0.1 lack ``frames``, and a
        teacher."""
        pairs = list(zip(self._recipe.training, self._data, strict=True))
        return {
            "teacher": self._teacher.fingerprint if self._teacher else None,
            "recipe": _described(self._recipe, taught=self._teacher is not None),
            "architecture": {
                "space": self._architecture.space,
                "blocks": list(self._architecture.genotype.values()),
                "num_classes": self._architecture.head.outputs,
            },
            "data": [{"name": data.name, "frames": len(data.frames(stage.split))} for stage, data in pairs],
            "frames": [fingerprint(data, ("train", "val")) for _, data in pairs],
        }

    def resume(self) -> None:
        """Go on from the last checkpoint in ``out``. Raises InvalidCheckpoint."""
        free, path = partial(_more_epochs, self._recipe), self._out / CHECKPOINT
        state = load_checkpoint(path, self.fingerprint, free=free, new=("frames",))
        with restoring(path):
            check_place(path, index=(state["index"], len(self._steps) - 1))
            self._index, stage = state["index"], self._recipe.training[state["index"]]
            check_place(path, epoch=(state["epoch"], stage.epochs))
            check_place(path, batch=(state["batch"], self._steps[self._index]))
            self._epoch, self._batch = state["epoch"], state["batch"]
            self._loss_sum, self._seconds = float(state["loss_sum"]), float(state["seconds"])
            self._distillation_sum = float(state.get("distillation_sum", 0.0))
            self._history = [dict(row) for row in state["history"]]
            self._best = None if state["best"] is None else dict(state["best"])
        self._resumed = state

    def run(self, on_step: Callable[[str], None] | None = None) -> dict[str, Any]:
        """Train what is left; returns what is known of the best weights. Ctrl-C leaves a checkpoint, once
        the first stage has begun.

        Args:
            on_step: told after each step what is going on, one phrase.

        Raises:
            FailedTraining: it cannot go on; says what is kept.
            InvalidRecipe, InvalidData: stage and data do not fit each other or the processes.
        """
        self._on_step = on_step or _silent
        records = None
        if self._ranks.first:
            taught = (DISTILLATION,) if self._teacher else ()
            columns = (*_BEFORE, *taught, *self._task.columns, *_AFTER)
            records = Records(self._out, columns, purge_step=self._global_step + 1)
        try:
            for index in range(self._index, len(self._steps)):
                memory = _out_of_memory(self._recipe.training[index], self._ranks.device)
                with failures_explained(self._out, memory=memory, workers="--workers"):
                    self._train_stage(index, records)
        except KeyboardInterrupt:
            with HeldInterrupts():
                self._save()
            raise
        finally:
            if records:
                records.close()
        assert self._best is not None
        return self._best

    def _train_stage(self, index: int, records: Records | None) -> None:
        stage, data = self._recipe.training[index], self._data[index]
        loader, trainer = self._prepared(index, stage, data)
        with HeldInterrupts():
            if self._resumed is None:
                self._index, self._epoch, self._batch, self._best = index, 0, 0, None
            else:
                with restoring(self._out / CHECKPOINT):
                    trainer.load_state_dict(self._resumed["trainer"])
                    restore_random_states(self._resumed["random"])
                self._resumed = None
            self._trainer = trainer
        while self._epoch < stage.epochs:
            with damage_explained():
                self._train_epoch(stage, loader, trainer, records)
                self._finish_epoch(stage, data, trainer, records)
            self._save()
        self._network.load_state_dict(trainer.evaluated.state_dict())

    def _prepared(self, index: int, stage: Stage, data: Data) -> tuple[TrainLoader, Trainer]:
        ranks = self._ranks
        frames = data.frames(stage.split)
        loader = train_loader(
            frames,
            Augmentation(stage.crop, stage.scale, stage.flip, stage.colour, stage.scales),
            batch_size=ranks.share(stage.batch_size, f"stage {stage.name}: "),
            workers=self._workers,
            seed=self._recipe.seed + 1000 * index,
            rank=ranks.rank,
            world_size=ranks.world_size,
            steps=stage.steps_per_epoch,
        )
        loss = self._task.loss(stage.loss, frames, self._architecture.head.outputs, ranks)
        teacher = None
        if self._teacher and stage.distillation.coefficient:
            teacher = TeacherLoss(self._teacher, self._task, stage.distillation, ranks)
        self._network.to(ranks.device)
        steps = len(loader)
        return loader, Trainer(self._network, stage, loss, ranks, steps_per_epoch=steps, teacher=teacher)

    def _train_epoch(
        self, stage: Stage, loader: TrainLoader, trainer: Trainer, records: Records | None
    ) -> None:
        started_s = time.monotonic()
        for images, labels in loader.epoch(self._epoch, self._batch):
            with HeldInterrupts(errors_first=True):  # so that a checkpoint is never of half a step
                loss = trainer.step(images, labels, self._step)
                self._batch += 1
                self._loss_sum += loss.total
                self._distillation_sum += loss.distillation or 0.0
                now_s = time.monotonic()
                self._seconds, started_s = self._seconds + now_s - started_s, now_s
                if records:
                    rate = trainer.learning_rate(self._step - 1)
                    points = {
                        "train/loss": loss.total,
                        "train/distillation": loss.distillation,
                        "train/learning_rate": rate,
                    }
                    records.scalars(self._global_step, points)
            if now_s - self._saved_s > SAVE_EVERY_S:
                self._save()
            self._on_step(f"{stage.name}, epoch {self._epoch + 1} of {stage.epochs}, {_told(loss)}")

    def _finish_epoch(self, stage: Stage, data: Data, trainer: Trainer, records: Records | None) -> None:
        """Evaluate, note, and count the epoch as done."""
        last = self._epoch + 1 == stage.epochs
        meter = None
        if "val" in data.splits and (last or (self._epoch + 1) % stage.evaluate_every == 0):
            meter = self._evaluate(data, trainer)
        found = scores(self._task, meter)
        row: Row = {
            "stage": stage.name,
            "epoch": self._epoch + 1,
            "step": self._global_step,
            "learning_rate": trainer.learning_rate(self._step - 1),
            "loss": self._loss_sum / self._batch,
            **({DISTILLATION: self._distillation_sum / self._batch} if self._teacher else {}),
            **found,
            "seconds": round(self._seconds, 3),
        }
        with HeldInterrupts():
            self._history.append(row)
            if records:
                records.rows(self._history)
                records.scalars(self._global_step, {f"val/{name}": score for name, score in found.items()})
            self._choose(stage, data, trainer, meter, last=last)
            self._epoch, self._batch = self._epoch + 1, 0
            self._loss_sum = self._distillation_sum = self._seconds = 0.0

    def _evaluate(self, data: Data, trainer: Trainer) -> Meter:
        ranks = self._ranks
        loader = eval_loader(
            data.frames("val"),
            batch_size=1,
            workers=self._workers,
            rank=ranks.rank,
            world_size=ranks.world_size,
        )
        with ranks.watched():
            return evaluate_network(trainer.evaluated, loader, self._task, self._task.meter(data), ranks)

    def _choose(self, stage: Stage, data: Data, trainer: Trainer, meter: Meter | None, *, last: bool) -> None:
        """Keep these weights if they are the best so far; where nothing tells, those of the last epoch."""
        by_val = stage.split == "train" and "val" in data.splits
        found = scores(self._task, meter)
        nothing_else = last and (self._best is None or not by_val)
        if not nothing_else and not (by_val and is_better(self._task, found, self._best)):
            return
        self._best = {
            "architecture": self._architecture.name,
            "task": self._task.name,
            "recipe": self._recipe.name,
            "seed": self._recipe.seed,
            "data": data.name,
            **self._about,
            "stage": stage.name,
            "epoch": self._epoch + 1,
            "chosen_by": f"{self._task.title} on val" if by_val else "being the last epoch",
            "split": "val",
            **found,
            **details(meter or self._task.meter(data)),
        }
        if self._ranks.first:
            write_best(self._out, trainer.evaluated, self._best)

    def _save(self) -> None:
        """A checkpoint of this moment, by the first process: all have the same weights."""
        self._saved_s = time.monotonic()
        if self._trainer is None or not self._ranks.first:
            return
        save_checkpoint(
            self._out / CHECKPOINT,
            {
                "fingerprint": self.fingerprint,
                "index": self._index,
                "epoch": self._epoch,
                "batch": self._batch,
                "loss_sum": self._loss_sum,
                "distillation_sum": self._distillation_sum,
                "seconds": self._seconds,
                "history": self._history,
                "best": self._best,
                "trainer": self._trainer.state_dict(),
                "random": random_states(),
            },
        )

    @property
    def _step(self) -> int:
        """Of the present stage."""
        return self._epoch * self._steps[self._index] + self._batch

    @property
    def _global_step(self) -> int:
        stages = zip(self._recipe.training[: self._index], self._steps, strict=False)
        return sum(stage.epochs * steps for stage, steps in stages) + self._step


def _more_epochs(recipe: Recipe, state: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys of epochs that may be others than in a state: of stages that come after it; and more of its own
    stage, where the learning rate of the steps that are done does not hang on how many there are."""
    keys, given, now_at = [], len(recipe.given), state.get("index", 0)
    for index, stage in enumerate(recipe.training):
        place = given + index
        was = state["fingerprint"].get("recipe", {}).get("stages", [])[place : place + 1]
        by_epoch = isinstance(stage.schedule, Steps | Exponential)
        more = bool(was) and by_epoch and stage.epochs > was[0].get("epochs", 0)
        if index > now_at or (index == now_at and more):
            keys.append(f"recipe.stages[{place}].epochs")
    return keys


def same_outputs(data: Sequence[Data]) -> Data:
    """The first data set of a training, whose networks tell what those for the others tell.

    Raises InvalidData where their classes' names differ.
    """
    first, *others = data
    for other in others:
        if first.tells != other.tells:
            pairs = zip(first.class_names, other.class_names, strict=False)
            differing = next((f" ({a!r} there is {b!r} here)" for a, b in pairs if a != b), "")
            raise InvalidData(
                f"the stages need data of the same classes: {first.name} has {first.num_classes}, "
                f"{other.name} has {other.num_classes}{differing}"
            )
    return first


def _batches(stage: Stage, data: Data) -> int:
    return stage.steps_per_epoch or len(data.frames(stage.split)) // stage.batch_size


def _out_of_memory(stage: Stage, device: torch.device) -> str:
    height, width = stage.crop
    half = "" if stage.precision != "float32" else ", or set precision: bfloat16"
    return (
        f"stage {stage.name}: out of memory on {device} with batches of {stage.batch_size} crops of "
        f"{height}x{width}: spread it over more processes (torchrun) and --resume; or lower batch_size or "
        f"crop in the recipe{half}"
    )


def _described(recipe: Recipe, *, taught: bool) -> dict[str, Any]:
    """As checkpoints compare it: what 0.1 had not is told where it is used alone, as theirs have it."""
    found = recipe.model_dump(mode="json")
    for stage in found["stages"]:
        for name in ("auxiliary", "scales", "steps_per_epoch"):
            if not stage.get(name):
                stage.pop(name, None)
        if stage.get("optimizer", {}).get("kind") == "sgd":
            del stage["optimizer"]["kind"]
        if not taught:
            stage.pop("distillation", None)
    return found


def _told(loss: StepLoss) -> str:
    apart = "" if loss.distillation is None else f", {loss.distillation:.3f} of it by the teacher"
    return f"loss {loss.total:.3f}{apart}"


def _silent(text: str) -> None:
    pass
