"""Networks from a camera's frame on, as one ONNX file that every runtime takes, and as PyTorch has them.

``classes`` of each pixel of the image, a byte; or ``scores``, without the last resize and what is behind it.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from networks.registry import NETWORKS

from cost_models.ir.graph import Graph, Node
from cost_models.ir.ops import Resize
from cost_models.ir.weights import random_weights
from search.architecture import Architecture, list_architectures, load_architecture
from search.resolution import Resolution
from search.spaces.camera import IMAGENET_MEAN, IMAGENET_STD
from squeezenas_tvm.errors import FailedWork, UsageError
from targets.support.text import near_miss

if TYPE_CHECKING:
    import onnx
    from torch import nn

Form = Literal["classes", "scores"]
FORMS: tuple[Form, ...] = ("classes", "scores")
OWN = (
    "squeezenas-lat-small",
    "squeezenas-mac-small",
    "squeezenas-lat-large",
    "squeezenas-mac-large",
    "mobilenetv3-large-seg",
)


def check_names(names: list[str]) -> None:
    """Raises UsageError where there is no such network."""
    allowed = (*NETWORKS, *list_architectures())
    if unknown := [name for name in names if name not in allowed]:
        near = near_miss(unknown[0], allowed)
        raise UsageError(f"no network is {unknown[0]}{near}; allowed: {', '.join(allowed)}")


def write_network(name: str, size: Resolution, form: Form, path: Path) -> None:
    """Its ONNX file, and beside it what it is."""
    import onnx

    onnx.save(_foreign(name, size, form, path) if name in NETWORKS else _own(name, size, form), path)
    path.with_suffix(".json").write_text(json.dumps({"network": name, "size": [*size], "form": form}))


def module_of(path: Path) -> tuple["nn.Module", tuple[int, ...]]:
    """PyTorch's form of such a file, and the shape of the frame that it takes.

    Raises FailedWork for the scores of networks that are not of the house: their last resize is within.
    """
    what = json.loads(path.with_suffix(".json").read_text())
    shape = (1, *what["size"], 3)
    if what["network"] in NETWORKS:
        if what["form"] == "scores":
            raise FailedWork("PyTorch's network is made with its last resize alone")
        return _camera(what["network"]), shape
    import torch

    from search.networks.graph_module import GraphModule

    architecture = load_architecture(what["network"])
    module = GraphModule(_cut(architecture.camera_network(), what["form"]))
    state = {key: torch.from_numpy(values) for key, values in weights_of(architecture).items()}
    module.load_state_dict({key: state[key] for key in module.state_dict() if key in state}, strict=False)
    return module, shape


def weights_of(architecture: Architecture) -> Mapping[str, Any]:
    """Published weights where they are shipped, else random ones, the same wherever they are made."""
    if architecture.weights_path:
        from search.networks.weights import load_weights

        return dict(load_weights(architecture, architecture.weights_path))
    return random_weights(architecture.camera_network())


def _own(name: str, size: Resolution, form: Form) -> "onnx.ModelProto":
    from cost_models.onnx_io.exporter import to_onnx

    architecture = load_architecture(name)
    graph = _cut(architecture.camera_network(), form)
    known = {*graph.parameters(), *graph.buffers()}
    weights = {key: values for key, values in weights_of(architecture).items() if key in known}
    return to_onnx(graph, {"frame": (1, *size, 3)}, weights, name=name)


def _cut(graph: Graph, form: str) -> Graph:
    """The graph, or what stands before its last resize."""
    if form == "classes":
        return graph
    last = next(node for node in reversed(graph.nodes) if isinstance(node.op, Resize))
    wanted, kept = {last.inputs[0]}, list[Node]()
    for node in reversed(graph.nodes):
        if node.name in wanted:
            wanted |= {*node.inputs}
            kept.insert(0, node)
    return replace(graph, nodes=tuple(kept), outputs=(last.inputs[0],))


def _foreign(name: str, size: Resolution, form: Form, path: Path) -> "onnx.ModelProto":
    from export_network import export
    from onnx.shape_inference import infer_shapes
    from onnx.utils import Extractor

    from cost_models.onnx_io.ends import End, Frame, with_end, with_frame
    from cost_models.onnx_io.whole_model import read_whole

    whole = read_whole(export(name, size, path))
    whole = with_frame(whole, Frame(IMAGENET_MEAN, IMAGENET_STD))
    proto = with_end(whole, End("argmax")).proto
    if form == "classes":
        return proto
    (frame,), (classes,) = proto.graph.input, proto.graph.output
    makers = {output: node for node in proto.graph.node for output in node.output}
    node = makers[classes.name]
    while node.op_type != "Resize":
        node = makers[node.input[0]]
    return Extractor(infer_shapes(proto)).extract_model([frame.name], [node.input[0]])


def _camera(name: str) -> "nn.Module":
    """A network of somebody else with what stands before and behind it."""
    import torch
    from networks.blocks import randomise
    from networks.registry import build
    from torch import nn

    class Camera(nn.Module):
        mean: torch.Tensor
        std: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = randomise(build(name), 0)
            self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN)[:, None, None])
            self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD)[:, None, None])

        def forward(self, frame: torch.Tensor) -> torch.Tensor:
            image = (frame.permute(0, 3, 1, 2).float() - self.mean) / self.std
            return self.network(image).argmax(1).to(torch.uint8)  # type: ignore[no-any-return]

    return Camera()
