"""Every kind of space ends in heat maps at a quarter of the image, and these in key points."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.ir.memory import peak_bytes
from cost_models.onnx_io.exporter import to_onnx
from search.architecture import architecture_for, load_architecture
from search.costs.kernel_table import network_graph
from search.data import open_data
from search.errors import InvalidResolution
from search.networks.auxiliary import TrainingNetwork
from search.networks.graph_module import GraphModule
from search.networks.network import build_network
from search.resolution import Resolution
from search.spaces.camera import camera_network, pose_head
from search.spaces.registry import get_space
from search.spaces.space import one_hot

from .contract import settled
from .fastdense.test_released import unused_adapters
from .test_depth_heads import SPACES

SIZE = Resolution(68, 96)  # no multiple of what grids and cells fill up to
FRAME = {"frame": (1, *SIZE, 3)}
DATA = open_data("synthetic:1:64x96", "pose")
HEAD = pose_head(16)


@pytest.mark.parametrize("name", SPACES)
def test_it_ends_in_heat_maps_and_these_in_points(name: str) -> None:
    """A network, what its head makes of it, and its parts, which add up to it."""
    space = get_space(name)
    genotype = space.sample(np.random.default_rng(1))
    network = space.network(genotype, HEAD)
    shapes = network.shapes({"x": (1, 3, *SIZE)})
    assert shapes[network.outputs[0]] == HEAD.last_shape(SIZE) == (1, 16, 17, 24)
    camera = camera_network(network, HEAD)
    assert camera.shapes(FRAME)[camera.outputs[0]] == (1, 16, 3)
    assert camera.dtype(camera.outputs[0]) == "single"
    architecture = architecture_for(space, genotype, DATA)
    assert (architecture.task, len(architecture.tells), architecture.labels) == ("pose", 16, ())
    runs = space.marginals(one_hot(space, [genotype]))
    parts = [part for part in space.parts(SIZE, HEAD) if part.name not in runs or runs[part.name][0]]
    kernels = network_graph(architecture, SIZE).kernels
    apart = KernelGraph.of(replace(camera, outputs=(*camera.outputs, *space.borders(genotype))), FRAME)
    assert Counter(kernels) == Counter(apart.kernels)
    of_parts = [kernel for part in parts for kernel in split_into_kernels(part.graph, part.inputs)]
    assert Counter(of_parts) == Counter(kernels)
    if name.startswith("fastdense"):
        return  # theirs are an estimate, which takes seconds
    peaks = space.peak_bytes(SIZE, HEAD)
    assert max(peaks[part.name] for part in parts) == pytest.approx(peak_bytes(camera, FRAME), rel=0.25)


@pytest.mark.parametrize("index", range(3))
def test_released_networks_have_the_parameters_and_work_of_pose(index: int) -> None:
    """Counted independently of this code, taps that no block takes included."""
    name, size = f"fastdense-arch{index}", (256, 256)
    architecture = load_architecture(name).for_data(DATA)
    network, space = architecture.network(), architecture.search_space
    unused = unused_adapters(space, name)  # type: ignore[arg-type]
    parameters = network.num_parameters + sum(graph.num_parameters for _, graph in unused)
    assert parameters == (2_627_024, 2_807_248, 2_850_256)[index]
    macs = network.macs({"x": (1, 3, *size)})
    for stride, graph in unused:
        channels = graph.parameters()["fit.conv.weight"][1]
        macs += graph.macs({"x": (1, channels, *(side // stride for side in size))})
    assert macs / 1e9 == pytest.approx((1.040269, 0.710664, 0.840254)[index], abs=6e-7)
    assert network.shapes({"x": (1, 3, *size)})[network.outputs[0]] == (1, 16, 64, 64)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_deployed_is_what_pytorch_says_in_float32(dtype: str) -> None:
    architecture = load_architecture("squeezenas-mac-small").for_data(DATA)
    torch.manual_seed(0)
    module = settled(GraphModule(architecture.network()))
    tensors = {n: v.numpy() for n, v in module.state_dict().items() if "num_batches" not in n}
    model = to_onnx(architecture.camera_network(), FRAME, tensors, dtype=dtype)
    assert model.graph.output[0].type.tensor_type.elem_type == 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    frame = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)
    (theirs,) = session.run(None, {"frame": frame})
    own = GraphModule(architecture.camera_network())
    own.load_state_dict(module.state_dict())
    with torch.inference_mode():
        ours = own.eval()(torch.from_numpy(frame))
    assert isinstance(ours, torch.Tensor)
    assert (theirs.dtype, theirs.shape) == (np.float32, (1, 16, 3))
    if dtype == "float32":
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-2)
    else:  # rounding may choose another of two peaks that are as high
        near = np.abs(ours.numpy() - theirs).max(2) < 2
        assert near.mean() > 0.7


def test_sides_that_are_no_multiples_are_refused() -> None:
    network = build_network(load_architecture("squeezenas-mac-small").for_data(DATA))
    with pytest.raises(InvalidResolution, match=r"66x96: .* multiples of 4; the nearest that works is 64x96"):
        network(torch.zeros(1, 3, 66, 96))
    with pytest.raises(InvalidResolution, match="multiples of 4"):
        list(get_space("small").parts(Resolution(65, 97), HEAD))


@pytest.mark.parametrize("name", ["fastdense-arch0", "fasterseg-student"])
def test_heads_of_training_alone_are_as_large(name: str) -> None:
    network = TrainingNetwork(load_architecture(name).for_data(DATA)).train()
    outputs = network(torch.zeros(2, 3, 64, 64))
    assert {tuple(last.shape) for last in outputs} == {(2, 16, 16, 16)}
