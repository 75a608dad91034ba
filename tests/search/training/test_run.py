"""Whole trainings, tiny: stages, best weights, curves."""

import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from search.data import Data
from search.errors import FailedTraining, InvalidData, InvalidRecipe
from search.networks.network import build_network
from search.networks.weights import load_weights
from search.parallel.ranks import Ranks
from search.training import Recipe
from search.training.run import TrainingRun, same_outputs
from targets.support.files import sha256
from targets.support.strict_yaml import parse_yaml

from .helpers import ALONE, ARCHITECTURE, recipe, rows_of, state_of, stop_after, training


def test_what_is_written(scenes: Data, tmp_path: Path) -> None:
    said: list[str] = []
    run = training(tmp_path, scenes)
    assert run.steps_left == 6
    best = run.run(said.append)
    assert run.steps_left == 0
    assert len(said) == 6
    assert said[3].startswith("only, epoch 2 of 2, loss ")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("last.ckpt", "best.safetensors", "best.json", "curves.csv", "tensorboard"),
    }
    report = json.loads((tmp_path / "best.json").read_text(encoding="utf-8"))
    weights = {"weights": "best.safetensors", "weights_sha256": sha256(tmp_path / "best.safetensors")}
    assert report == {"schema_version": 1, **best, **weights}
    assert list(report["iou_percent"]) == scenes.class_names
    first, second = rows_of(tmp_path)
    assert (first["epoch"], first["step"], second["step"]) == ("1", "3", "6")
    assert max(float(first["miou_percent"]), float(second["miou_percent"])) == best["miou_percent"]
    assert float(second["learning_rate"]) == pytest.approx(0.01 * (1 / 6) ** 0.9)


def test_tensorboard_shows_every_step(scenes: Data, tmp_path: Path) -> None:
    training(tmp_path, scenes).run()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        *("train/loss", "train/learning_rate", "val/miou_percent", "val/pixel_accuracy_percent"),
    }
    losses = events.Scalars("train/loss")
    assert [event.step for event in losses] == [1, 2, 3, 4, 5, 6]
    mean = sum(event.value for event in losses[:3]) / 3
    assert mean == pytest.approx(float(rows_of(tmp_path)[0]["loss"]), rel=1e-6)


def test_best_weights_are_those_that_were_evaluated(scenes: Data, tmp_path: Path) -> None:
    run = training(tmp_path, scenes, recipe(epochs=1))
    run.run()
    average = state_of(run, tmp_path)["trainer"]["ema"]["module"]
    for name, values in load_weights(ARCHITECTURE, tmp_path / "best.safetensors").items():
        assert np.array_equal(values, average[name].numpy()), name


def test_stages_go_on_with_the_weights_before(
    description: dict[str, Any], scenes: Data, tmp_path: Path
) -> None:
    first, second = dict(description["stages"][0]), dict(description["stages"][0])
    first["epochs"], second["epochs"], second["name"] = 1, 1, "second"
    second["optimizer"] = {"learning_rate": 1e-12, "weight_decay": 0.0}
    description["stages"] = [first, second]
    how = parse_yaml(yaml.safe_dump(description), "two.yaml", Recipe, InvalidRecipe)
    run = training(tmp_path, scenes, how)
    with pytest.raises(KeyboardInterrupt):
        run.run(stop_after(3))
    resumed = training(tmp_path, scenes, how)
    resumed.resume()
    best = resumed.run()
    assert (best["stage"], best["epoch"]) == ("second", 1)
    assert [row["stage"] for row in rows_of(tmp_path)] == ["only", "second"]
    first_best = training(tmp_path / "one", scenes, recipe(epochs=1))
    first_best.run()
    earlier = load_weights(ARCHITECTURE, tmp_path / "one" / "best.safetensors")
    for name, values in load_weights(ARCHITECTURE, tmp_path / "best.safetensors").items():
        if "running" not in name:
            assert np.allclose(values, earlier[name], atol=1e-6), name


def test_without_frames_to_choose_by_the_last_epoch_is_the_best(scenes: Data, tmp_path: Path) -> None:
    best = training(tmp_path, scenes, recipe(split="trainval", evaluate_every=1)).run()
    assert (best["epoch"], best["chosen_by"]) == (2, "being the last epoch")
    assert rows_of(tmp_path)[1]["step"] == "8"  # 6 + 2 frames
    no_val = Data(scenes.name, scenes.classes, scenes.frame_size, {"train": scenes.splits["train"]})
    (tmp_path / "no_val").mkdir()
    best = training(tmp_path / "no_val", no_val).run()
    assert (best["epoch"], best["miou_percent"]) == (2, None)


def test_initial_weights(scenes: Data, tmp_path: Path) -> None:
    torch.manual_seed(5)
    tensors = {name: value.numpy() for name, value in build_network(ARCHITECTURE).state_dict().items()}
    del tensors["decoder.classify_low.weight"]
    how = recipe(epochs=1, ema_decay=None, optimizer={"learning_rate": 1e-12, "weight_decay": 0.0})
    training(tmp_path, scenes, how, initial=tensors).run()
    trained = load_weights(ARCHITECTURE, tmp_path / "best.safetensors")
    for name, values in tensors.items():
        if name in trained and "running" not in name:
            assert np.allclose(values, trained[name], atol=1e-6), name


