"""Tiny trainings, stopped and resumed."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from search.data import Data, open_data
from search.errors import FailedTraining, InvalidCheckpoint
from search.training.checkpoint import load_checkpoint, save_checkpoint
from search.training.records import Records
from search.training.trainer import StepLoss, Trainer
from targets.support.interrupts import termination_stops

from .helpers import equal, recipe, rows_of, state_of, stop_after, training

STEPS = {"kind": "step", "milestones": [1]}


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_interrupted_and_resumed_equals_uninterrupted(steps: int, scenes: Data, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    how = recipe(colour=0.3, loss={"kind": "ohem"})
    expected = training(whole, scenes, how).run()
    with pytest.raises(KeyboardInterrupt):
        training(parts, scenes, how).run(stop_after(steps))
    torch.manual_seed(99)  # whatever else was drawn meanwhile
    resumed = training(parts, scenes, how)
    resumed.resume()
    assert resumed.steps_left == 6 - steps
    found = resumed.run()
    assert equal(state_of(resumed, parts), state_of(training(whole, scenes, how), whole))
    assert found == expected
    assert len(rows_of(whole)) == len(rows_of(parts)) == 2
    assert (whole / "best.safetensors").read_bytes() == (parts / "best.safetensors").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [0, 2, 3])
def test_stopped_within_a_step_it_loses_nothing_of_it(
    number: signal.Signals, step: int, scenes: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its loss, of which the epoch's mean is made, nor its point in TensorBoard."""
    training(tmp_path / "whole", scenes).run()
    before, parts = signal.signal(signal.SIGINT, signal.default_int_handler), tmp_path / "parts"
    compute = Trainer.step

    def stopped(trainer: Trainer, images: Any, labels: Any, place: int) -> StepLoss:
        if place == step:
            signal.raise_signal(number)
        return compute(trainer, images, labels, place)

    monkeypatch.setattr(Trainer, "step", stopped)
    try:
        with pytest.raises(KeyboardInterrupt), termination_stops():
            training(parts, scenes).run()
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.undo()
    resumed = training(parts, scenes)
    resumed.resume()
    assert resumed.steps_left == 6 - (step + 1)
    resumed.run()
    assert [(row["step"], row["loss"]) for row in rows_of(parts)] == [
        (row["step"], row["loss"]) for row in rows_of(tmp_path / "whole")
    ]
    assert points(parts) == points(tmp_path / "whole")


def test_event_files_are_read_in_the_order_in_which_they_were_begun(tmp_path: Path) -> None:
    """TensorBoard sorts them by name, in which numbers of one second have no order: 10 comes before 9."""
    for step in range(3):
        records = Records(tmp_path, ["epoch"], purge_step=step)
        records.scalars(step, {"train/loss": float(step)})
        records.close()
    names = sorted(path.name for path in (tmp_path / "tensorboard").iterdir())
    assert len({name.split(".")[3] for name in names}) == 3  # seconds
    assert points(tmp_path) == {0: 0.0, 1: 1.0, 2: 2.0}


def points(out: Path) -> dict[int, float]:
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars("train/loss")}


