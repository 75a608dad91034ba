"""Networks and their accuracy, in PyTorch."""

from pathlib import Path
from typing import TYPE_CHECKING

from search.architecture import Architecture
from search.resolution import Resolution

if TYPE_CHECKING:
    from squeezenas_tvm.evaluation.scores import Evaluation
    from squeezenas_tvm.training.train import Trained


def train_architecture(
    architecture: Architecture,
    data: str,
    recipe: str | Path,
    out: str | Path,
    *,
    initial: str | Path | None = None,
    seed: int | None = None,
    workers: int = 2,
    resume: bool = False,
    progress: bool = False,
) -> "Trained":
    """Train an architecture through the stages of a recipe; loads PyTorch.

    Args:
        data: ``camvid:PATH``, ``cityscapes:PATH``, ``synthetic``, ...; says how many classes there are.
        recipe: name of a shipped one, or a YAML file.
        out: folder of weights, curves and checkpoints.
        initial: file of weights to begin with; random ones when None.
        seed: instead of the recipe's.
        workers: processes that load data; 0: none.
        resume: go on from the last checkpoint in ``out``, if there is one.

    Returns:
        Its ``architecture`` is a file that names the best weights: ``load_architecture`` reads it.

    Raises:
        SearchError, UsageError: what does not fit, before the first step; FailedTraining: later.
        FailedWork: a full disk.
    """
    from search.training.recipe import load_recipe
    from squeezenas_tvm.training import train

    loaded = load_recipe(str(recipe))
    return train.train_architecture(
        architecture,
        data,
        loaded if seed is None else loaded.model_copy(update={"seed": seed}),
        Path(out),
        initial=Path(initial) if initial else None,
        workers=workers,
        resume=resume,
        shown=progress,
    )


def evaluate_architecture(
    architecture: Architecture,
    data: str,
    split: str = "val",
    *,
    weights: str | Path | None = None,
    resolution: tuple[int, int] | None = None,
    progress: bool = False,
) -> "Evaluation":
    """How right trained weights are on labelled frames, at the frames' full size; loads PyTorch.

    Args:
        data: as in ``train_architecture``.
        split: train, val, trainval or test.
        weights: .safetensors or .pth; the architecture's own when None.
        resolution: of the network, height and width: frames are resized to it, classes back;
            that of the frames when None.

    Raises:
        UsageError: there are no weights.
        SearchError: weights and data that do not fit each other, or are not there.
    """
    from search.data import open_data
    from squeezenas_tvm.evaluation import architecture as work

    return work.evaluate_architecture(
        architecture,
        open_data(data),
        split,
        weights=Path(weights) if weights else None,
        resolution=None if resolution is None else Resolution(*resolution).checked(),
        shown=progress,
    )