def test_no_number_keeps_the_last_good_checkpoint(
    scenes: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(tmp_path, scenes)

    def spoil(text: str) -> None:
        if "epoch 2" in text:
            with torch.no_grad():
                next(run._network.parameters()).fill_(math.nan)

    with pytest.raises(FailedTraining, match="the loss is nan in epoch 2, step 2 of 3, at a learning rate"):
        run.run(spoil)
    state = state_of(run, tmp_path)
    assert (state["epoch"], state["batch"]) == (1, 0)
    assert all(tensor.isfinite().all() for tensor in state["trainer"]["network"].values())


def test_stages_that_do_not_fit_their_data(scenes: Data, tmp_path: Path) -> None:
    weighted = recipe(loss={"kind": "cross_entropy", "class_weights": [1.0, 2.0]})
    with pytest.raises(InvalidRecipe, match=r"loss\.class_weights: found 2; allowed: one for each of the 19"):
        training(tmp_path, scenes, weighted).run()
    with pytest.raises(InvalidData, match="6 training frames are fewer than a batch of 7"):
        training(tmp_path, scenes, recipe(batch_size=7)).run()
    few = Data("few", scenes.classes[:3], scenes.frame_size, scenes.splits)
    assert same_outputs([scenes, scenes]) is scenes
    with pytest.raises(InvalidData, match="data of the same classes: synthetic has 19, few has 3"):
        same_outputs([scenes, few])
    with pytest.raises(InvalidRecipe, match="batch_size 2 cannot be shared by 4 processes"):
        TrainingRun(ARCHITECTURE, recipe(), [scenes], tmp_path, Ranks(1, 4, torch.device("cpu"))).run()


def test_inverse_log_weights_are_taken_from_the_frames(scenes: Data, tmp_path: Path) -> None:
    loss = {"kind": "cross_entropy", "class_weights": "inverse-log"}
    training(tmp_path / "weighted", scenes, recipe(epochs=1, loss=loss)).run()
    training(tmp_path / "plain", scenes, recipe(epochs=1)).run()
    assert rows_of(tmp_path / "weighted")[0]["loss"] != rows_of(tmp_path / "plain")[0]["loss"]


def test_a_label_out_of_range(scenes: Data, tmp_path: Path) -> None:
    few = Data("few", scenes.classes[:3], scenes.frame_size, {"train": scenes.splits["train"]})
    architecture = ARCHITECTURE.for_classes(scenes.classes[:3])
    run = TrainingRun(architecture, recipe(), [few], tmp_path, ALONE)
    with pytest.raises(
        FailedTraining, match=r"label \d+ in the data; allowed: 0 to 2, .* no checkpoint was written yet"
    ):
        run.run()


def test_labels_that_all_are_ignored(scenes: Data, tmp_path: Path) -> None:
    splits = {"train": scenes.splits["train"], "val": (Unlabelled(),)}
    best = training(tmp_path, Data("blank", scenes.classes, scenes.frame_size, splits)).run()
    assert (best["epoch"], best["miou_percent"]) == (2, None)


class Unlabelled:
    name = "blank"

    def load(self) -> Any:
        return np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 255, np.uint8)

    def digest(self) -> bytes:
        return b""

    def faults(self, size: tuple[int, int], *, decode: bool) -> list[str]:
        return []


def test_a_lost_loading_process(scenes: Data, tmp_path: Path) -> None:
    class Broken:
        name = "broken"

        def load(self) -> Any:
            import os

            os.kill(os.getpid(), signal.SIGKILL)

        def digest(self) -> bytes:
            return b""

        def faults(self, size: tuple[int, int], *, decode: bool) -> list[str]:
            return []

    data = Data("broken", scenes.classes, scenes.frame_size, {"train": (Broken(),) * 4})
    with pytest.raises(FailedTraining, match=r"a process that loads data was killed, .*: lower --workers; "):
        training(tmp_path, data, workers=1).run()
    data = Data("broken", scenes.classes, scenes.frame_size, {**scenes.splits, "val": (Broken(),)})
    with pytest.raises(FailedTraining, match=r"lower --workers; no checkpoint was written yet; the same"):
        training(tmp_path, data, workers=1).run()  # of those that load what is evaluated


def test_too_little_memory(scenes: Data, tmp_path: Path) -> None:
    class Huge(Unlabelled):
        def load(self) -> Any:
            return np.empty((1 << 24, 1 << 24, 3), np.uint8), np.empty((1 << 24, 1 << 24), np.uint8)

    run = training(tmp_path, Data("huge", scenes.classes, scenes.frame_size, {"train": (Huge(),) * 4}))
    with pytest.raises(FailedTraining) as caught:
        run.run()
    assert str(caught.value) == (
        "stage only: out of memory on cpu with batches of 2 crops of 64x64: spread it over more processes "
        "(torchrun) and --resume; or lower batch_size or crop in the recipe, or set precision: bfloat16, and "
        "start again; no checkpoint was written yet"
    )
