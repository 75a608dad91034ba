"""Evaluates the camera's network in PyTorch: what a bundle is compiled from."""

from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from search.architecture import Architecture
from search.data import Data
from search.networks.graph_module import GraphModule
from search.networks.weights import load_weights
from search.resolution import Resolution
from squeezenas_tvm.bundles.images import UInt8, resize_bilinear
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.evaluation.counting import COUNTING
from squeezenas_tvm.evaluation.kept import KeptFrames
from squeezenas_tvm.evaluation.scores import Evaluation, check_split, evaluate_frames


def evaluate_architecture(
    architecture: Architecture,
    data: Data,
    split: str = "val",
    *,
    weights: Path | None = None,
    resolution: Resolution | None = None,
    out: Path | None = None,
    shown: bool = True,
) -> Evaluation:
    """How right weights are on a split, on the GPU if there is one.

    Args:
        split: train, val, trainval or test.
        weights: the architecture's own when None.
        resolution: of the network: frames are resized to it, what it tells back; the frames' own when None.
        out: folder for confusions and pictures of frames, of segmentation alone.
        shown: draw how far it is.

    Raises:
        UsageError: there are no weights, or the data is for another task.
        SearchError: weights and data that do not fit each other or are not there.
        InTheWay, FailedWrite: files of others in ``out``, or no room there.
    """
    if data.task != architecture.task:
        raise UsageError(
            f"{architecture.name} is for {architecture.task}, and {data.name} for {data.task}; name data for "
            f"{architecture.task}"
        )
    check_split(data, split)
    architecture = architecture.for_data(data)
    path = weights or architecture.weights_path
    if path is None:
        raise UsageError("--weights FILE is missing: without weights there is nothing to evaluate")
    tensors = load_weights(architecture, path)
    size = resolution or (Resolution(*data.frame_size) if data.frame_size else None)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = GraphModule(architecture.camera_network())
    module.load_state_dict({name: torch.from_numpy(values) for name, values in tensors.items()}, strict=False)
    module.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def predict(image: UInt8) -> npt.NDArray[Any]:
        frame = torch.tensor(resize_bilinear(image, *(size or image.shape[:2])), device=device)[None]
        with torch.inference_mode():
            told = module(frame)[0]
        after = image.shape[0], image.shape[1]
        return COUNTING[data.task].resized(told.cpu().numpy(), tuple(size or after), after)

    return evaluate_frames(
        predict,
        data,
        split,
        network=architecture.name,
        weights=str(path),
        resolution=str(size) if size else "each frame's own size",
        runs=f"PyTorch on {device}",
        kept=KeptFrames(out, data) if out else None,
        size=size,
        shown=shown,
    )
