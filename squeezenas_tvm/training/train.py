"""Trains one architecture through the stages of a recipe; alone, or as one of the processes of a torchrun."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from search.architecture import Architecture, dump_architecture
from search.data import Data, open_data
from search.kept import WEIGHTS, is_kept
from search.parallel.ranks import Ranks
from search.tasks.registry import TASKS
from search.training import dump_recipe
from search.training.best import REPORT
from search.training.recipe import Recipe, list_recipes, load_recipe
from search.training.records import CURVES
from search.training.run import TrainingRun, same_outputs
from search.training.teacher import Teacher, load_teacher
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.terminal.progress import progress
from squeezenas_tvm.training.command import about_data
from squeezenas_tvm.training.initial import load_initial
from squeezenas_tvm.training.stopped import note_resumed, unwritten
from targets.support.files import FailedWrite, put_whole, refuse_others
from targets.support.interrupts import termination_stops
from targets.support.plain_yaml import dump_yaml
from targets.support.sealed import is_sealed, says, sealed
from targets.support.text import near_miss

ARCHITECTURE, RECIPE = "architecture.yaml", "recipe.yaml"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A training that came to its end.

    Attributes:
        folder: of the weights, ``architecture.yaml``, curves and the last checkpoint.
        best: what is known of the best weights: architecture, stage, epoch, split, scores, ...
    """

    folder: Path
    best: Mapping[str, Any]

    @property
    def architecture(self) -> Path:
        """The file of the architecture, which names its weights."""
        return self.folder / ARCHITECTURE


def train_architecture(
    architecture: Architecture,
    data: str,
    recipe: Recipe,
    out: Path,
    *,
    task: str | None = None,
    initial: str | Path | None = None,
    new_head: bool = False,
    teacher: Architecture | None = None,
    workers: int = 2,
    resume: bool = False,
    shown: bool = True,
) -> Trained:
    """Train; write weights, curves and checkpoints.

    Args:
        data: ``camvid:PATH``, ``cityscapes:PATH``, ``synthetic``, ...; says what is told apart.
        out: folder of all that is written.
        task: what to train it for; what the architecture is for when None.
        initial, new_head: weights to begin with, see ``load_initial``; random ones when None.
        teacher: with weights of its own, for the same classes; of any space.
        workers: processes that load data; 0: none.
        resume: go on from the last checkpoint in ``out``, if there is one.
        shown: draw how far it is.

    Raises:
        SearchError, UsageError: before the first step, for what does not fit.
        InTheWay: files in ``out`` would be overwritten that no training of ours wrote.
        FailedTraining: later; FailedWork: a full disk. Both say what is kept.
        KeyboardInterrupt: Ctrl-C, or SIGTERM; what was trained is in a checkpoint.
    """
    opened = _opened(architecture, data, recipe, task or architecture.task)
    going_on = _prepare_folder(out, resume=resume)
    _check_frames(opened, recipe)
    if recipe.given and not initial and not going_on:
        _miss_pretraining(recipe)
    about = about_data(data, opened[-1].splits, opened[-1].frame_size, architecture.searched_for)
    own = {"results": [], "weights": WEIGHTS}
    fitting = architecture.for_data(same_outputs(opened)).model_copy(update=own)
    taught_by = load_teacher(teacher, fitting) if teacher else None
    described = _described(out, fitting, recipe, taught_by)
    try:
        begin = load_initial(None if going_on else initial, fitting, new_head=new_head)
        if not going_on:
            _refuse_others(out, described | begin.files(out))
        begin.tell()
        make = partial(TrainingRun, fitting, recipe, opened, out)
        with termination_stops():
            best = _train(
                partial(make, initial=begin.tensors, teacher=taught_by, workers=workers, about=about),
                described,
                begin.files(out),
                going_on=going_on,
                shown=shown,
            )
    except (OSError, FailedWrite) as error:
        raise unwritten(error, out) from error
    return Trained(out, {**about, **best})


def _check_frames(opened: Sequence[Data], recipe: Recipe) -> None:
    """Raise InvalidData where files are damaged, or nothing counts in them."""
    for found, stage in zip(opened, recipe.training, strict=True):
        found.check(*{"train", "val"} & set(found.splits))
        found.check_labelled(stage.split, *{"val"} & set(found.splits))


def _opened(architecture: Architecture, data: str, recipe: Recipe, task: str) -> list[Data]:
    """The data of each stage. Raises UsageError where a recipe is for another task, or nobody knows it."""
    if task not in TASKS:
        raise UsageError(f"unknown task {task!r}{near_miss(task, TASKS)}; allowed: {', '.join(TASKS)}")
    if recipe.task == task:
        return [open_data(stage.data_spec(data), task) for stage in recipe.training]
    others = [name for name in list_recipes() if load_recipe(name).task == task]
    told = f"{architecture.name} is for {task}" if task == architecture.task else f"--task is {task}"
    again = f"; or train it for {recipe.task}: --task {recipe.task}" if task == architecture.task else ""
    raise UsageError(
        f"recipe {recipe.name} is for {recipe.task}, and {told}; allowed: {', '.join(others)}, or a file of "
        f"your own of that kind{again}"
    )


def _prepare_folder(out: Path, *, resume: bool) -> bool:
    """Make the folder. Returns whether there is a checkpoint to go on from; refuses to write over one."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}; name another folder") from None
    if resume:
        note_resumed(out)
    elif is_kept(out):
        raise UsageError(f"{out} holds a training; go on with it by --resume, or name another --out")
    return is_kept(out)


def _miss_pretraining(recipe: Recipe) -> None:
    names = " and ".join(stage.name for stage in recipe.given)
    log.warning(
        "training begins from random weights, without %s (see the recipe): expect less than published; "
        "--init FILE begins from pretrained ones",
        names,
    )


def _train(
    make: Callable[[Ranks], TrainingRun],
    described: Mapping[Path, str],
    remapped: Mapping[Path, str],
    *,
    going_on: bool,
    shown: bool,
) -> Mapping[str, Any]:
    """What is known of the best weights.

    Args:
        described, remapped: files to write before the first step, if nobody has changed them.
    """
    ranks = Ranks.start()
    try:
        run = make(ranks)
        if going_on:
            run.resume()
        if not ranks.first:
            return run.run()
        for path, text in described.items():
            if not path.exists() or is_sealed(path):  # else the user's own
                put_whole(path, sealed(text).encode())
        for path, text in remapped.items():
            put_whole(path, text.encode())
        with progress("train", run.steps_left, shown=shown) as step:
            return run.run(step)
    finally:
        ranks.close()


def _described(
    out: Path, architecture: Architecture, recipe: Recipe, teacher: Teacher | None
) -> dict[Path, str]:
    """What says in a training's folder how it was made."""
    how = dump_recipe(recipe)
    if teacher:
        about = dump_yaml({"teacher": teacher.about}).rstrip().split("\n")
        how = "".join(f"# {line}\n" for line in about) + how
    return {out / ARCHITECTURE: dump_architecture(architecture), out / RECIPE: how}


def _refuse_others(out: Path, described: Mapping[Path, str]) -> None:
    """Raise InTheWay where a new training would overwrite what it did not write, such as its own inputs."""
    paths = [path for path, text in described.items() if not says(path, text)]
    paths += [out / name for name in (WEIGHTS, REPORT, CURVES)]
    refuse_others(paths, "move them away, or name another --out")
