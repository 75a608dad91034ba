"""The command lines that come next: after a search its training, after a training its weights' use.

Text, documents and pages say the same.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from search.data.frames import Size
from search.resolution import Resolution
from search.strategies.registry import STRATEGIES
from targets.support.commands import command_line
from targets.target import list_published, target_argument

_HERE = "local-cpu"
_RECIPES = {"depth": "depth-small", "pose": "pose-small"}
"""The shipped recipe of a task that has one for all data."""


def train_command(
    data_spec: str,
    out: Path,
    strategy: str = "gumbel",
    task: str = "segmentation",
    recipe: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """What trains the network that a search chose, by the shipped recipe for such data.

    Args:
        data_spec, out, strategy, task: of the search.
        recipe: as the search ran it: with the weights that its networks began with the training begins too.
    """
    return _training(data_spec, out / "chosen.yaml", strategy, out / "trained", task, _begins_with(recipe))


def teacher_command(
    data_spec: str, out: Path, strategy: str, task: str = "segmentation"
) -> tuple[str, Path] | None:
    """What trains the teacher that a search found beside it, if it did, and what ``--teacher`` then takes."""
    known = STRATEGIES.get(strategy)
    if known is None or "teacher" not in known.companions:
        return None
    folder = out / "teacher"
    training = _training(data_spec, out / "teacher.yaml", strategy, folder, task)
    return training, folder / "architecture.yaml"


def _training(
    data_spec: str, architecture: Path, strategy: str, out: Path, task: str, more: Sequence[str] = ()
) -> str:
    given = ("--data", data_spec, "--recipe", _recipe(data_spec, strategy, task), *more, "--out", out)
    return command_line("train", architecture, *given)


def _begins_with(recipe: Mapping[str, Any]) -> list[str]:
    """Options; of strategies that try networks out the weights are of their scoring."""
    scoring = recipe.get("scoring")
    own = scoring if isinstance(scoring, Mapping) and not recipe.get("init") else recipe
    init = own.get("init")
    return ["--init", str(init), *["--new-head"] * bool(own.get("new_head"))] if init else []


def _recipe(data_spec: str, strategy: str, task: str) -> str:
    """The shipped one."""
    if task != "segmentation":
        return _RECIPES.get(task, "RECIPE")
    of_cityscapes = data_spec.startswith("cityscapes")
    recipe = "squeezenas-paper" if of_cityscapes else "camvid"
    if strategy == "cosearch":
        recipe = "fasterseg-paper" if of_cityscapes else "fasterseg-camvid"
    return recipe


def about_data(
    data_spec: str, splits: Collection[str], frame_size: Size | None, target: str | None = None
) -> dict[str, Any]:
    """What is kept with the best weights so that their next commands can be told."""
    size = Resolution(*frame_size).nearest() if frame_size else None
    return {
        "data_spec": data_spec,
        "evaluate_on": next((split for split in ("test", "val") if split in splits), "train"),
        "frames": str(size) if size else None,
        "searched_for": target,
    }


def commands_after_training(architecture: Path, best: Mapping[str, Any], out: Path) -> tuple[str, str]:
    """What evaluates trained weights, and what deploys them at the size of the frames they learned from.

    Args:
        architecture: the file that names the weights.
        best: what is known of them; of trainings before 0.2 it lacks ``about_data``.
        out: folder of the training.
    """
    spec, split = best.get("data_spec") or "KIND:PATH", best.get("evaluate_on", "val")
    size, searched_for = best.get("frames") or "HxW", best.get("searched_for") or _HERE
    target = _HERE if searched_for in list_published() else target_argument(searched_for)
    return (
        command_line("evaluate", architecture, "--data", spec, "--split", split),
        command_line(
            *("deploy", architecture, "--target", target),
            *("--resolution", size, "--out", out / "bundle"),
        ),
    )
