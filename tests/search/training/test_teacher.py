"""A network that learns from another one: what that pays, keeps and refuses."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.architecture import Architecture
from search.data import Augmentation, Data
from search.data.loaders import train_loader
from search.errors import InvalidArchitecture, InvalidCheckpoint, InvalidWeights, SearchError
from search.networks.network import build_network
from search.networks.weights import save_weights
from search.spaces.camera import HEADS
from search.spaces.registry import SPACES
from search.tasks.registry import TASKS
from search.tasks.segmentation_losses import segmentation_loss
from search.training.recipe import Distillation
from search.training.run import TrainingRun
from search.training.teacher import Teacher, TeacherLoss, load_teacher
from search.training.trainer import Trainer

from ..spaces.fasterseg.test_space import SCALED_DOWN
from .helpers import ALONE, ARCHITECTURE, equal, recipe, rows_of, stage, state_of, stop_after, training

OHEM = {"kind": "ohem", "threshold": 0.05, "min_kept": 0.2}


@pytest.fixture
def student(monkeypatch: pytest.MonkeyPatch) -> Architecture:
    """Of another space than its teacher, with heads for training alone."""
    monkeypatch.setitem(SPACES, SCALED_DOWN.name, SCALED_DOWN)
    choices = {decision.name: decision.options[-1] for decision in SCALED_DOWN.decisions}
    return Architecture(space=SCALED_DOWN.name, choices=choices, name="small grid")


@pytest.fixture
def known(scenes: Data, tmp_path: Path) -> Architecture:
    """A trained architecture, as its folder names it."""
    training(tmp_path / "teacher", scenes, recipe(epochs=1)).run()
    weights = str(tmp_path / "teacher" / "best.safetensors")
    return ARCHITECTURE.for_classes(scenes.classes).model_copy(update={"weights": weights, "name": "known"})


def taught_run(
    student: Architecture, teacher: Teacher, scenes: Data, out: Path, **changes: Any
) -> TrainingRun:
    how = recipe(**{"auxiliary": 0.2, "loss": OHEM} | changes)
    out.mkdir(exist_ok=True)
    fitting = student.for_classes(scenes.classes)
    return TrainingRun(fitting, how, [scenes], out, ALONE, teacher=teacher)


def divergence(taught: torch.Tensor, logits: torch.Tensor, temperature: float) -> float:
    """KL(teacher || student) a pixel, by its definition."""
    p, q = (
        np.exp(each) / np.exp(each).sum(1, keepdims=True)
        for each in (each.detach().double().numpy() / temperature for each in (taught, logits))
    )
    return float((p * np.log(p / q)).sum(1).mean())


def test_a_trained_teacher_and_a_student_of_another_space(
    known: Architecture, student: Architecture, scenes: Data, tmp_path: Path
) -> None:
    """The whole way; the loss of the first step is that by hand."""
    teacher = load_teacher(known, student.for_classes(scenes.classes))
    how = {"distillation": {"coefficient": 3.0, "temperature": 2.0}, "epochs": 1, "ema_decay": None}
    run, told = taught_run(student, teacher, scenes, tmp_path / "out", **how), []
    first = {name: tensor.clone() for name, tensor in run._network.state_dict().items()}
    best = run.run(told.append)
    loader = train_loader(
        scenes.frames("train"), Augmentation((64, 64), (0.5, 2.0), True), batch_size=2, workers=0, seed=0
    )
    images, labels = next(loader.epoch(0))
    fresh = taught_run(student, teacher, scenes, tmp_path / "fresh", **how)._network
    fresh.load_state_dict(first)
    last, *heads = fresh.train()(images)
    apart = 3 * 2**2 * divergence(build_network(known, known.weights_path).eval()(images), last, 2.0)
    hard = segmentation_loss("ohem", threshold=0.05, min_kept=0.2)
    own, *more = (float(hard(each.detach(), labels)) for each in (last, *heads))
    assert len(more) == 2
    said = re.fullmatch(r"only, epoch 1 of 1, loss ([\d.]+), ([\d.]+) of it by the teacher", told[0])
    assert said
    assert float(said[1]) == pytest.approx(own + 0.2 * sum(more) + apart, abs=2e-3)
    assert float(said[2]) == pytest.approx(apart, abs=2e-3)
    (row,) = rows_of(tmp_path / "out")
    assert 0 < float(row["distillation"]) < float(row["loss"])
    report = json.loads((tmp_path / "out" / "best.json").read_text(encoding="utf-8"))
    assert report["teacher"] == best["teacher"] == teacher.about
    assert report["teacher"]["name"] == "known"


def test_the_teacher_stays_as_it_is_and_its_student_comes_nearer(known: Architecture) -> None:
    teacher = load_teacher(known, known)  # a network of its own kind
    before = {name: tensor.clone() for name, tensor in teacher.network.state_dict().items()}
    torch.manual_seed(0)
    how = stage(optimizer={"learning_rate": 0.05}, epochs=10, distillation={"coefficient": 2.0})
    learned = TeacherLoss(teacher, TASKS["segmentation"], how.distillation, ALONE)
    loss = segmentation_loss(ranks=ALONE)
    trainer = Trainer(build_network(known), how, loss, ALONE, steps_per_epoch=3, teacher=learned)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    unlabelled = torch.full((2, 64, 64), 255)
    losses = [trainer.step(images, unlabelled, step) for step in range(8)]
    assert all(one.distillation == one.total for one in losses)  # unlabelled pixels teach, too
    assert losses[-1].total < 0.8 * losses[0].total
    assert not teacher.network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.network.state_dict().items())
    assert not any(name.startswith("teacher") for name in trainer.state_dict())


def test_bfloat16_holds_for_the_teacher_too(known: Architecture) -> None:
    how = stage(precision="bfloat16")
    learned = TeacherLoss(load_teacher(known, known), TASKS["segmentation"], how.distillation, ALONE)
    images, labels = torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        assert learned.taught(images).dtype == torch.bfloat16
    trainer = Trainer(
        build_network(known), how, segmentation_loss(), ALONE, steps_per_epoch=1, teacher=learned
    )
    assert 0 < (trainer.step(images, labels, 0).distillation or 0) < 10


def test_stopped_and_resumed_it_equals_one_that_was_not(
    known: Architecture, student: Architecture, scenes: Data, tmp_path: Path
) -> None:
    teacher = load_teacher(known, student.for_classes(scenes.classes))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    taught_run(student, teacher, scenes, whole, epochs=1).run()
    with pytest.raises(KeyboardInterrupt):
        taught_run(student, teacher, scenes, parts, epochs=1).run(stop_after(2))
    resumed = taught_run(student, load_teacher(known, teacher.architecture), scenes, parts, epochs=1)
    resumed.resume()
    resumed.run()
    other = taught_run(student, teacher, scenes, whole, epochs=1)
    assert equal(state_of(resumed, parts), state_of(other, whole))
    assert (whole / "best.safetensors").read_bytes() == (parts / "best.safetensors").read_bytes()


def test_another_teacher_is_not_gone_on_with(known: Architecture, scenes: Data, tmp_path: Path) -> None:
    teacher, out = load_teacher(known, known), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        training(out, scenes, teacher=teacher).run(stop_after(1))
    training(out, scenes, teacher=teacher).resume()
    with pytest.raises(InvalidCheckpoint, match=r"work: teacher was \{'name': 'known', .*is None;"):
        training(out, scenes).resume()
    renamed = load_teacher(known.model_copy(update={"name": "other"}), known)
    with pytest.raises(InvalidCheckpoint, match=r"teacher\.name was 'known', is 'other'; give what"):
        training(out, scenes, teacher=renamed).resume()
    assert known.weights_path
    fresh = {name: tensor.numpy() for name, tensor in build_network(ARCHITECTURE).state_dict().items()}
    save_weights(known.weights_path, {k: v for k, v in fresh.items() if not k.endswith("batches_tracked")})
    with pytest.raises(InvalidCheckpoint, match=r"work: teacher\.weights_sha256 was '[0-9a-f]*\.\.\., is '"):
        training(out, scenes, teacher=load_teacher(known, known)).resume()
    (tmp_path / "alone").mkdir()
    training(tmp_path / "alone", scenes).run()
    with pytest.raises(InvalidCheckpoint, match=r"work: teacher was None, is \{'name': 'known'.*\.\.\.;"):
        training(tmp_path / "alone", scenes, teacher=teacher).resume()


def test_a_stage_without_the_teacher_is_as_if_there_were_none(
    known: Architecture, scenes: Data, tmp_path: Path
) -> None:
    without = recipe(epochs=1, distillation={"coefficient": 0.0})
    training(tmp_path / "none", scenes, without, teacher=load_teacher(known, known)).run()
    training(tmp_path / "plain", scenes, recipe(epochs=1)).run()
    (one,), (other,) = rows_of(tmp_path / "none"), rows_of(tmp_path / "plain")
    assert one["loss"] == other["loss"]
    assert float(one["distillation"]) == 0
    assert "distillation" not in other


def refused(teacher: Architecture, student: Architecture, kind: type[SearchError]) -> str:
    with pytest.raises(kind) as caught:
        load_teacher(teacher, student)
    return str(caught.value)


def test_other_classes(known: Architecture, scenes: Data) -> None:
    fewer = refused(known, known.for_classes(scenes.classes[:11]), InvalidArchitecture)
    assert fewer == (
        "the teacher known tells other classes apart: 19, and the data 11; class 11 is person there and none "
        "in the data; allowed: one that was trained for the same classes in the same order"
    )
    first, second, *rest = scenes.classes
    turned = refused(known, known.for_classes((second, first, *rest)), InvalidArchitecture)
    assert "19, and the data 19, in another order; class 0 is road there and sidewalk in the data" in turned
    unnamed = refused(known.model_copy(update={"classes": None}), known, InvalidArchitecture)
    assert "class 0 is class 0 there and road in the data" in unnamed


def test_another_task(known: Architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "relief", HEADS["segmentation"])  # type: ignore[index]
    said = refused(known.model_copy(update={"task": "relief"}), known, InvalidArchitecture)
    assert said == "the teacher known is for relief; allowed: networks for segmentation"


def test_no_weights_or_none_that_fit(known: Architecture, tmp_path: Path) -> None:
    none = known.model_copy(update={"weights": None})
    assert refused(none, known, InvalidWeights).startswith(
        "the teacher known has no weights; allowed: an architecture whose file names its own (weights:), as"
    )

    def of(name: str) -> str:
        return refused(known.model_copy(update={"weights": str(tmp_path / name)}), known, InvalidWeights)

    assert of("gone.safetensors").endswith("gone.safetensors: no such file of weights")
    (tmp_path / "text.safetensors").write_text("three evenings of notes")
    assert "text.safetensors: not a file of weights" in of("text.safetensors")
    save_weights(tmp_path / "other.safetensors", {"stem.conv.weight": np.zeros((4, 3, 3, 3), np.float32)})
    assert "other.safetensors does not fit known: " in of("other.safetensors")


def test_the_usual_distillation() -> None:
    assert stage().distillation == Distillation(coefficient=1.0, temperature=1.0)
