"""Every kind of space ends in metres as well as in classes."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.ir.ops import Shape
from cost_models.onnx_io.exporter import to_onnx
from search.architecture import architecture_for, load_architecture
from search.costs.kernel_table import network_graph
from search.data import open_data
from search.networks.graph_module import GraphModule
from search.resolution import Resolution
from search.spaces.camera import camera_network, depth_head, segmentation_head
from search.spaces.registry import get_space
from search.spaces.space import Part

from .contract import settled

SPACES = (
    "squeezenas-small",
    "squeezenas-large",
    "mobilenetv3-small",
    "fasterseg-student:layers=8,base=3",
    "gas",
    "fastdense@mobilenetv3-small-seg",
    "fastdense-templates",
)
SIZE = Resolution(64, 96)
FRAME = {"frame": (1, *SIZE, 3)}
DATA = open_data("synthetic:1:64x96", "depth")


@pytest.mark.parametrize("name", SPACES)
def test_it_ends_in_metres(name: str) -> None:
    """A network, what its head makes of it, and its parts, which add up to it."""
    space, head = get_space(name), depth_head()
    genotype = space.sample(np.random.default_rng(1))
    network = space.network(genotype, head)
    shapes = network.shapes({"x": (1, 3, *SIZE)})
    assert shapes[network.outputs[0]] == (1, 1, *SIZE)
    camera = camera_network(network, head)
    assert camera.shapes(FRAME)[camera.outputs[0]] == (1, *SIZE)
    classes = space.network(genotype, segmentation_head(2))
    assert network.num_parameters < classes.num_parameters
    parts = {part.name: part for part in space.parts(SIZE, head)}
    assert space.peak_bytes(SIZE, head).keys() == parts.keys()
    last = [part for part in parts.values() if _result(part) == (1, *SIZE)]
    assert last == [*parts.values()][-len(last) :]
    architecture = architecture_for(space, genotype, DATA)
    assert (architecture.task, architecture.tells, architecture.labels) == ("depth", ("metres",), ())
    kernels = network_graph(architecture, SIZE).kernels
    apart = KernelGraph.of(replace(camera, outputs=(*camera.outputs, *space.borders(genotype))), FRAME)
    assert kernels == apart.kernels
    (ending,) = (kernel for kernel in kernels if kernel.output_shape == (1, *SIZE))
    assert ending in {kernel for part in last for kernel in split_into_kernels(part.graph, part.inputs)}


def _result(part: Part) -> Shape:
    return part.graph.shapes(part.inputs)[part.graph.outputs[0]]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_deployed_is_what_pytorch_says_in_float32(dtype: str) -> None:
    architecture = load_architecture("squeezenas-lat-small").for_data(DATA)
    torch.manual_seed(0)
    camera = architecture.camera_network()
    module = settled(GraphModule(architecture.network()))
    module.state_dict()["decoder.classify_high.bias"].add_(0.5)
    tensors = {n: v.numpy() for n, v in module.state_dict().items() if "num_batches" not in n}
    model = to_onnx(camera, FRAME, tensors, dtype=dtype)
    assert model.graph.output[0].type.tensor_type.elem_type == 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    frame = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)
    (theirs,) = session.run(None, {"frame": frame})
    own = GraphModule(camera)
    own.load_state_dict(module.state_dict())
    with torch.inference_mode():
        ours = own.eval()(torch.from_numpy(frame))
    assert isinstance(ours, torch.Tensor)
    assert (theirs.dtype, theirs.shape) == (np.float32, (1, *SIZE))
    assert theirs.min() == 0 < theirs.max()
    assert np.abs(ours.numpy() - theirs).max() <= (1e-4 if dtype == "float32" else 2e-2) * theirs.max()
