"""Recipes: those that ship, and files of the user's with faults."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.errors import InvalidRecipe
from search.tasks.segmentation_recipe import Ohem
from search.training import Recipe, dump_recipe, list_recipes, load_recipe

from .helpers import ROOT


def refused(description: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(description), encoding="utf-8")
    with pytest.raises(InvalidRecipe) as caught:
        load_recipe(path)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_are_right(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.training


def test_the_papers_four_stages() -> None:
    recipe = load_recipe("squeezenas-paper")
    assert [stage.name for stage in recipe.stages] == ["imagenet", "coco", "coarse", "fine"]
    assert [stage.name for stage in recipe.given] == ["imagenet", "coco"]
    coarse, fine = recipe.training
    assert (coarse.epochs, fine.epochs) == (40, 100)
    assert fine.schedule.model_dump() == {
        "kind": "step",
        "milestones": (50, 75),
        "factor": 0.1,
        "warmup_epochs": 0.0,
    }
    assert (fine.crop, fine.optimizer.learning_rate, fine.optimizer.weight_decay) == ((768, 768), 0.05, 1e-5)
    assert coarse.data_spec("cityscapes:/data/cs") == "cityscapes-coarse:/data/cs"
    assert fine.data_spec("cityscapes:/data/cs") == "cityscapes:/data/cs"


@pytest.mark.parametrize(("name", "steps"), [("fasterseg-paper", 1000), ("fasterseg-camvid", 125)])
def test_fastersegs_training(name: str, steps: int) -> None:
    (stage,) = load_recipe(name).training
    assert (stage.epochs, stage.steps_per_epoch, stage.batch_size) == (600, steps, 12)
    assert stage.scales == (0.75, 1.0, 1.25)
    assert stage.loss == Ohem(kind="ohem", threshold=0.7, min_kept=1 / 16)
    assert stage.schedule.model_dump(include={"kind", "factor"}) == {"kind": "exponential", "factor": 0.992}
    assert stage.distillation.model_dump() == {"coefficient": 1.0, "temperature": 1.0}
    sgd = stage.optimizer
    assert (sgd.learning_rate, sgd.momentum, sgd.weight_decay) == (0.01, 0.9, 5e-4)
    assert (stage.auxiliary, stage.flip, stage.colour, stage.evaluate_every) == (0.2, True, 0.0, 10)


def test_a_file_of_the_users(description: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(description), encoding="utf-8")
    stage = load_recipe(path).training[0]
    assert stage.data_spec("camvid:a:b") == "camvid:a:b"
    assert stage.loss.kind == "cross_entropy"
    assert stage.optimizer.momentum == 0.9
    with pytest.raises(InvalidRecipe, match=r"none\.yaml: cannot be read \(No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_a_key_given_twice_is_told_with_its_line(description: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(yaml.safe_dump(description) + "name: again\n", encoding="utf-8")
    with pytest.raises(InvalidRecipe, match=r"line \d+.*key 'name' is given twice"):
        load_recipe(path)


@pytest.mark.parametrize("name", list_recipes())
def test_what_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(load_recipe(name)), encoding="utf-8")
    assert load_recipe(path) == load_recipe(name)
    assert "ema_decay" in path.read_text(encoding="utf-8")  # also where the recipe leaves it to the default


def test_unknown_name_suggests_the_near_miss() -> None:
    with pytest.raises(InvalidRecipe, match="unknown recipe 'camvit', did you mean camvid"):
        load_recipe("camvit")


def test_all_faults_at_once(description: dict[str, Any], tmp_path: Path) -> None:
    description["stages"][0] |= {
        "batchsize": 2,
        "epochs": 0,
        "crop": [32, 64],
        "optimizer": {"learning_rate": "fast", "momentun": 0.9},
        "schedule": {"kind": "poli"},
    }
    said = refused(description, tmp_path)
    assert "stages[0].batchsize: unknown key, did you mean batch_size?" in said
    assert "stages[0].epochs: found 0; allowed: greater than or equal to 1" in said
    assert "stages[0].crop[0]: found 32; allowed: greater than or equal to 64" in said
    assert "stages[0].optimizer.learning_rate: found 'fast'; allowed: a valid number" in said
    assert "stages[0].optimizer.momentun: unknown key, did you mean momentum?" in said
    assert "stages[0].schedule.kind: found 'poli', did you mean poly?" in said


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"schedule": {"kind": "step", "milestones": [1, 2]}, "scale": [2, 0.5]},
            "stages[0]: scale: found [2.0, 0.5]; allowed: the smaller one first; "
            "schedule.milestones: found [1, 2]; allowed: rising, all below epochs, 2",
        ),
        (
            {"schedule": {"kind": "cosine", "warmup_epochs": 2}},
            "schedule.warmup_epochs: found 2; allowed: less than epochs, 2",
        ),
        ({"scale": [0.5, 1], "scales": [1, 2]}, "scale, scales: found both; allowed: one of them"),
        ({"scales": [1, 101]}, "stages[0].scales[1]: found 101; allowed: less than or equal to 100"),
        ({"scales": [1.0] * 65}, "stages[0].scales: found"),
        ({"steps_per_epoch": 0}, "stages[0].steps_per_epoch: found 0; allowed: greater than or equal to 1"),
        (
            {"schedule": {"kind": "exponential", "factor": 1.01}},
            "stages[0].schedule.factor: found 1.01; allowed: less than or equal to 1",
        ),
        ({"schedule": {"kind": "exponential"}}, "stages[0].schedule.factor: missing"),
        (
            {"distillation": {"coefficient": -1, "temperature": 0}},
            "stages[0].distillation.coefficient: found -1; allowed: greater than or equal to 0; "
            "stages[0].distillation.temperature: found 0; allowed: greater than or equal to 0.1",
        ),
        ({"distillation": {"temprature": 1}}, "unknown key, did you mean temperature?"),
        (
            {"loss": {"kind": "ohem", "over": "image"}},
            "stages[0].loss.over: found 'image'; allowed: 'batch'",
        ),
        ({"optimizer": {"learning_rate": 1, "nesterov": True, "momentum": 0}}, "nesterov needs a momentum"),
    ],
)
def test_values_that_do_not_fit_together(
    changes: dict[str, Any], reason: str, description: dict[str, Any], tmp_path: Path
) -> None:
    description["stages"][0] |= changes
    assert reason in refused(description, tmp_path)


def test_order_of_stages(description: dict[str, Any], tmp_path: Path) -> None:
    given = {"kind": "given", "name": "imagenet", "summary": "elsewhere"}
    only = description["stages"]
    assert "all are of kind given" in refused({**description, "stages": [given]}, tmp_path)
    assert "kind given comes after training" in refused({**description, "stages": [*only, given]}, tmp_path)
    twice = refused({**description, "stages": [*only, *only]}, tmp_path)
    assert twice == "stages: found the names only, only; allowed: each once"


def test_recipes_load_without_torch() -> None:
    code = "import sys, search.training\nsearch.training.load_recipe('camvid')\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_recipe_is_itself_again_from_json(description: dict[str, Any]) -> None:
    recipe = Recipe.model_validate(description)
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
