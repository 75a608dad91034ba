"""Networks and their accuracy, in PyTorch."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.architecture import Architecture
from search.resolution import Resolution
from targets import PublishedDevice, Target

if TYPE_CHECKING:
    from squeezenas_tvm.evaluation.scores import Evaluation
    from squeezenas_tvm.searching.search import Searched
    from squeezenas_tvm.training.train import Trained


def search_space(
    target: Target | PublishedDevice,
    data: str,
    *,
    space: str = "small",
    task: str = "segmentation",
    budget: str | None = None,
    objective: str | None = None,
    strategy: str = "gumbel",
    recipe: str | Path = "small",
    resolution: tuple[int, int] = (1024, 2048),
    table: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> "Searched":
    """Find the architecture of a space for a target and a budget, without the device; loads PyTorch.

    Args:
        target: as ``load_device`` gives it.
        data: ``folder:PATH``, ``camvid:PATH``, ``synthetic``, ...; says which classes there are.
        task: what the network is for: ``segmentation``, ``depth`` or ``pose``.
        budget: such as ``30ms`` or ``2GMACs``; none when None.
        objective: what is paid for, such as ``latency`` or ``latency:3,memory:1``; when None what the budget
            limits, else latency.
        strategy: ``gumbel``, ``random``, ``evolution``, ``ppo``, ``cosearch`` or ``gas``; ``recipe``: by
            name, or a YAML file.
        resolution: that the costs are of, height and width in pixels.
        table: folder of the target's table; see ``estimate_latency``.
        out: folder of all that is written, ``results/search-TARGET`` when None.
        resume: go on from its last checkpoint, if there is one.
        changes: of the recipe: epochs, seed, networks; of gumbel also paths, resource_weight; of gas message,
            resource_weight; init and new_head, see ``train_architecture``: of candidates, or of an encoder.

    Returns:
        ``.architecture`` is the file of the chosen network, ``.result`` has all that were judged.

    Raises:
        UsageError, CostModelError, SearchError: what does not fit, before anything long.
        FailedTraining, FailedWork: it cannot go on; they say what is kept.
    """
    from squeezenas_tvm.searching import search

    return search.search_space(
        target=target,
        data=data,
        space=space,
        task=task,
        budget=budget,
        objective=objective,
        strategy=strategy,
        recipe=recipe,
        resolution=Resolution(*resolution).checked(),
        table=Path(table) if table else None,
        out=Path(out) if out else None,
        resume=resume,
        shown=progress,
        changes=changes,
    )


def train_architecture(
    architecture: Architecture,
    data: str,
    recipe: str | Path,
    out: str | Path,
    *,
    task: str | None = None,
    initial: str | Path | None = None,
    new_head: bool = False,
    teacher: Architecture | None = None,
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
        task: what to train it for; what the architecture is for when None.
        initial: weights to begin with, of this network or of another one of its family, which are remapped:
            a file, ARCH=FILE, or an architecture file that names them; random ones when None.
        new_head: take all of them but what tells the classes apart.
        teacher: whose outputs it learns from, beside the labels: an architecture of any space for the same
            classes, with weights of its own.
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
        loaded if seed is None else loaded.with_seed(seed),
        Path(out),
        task=task,
        initial=initial,
        new_head=new_head,
        teacher=teacher,
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
    out: str | Path | None = None,
    progress: bool = False,
) -> "Evaluation":
    """How right trained weights are on labelled frames, at the frames' full size; loads PyTorch.

    Args:
        data: as in ``train_architecture``.
        split: train, val, trainval or test.
        weights: .safetensors or .pth; the architecture's own when None.
        resolution: of the network, height and width: frames are resized to it, what it
            tells back; that of the frames when None.
        out: folder for confusions and pictures of frames, of segmentation alone.

    Raises:
        UsageError: there are no weights.
        SearchError: weights and data that do not fit each other, or are not there.
        InTheWay, FailedWrite: files of others in ``out``, or no room there.
    """
    from search.data import open_data
    from squeezenas_tvm.evaluation import architecture as work

    return work.evaluate_architecture(
        architecture,
        open_data(data, architecture.task),
        split,
        weights=Path(weights) if weights else None,
        resolution=None if resolution is None else Resolution(*resolution).checked(),
        out=Path(out) if out else None,
        shown=progress,
    )
