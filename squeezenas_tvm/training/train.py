"""Trains one architecture through the stages of a recipe; alone, or as one of the processes of a torchrun."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.architecture import Architecture, dump_architecture
from search.data import Data, open_data
from search.networks.weights import Array
from search.parallel.ranks import Ranks
from search.training import dump_recipe
from search.training.best import WEIGHTS
from search.training.initial import initial_weights
from search.training.recipe import Recipe
from search.training.run import CHECKPOINT, TrainingRun, same_classes
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.terminal.progress import progress
from squeezenas_tvm.training.command import about_data

ARCHITECTURE, RECIPE = "architecture.yaml", "recipe.yaml"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A training that came to its end.

    Attributes:
        folder: of the weights, ``architecture.yaml``, curves and the last checkpoint.
        best: what is known of the best weights: architecture, stage, epoch, split, miou_percent, ...
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
    initial: Path | None = None,
    workers: int = 2,
    resume: bool = False,
    shown: bool = True,
) -> Trained:
    """Train; write weights, curves and checkpoints.

    Args:
        data: ``camvid:PATH``, ``cityscapes:PATH``, ``synthetic``, ...; says how many classes there are.
        out: folder of all that is written.
        initial: file of weights to begin with; random ones when None.
        workers: processes that load data; 0: none.
        resume: go on from the last checkpoint in ``out``, if there is one.
        shown: draw how far it is.

    Raises:
        SearchError, UsageError: before the first step, for what does not fit.
        FailedTraining: later; FailedWork: a full disk. The last checkpoint is kept.
    """
    opened = [open_data(stage.data_spec(data)) for stage in recipe.training]
    going_on = _prepare_folder(out, resume=resume)
    for found in opened:
        found.check(*{"train", "val"} & set(found.splits))
    if recipe.given and not initial and not going_on:
        names = " and ".join(stage.name for stage in recipe.given)
        log.warning(
            "training begins from random weights, without %s (see the recipe): expect less than published; "
            "--init FILE begins from pretrained ones",
            names,
        )
    about = about_data(data, opened[-1].splits, opened[-1].frame_size)
    own = {"results": [], "weights": WEIGHTS}
    fitting = architecture.for_classes(same_classes(opened)).model_copy(update=own)
    try:
        tensors = None if going_on else _initial(initial, fitting, architecture)
        best = _train(
            fitting,
            *(recipe, opened, out, tensors, about),
            workers=workers,
            going_on=going_on,
            shown=shown,
        )
    except OSError as error:
        raise FailedWork(
            f"{error.filename or out}: {error.strerror or error}; make room there; the last checkpoint "
            "is kept, the same command with --resume goes on from it"
        ) from error
    return Trained(out, {**about, **best})


def _prepare_folder(out: Path, *, resume: bool) -> bool:
    """Make the folder. Returns whether there is a checkpoint to go on from; refuses to write over one."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}; name another folder") from None
    exists = (out / CHECKPOINT).exists()
    if exists and not resume:
        raise UsageError(f"{out} holds a training; go on with it by --resume, or name another --out")
    return exists


def _train(
    architecture: Architecture,
    recipe: Recipe,
    data: Sequence[Data],
    out: Path,
    initial: Mapping[str, Array] | None,
    about: Mapping[str, Any],
    *,
    workers: int,
    going_on: bool,
    shown: bool,
) -> Mapping[str, Any]:
    """What is known of the best weights."""
    ranks = Ranks.start()
    try:
        run = TrainingRun(
            architecture, recipe, data, out, ranks, initial=initial, workers=workers, about=about
        )
        if going_on:
            run.resume()
        if not ranks.first:
            return run.run()
        (out / ARCHITECTURE).write_text(dump_architecture(architecture), encoding="utf-8")
        (out / RECIPE).write_text(dump_recipe(recipe), encoding="utf-8")
        with progress("train", run.steps_left, shown=shown) as step:
            return run.run(step)
    finally:
        ranks.close()


def _initial(
    path: Path | None, architecture: Architecture, declared: Architecture
) -> Mapping[str, Array] | None:
    """Tensors to begin with. Says which ones of the file could not be used."""
    if path is None:
        return None
    tensors, left_out = initial_weights(architecture, path, declared=declared)
    if left_out:
        log.info(
            "%s is of %d classes, the data has %d; freshly initialised: %s",
            path,
            declared.head.outputs,
            architecture.head.outputs,
            ", ".join(left_out),
        )
    return tensors
