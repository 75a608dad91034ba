"""The page of file formats tells every key and every file that there is; recipes that are shown are such."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from cost_models.database import profiled_networks, rows, table
from cost_models.device_models import fitted_device, other_processor, prior
from cost_models.kernel_models import predictor
from cost_models.network_models import energy, network_model
from search import kept, run
from search.architecture import Architecture, Published
from search.problem.goal import SEARCHED, UNITS
from search.remapping import table as remapping
from search.results import distribution, document, front
from search.spaces.registry import SPACES
from search.strategies.registry import STRATEGIES
from search.training import best, records
from search.training.recipe import list_recipes, load_recipe
from squeezenas_tvm.bundles.assemble import KERNELS, NO_KERNELS, Manifest
from squeezenas_tvm.bundles.kept_run import PROFILE, KnownPeaks, RunProfile, TimedKernel
from squeezenas_tvm.bundles.manifest import MEANINGS, REQUIRED
from squeezenas_tvm.evaluation import kept as evaluated
from squeezenas_tvm.profiling import choose_networks, measure, shared_table
from squeezenas_tvm.reports import write
from squeezenas_tvm.training import train
from targets.published import PublishedDevice
from targets.spec import Measure, Peaks, PowerModes, Readings, Rpc, TargetSpec, Toolchain, Variant

from .pages import blocks, read

PAGE = read("docs/formats.md")


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def told(text: str) -> set[str]:
    """Words in code, but for blocks of it."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return {word for code in re.findall(r"`([^`]+)`", text) for word in re.findall(r"[\w.-]+", code)}


@pytest.mark.parametrize(
    ("title", "models"),
    [
        ("A target", (TargetSpec, Rpc, Measure, Peaks, PowerModes, Toolchain, Readings, Variant)),
        ("An architecture", (Architecture, Published)),
    ],
)
def test_every_key_of_what_people_write_is_told(title: str, models: tuple[type[BaseModel], ...]) -> None:
    keys = {key for model in models for key in model.model_fields}
    assert keys <= told(section(title))


def test_every_key_of_a_published_table_is_told() -> None:
    assert set(PublishedDevice.model_fields) <= told(section("A target"))


def test_every_file_of_a_profile_is_told() -> None:
    files = {measure.SAMPLES, table.HEADER, table.ROWS, predictor.MANIFEST, predictor.TREES}
    files |= {network_model.MODEL, network_model.NETWORKS, profiled_networks.FILE, energy.FILE}
    files |= {other_processor.FILE, fitted_device.FILE, prior.FILE, choose_networks.FILE, write.PAGE}
    text = section("Results of a profile")
    keys = set(rows.COLUMNS) | set(table.TableDocument.model_fields)
    assert files | keys <= told(text)


def test_every_key_of_a_shared_table_is_told() -> None:
    keys = set(shared_table.Provenance.model_fields) | {shared_table.PROVENANCE}
    assert keys <= told(section("Results of a profile"))


def test_every_file_of_a_search_is_told() -> None:
    text = told(section("Results of a search"))
    companions = {front.companion_file(name) for info in STRATEGIES.values() for name in info.companions}
    files = {front.CHOSEN, run.RECORD, run.TRIED, document.FILE, remapping.FILE, kept.CHECKPOINT}
    files |= {records.CURVES, write.PAGE, distribution.FILE, *companions}
    assert files | set(document.SearchDocument.model_fields) <= text


def test_every_file_of_a_training_is_told() -> None:
    text = told(section("Results of a training"))
    files = {train.ARCHITECTURE, train.RECIPE, kept.WEIGHTS, kept.CHECKPOINT, best.REPORT}
    assert files | {records.CURVES, remapping.FILE, write.PAGE} <= text


def test_every_file_and_key_of_an_evaluation_is_told() -> None:
    files = {evaluated.FILE, write.PAGE, evaluated.picture_name("best", "truth")}
    assert files | set(evaluated.EvaluationDocument.model_fields) <= told(section("Results of an evaluation"))


def test_every_key_of_a_bundle_is_told() -> None:
    text = section("A bundle")
    given: dict[str, Any] = {key: {} for key in Manifest.__dataclass_fields__}
    given |= {"mean": (0, 0, 0), "std": (1, 1, 1), "architecture": {"space": "s"}, "checked": {"kernels": 1}}
    del given["created_at"]
    manifest = Manifest(**given).document({})
    keys = {*manifest, *manifest["target"], *manifest["weights"], *manifest["kernels"]}
    assert keys | set(REQUIRED) <= told(text)
    assert all(meaning in text for meaning in MEANINGS)
    assert {KERNELS, *NO_KERNELS, *KnownPeaks.model_fields} <= told(text)


def test_every_key_of_a_profiled_run_is_told() -> None:
    keys = set(RunProfile.model_fields) | set(TimedKernel.model_fields)
    assert {PROFILE, *keys} <= told(section("What run and compare write"))


@pytest.mark.parametrize(("page", "name"), [("docs/training.md", "mine"), ("docs/tutorial.md", "minutes")])
def test_recipes_that_are_shown_are_such(page: str, name: str, tmp_path: Path) -> None:
    (text,) = blocks(page, "yaml")
    path = tmp_path / "shown.yaml"
    path.write_text(text, encoding="utf-8")
    recipe = load_recipe(path)
    assert recipe.name == name == yaml.safe_load(text)["name"]


def test_recipes_strategies_and_spaces_are_told() -> None:
    searching, training = read("docs/searching.md"), read("docs/training.md")
    assert set(list_recipes()) <= told(training)
    assert {name for info in STRATEGIES.values() for name in info.list_recipes()} <= told(searching)
    assert STRATEGIES.keys() <= told(searching)
    told_spaces = told(searching)
    squeezenas = {name for name in SPACES if name.startswith("squeezenas-")}
    assert SPACES.keys() - squeezenas <= told_spaces
    assert {"squeezenas-", "small", "large", "xlarge"} <= told_spaces
    assert set(SEARCHED) <= told(searching)
    assert {"ms", "GMACs", "Mparams", "MiB"} <= UNITS.keys()