def test_a_step_that_failed_is_not_saved_even_if_told_to_stop(
    scenes: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch statistics are of half a step."""

    def failed(trainer: Trainer, images: Any, labels: Any, place: int) -> StepLoss:
        signal.raise_signal(signal.SIGTERM)
        raise FailedTraining("lost contact")

    monkeypatch.setattr(Trainer, "step", failed)
    run = training(tmp_path, scenes)
    with pytest.raises(FailedTraining, match=r"^lost contact; no checkpoint was"), termination_stops():
        run.run()
    assert not (tmp_path / "last.ckpt").exists()


def test_another_data_set_of_equal_count_is_not_resumed(scenes: Data, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path, scenes).run(stop_after(1))
    frames = scenes.splits["train"]
    others = {
        "order": (*frames[1:], frames[0]),
        "content": (*frames[:-1], replace(frames[-1], size=(64, 128))),
    }
    for other in others.values():
        data = Data(scenes.name, scenes.classes, scenes.frame_size, {**scenes.splits, "train": other})
        with pytest.raises(InvalidCheckpoint, match=r"frames\[0\]\.train was '6 of 64x64, digest "):
            training(tmp_path, data).resume()
    val = (replace(scenes.splits["val"][0], index=5), *scenes.splits["val"][1:])
    data = Data(scenes.name, scenes.classes, scenes.frame_size, {**scenes.splits, "val": val})
    with pytest.raises(InvalidCheckpoint, match=r"frames\[0\]\.val was "):
        training(tmp_path, data).resume()
    training(tmp_path, open_data("synthetic:6:64x64")).resume()


def test_a_checkpoint_that_knows_neither_data_nor_teachers_is_resumed(scenes: Data, tmp_path: Path) -> None:
    """One of 0.1."""
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path, scenes).run(stop_after(1))
    run = training(tmp_path, scenes)
    state = load_checkpoint(tmp_path / "last.ckpt", run.fingerprint)
    del state["fingerprint"]["frames"], state["fingerprint"]["teacher"], state["distillation_sum"]
    save_checkpoint(tmp_path / "last.ckpt", state)
    run.resume()
    assert run.steps_left == 5


def test_hard_pixels_of_each_image_are_another_work(scenes: Data, tmp_path: Path) -> None:
    """Those of 0.1."""
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path, scenes, recipe(loss={"kind": "ohem"})).run(stop_after(1))
    run = training(tmp_path, scenes, recipe(loss={"kind": "ohem"}))
    state = load_checkpoint(tmp_path / "last.ckpt", run.fingerprint)
    del state["fingerprint"]["recipe"]["stages"][0]["loss"]["over"]
    save_checkpoint(tmp_path / "last.ckpt", state)
    with pytest.raises(
        InvalidCheckpoint, match=r"recipe\.stages\[0\]\.loss\.over was None, is 'batch'; give"
    ):
        run.resume()


@pytest.mark.parametrize("stop", [None, 2, 4])
def test_more_epochs_go_on_where_the_schedule_does_not_hang_on_them(
    stop: int | None, scenes: Data, tmp_path: Path
) -> None:
    training(tmp_path / "whole", scenes, recipe(epochs=3, schedule=STEPS)).run()
    first = training(tmp_path / "parts", scenes, recipe(epochs=2, schedule=STEPS))
    if stop is None:
        first.run()
    else:
        with pytest.raises(KeyboardInterrupt):
            first.run(stop_after(stop))
    more = training(tmp_path / "parts", scenes, recipe(epochs=3, schedule=STEPS))
    more.resume()
    more.run()
    assert [row["loss"] for row in rows_of(tmp_path / "parts")] == [
        row["loss"] for row in rows_of(tmp_path / "whole")
    ]
    again = training(tmp_path / "whole", scenes, recipe(epochs=3, schedule=STEPS))
    assert equal(
        state_of(more, tmp_path / "parts")["trainer"], state_of(again, tmp_path / "whole")["trainer"]
    )


def test_epochs_of_a_given_length(scenes: Data, tmp_path: Path) -> None:
    """Four updates on frames for three; they fall into the second turn of the frames, resumed or not."""
    how = recipe(steps_per_epoch=4, schedule={"kind": "exponential", "factor": 0.5}, scales=[0.75, 1.0, 1.25])
    training(tmp_path / "whole", scenes, how).run()
    parts = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        training(parts, scenes, how).run(stop_after(5))
    resumed = training(parts, scenes, how)
    resumed.resume()
    assert resumed.steps_left == 3
    resumed.run()
    rows = rows_of(parts)
    assert [(row["step"], row["learning_rate"]) for row in rows] == [("4", "0.01"), ("8", "0.005")]
    assert [row["loss"] for row in rows] == [row["loss"] for row in rows_of(tmp_path / "whole")]
    more = training(parts, scenes, recipe(**how.training[0].model_dump(mode="json") | {"epochs": 3}))
    more.resume()
    assert more.steps_left == 4


def test_more_epochs_of_a_schedule_that_hangs_on_them_are_refused(scenes: Data, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path, scenes).run(stop_after(2))
    with pytest.raises(InvalidCheckpoint, match=r"recipe\.stages\[0\]\.epochs was 2, is 3"):
        training(tmp_path, scenes, recipe(epochs=3)).resume()
    with pytest.raises(InvalidCheckpoint, match=r"recipe\.stages\[0\]\.epochs was 2, is 1"):
        training(tmp_path, scenes, recipe(epochs=1)).resume()


def test_resume_after_the_end_trains_nothing(scenes: Data, tmp_path: Path) -> None:
    best = training(tmp_path, scenes).run()
    again = training(tmp_path, scenes)
    again.resume()
    assert again.run(stop_after(1)) == best


def test_resume_with_another_recipe(scenes: Data, tmp_path: Path) -> None:
    training(tmp_path, scenes).run()
    other = training(tmp_path, scenes, recipe(batch_size=3))
    with pytest.raises(InvalidCheckpoint, match=r"recipe\.stages\[0\]\.batch_size was 2, is 3; give what"):
        other.resume()
    more = training(tmp_path, open_data("synthetic:8:64x64"))
    with pytest.raises(InvalidCheckpoint, match=r"data\[0\]\.frames was 6, is 8"):
        more.resume()
