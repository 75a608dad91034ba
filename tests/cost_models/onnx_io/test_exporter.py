"""ONNX against PyTorch: two renderings of one description, run by two runtimes, must agree."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from cost_models.errors import InvalidGraph
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Activation, Conv2d
from cost_models.ir.weights import random_weights
from cost_models.onnx_io.exporter import to_onnx
from search.architecture import list_architectures, load_architecture
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from search.spaces.space import Part

from ...search.spaces.chains import CHAINS
from ...search.spaces.heads import bare_head
from ..two_runtimes import difference, random_inputs, run_onnx, run_torch

SEARCH_SPACES = ("squeezenas-small", "squeezenas-large", "squeezenas-xlarge")
TOLERANCE = 1e-4  # of the largest output: float32 summed in another order


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Maps are so small here that threads mostly wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def distinct_blocks(space: str, size: str) -> Iterator[Part]:
    seen = set()
    for _, _, part in get_space(space).blocks(Resolution.parse(size)):
        identity = (part.graph, part.inputs["x"])
        if identity not in seen and part.graph.nodes:
            seen.add(identity)
            yield part


@pytest.mark.parametrize(
    ("space", "size"),
    [
        *((space, "64x128") for space in CHAINS),
        ("squeezenas-small", "65x97"),
        pytest.param("squeezenas-xlarge", "65x97", marks=pytest.mark.slow),
    ],
)
def test_every_block_agrees(space: str, size: str) -> None:
    parts = list(distinct_blocks(space, size))
    assert len(parts) >= len(set(get_space(space).positions))
    errors = {part.name: difference(part.graph, part.inputs) for part in parts}
    assert {name: error for name, error in errors.items() if error > TOLERANCE} == {}


@pytest.mark.parametrize("size", ["64x128", "65x97", "129x64"])
@pytest.mark.parametrize("space", CHAINS)
def test_stem_head_and_decoder_agree(space: str, size: str) -> None:
    parts = list(get_space(space).fixed_parts(Resolution.parse(size), bare_head(19)))
    assert {"frame", "stem", "decoder"} <= {part.name for part in parts}
    errors = {part.name: difference(part.graph, part.inputs) for part in parts}
    assert {name: error for name, error in errors.items() if error > TOLERANCE} == {}


def test_classes_agree() -> None:
    graph = segmentation_head(19).after
    shapes = {"x": (2, 19, 9, 11)}
    inputs = random_inputs(graph, shapes)
    inputs["x"][:, 3] = inputs["x"][:, 7] = inputs["x"].max(1)  # equal logits: the first index counts
    (ours,), (theirs,) = run_onnx(to_onnx(graph, shapes), inputs), run_torch(graph, inputs)
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(ours, inputs["x"].argmax(1))


@pytest.mark.parametrize("size", ["64x96", "65x97"])
@pytest.mark.parametrize("name", list_architectures())
def test_whole_networks_agree(name: str, size: str) -> None:
    graph = load_architecture(name).network()
    assert difference(graph, {"x": (1, 3, *Resolution.parse(size))}) < TOLERANCE


def test_the_camera_network_takes_frames_and_gives_classes() -> None:
    graph = load_architecture("squeezenas-mac-small").camera_network()
    shapes = {"frame": (2, 65, 97, 3)}
    inputs = random_inputs(graph, shapes)
    (ours,), (theirs,) = run_onnx(to_onnx(graph, shapes), inputs), run_torch(graph, inputs)
    assert (ours.dtype, ours.shape) == (np.uint8, (2, 65, 97))
    assert np.mean(ours == theirs) > 0.999  # rounding may turn a pixel where two classes are equal


def test_weights_are_random_where_none_are_given() -> None:
    graph = get_space("small").stem_graph()
    shapes = {"x": (1, 3, 64, 64)}
    assert to_onnx(graph, shapes) == to_onnx(graph, shapes, random_weights(graph))
    assert to_onnx(graph, shapes) != to_onnx(graph, shapes, random_weights(graph, seed=1))


def test_the_model_says_what_it_is() -> None:
    graph = get_space("small").decoder_graph(19)
    shapes = {"high": (1, 256, 4, 4), "low": (1, 24, 8, 8), "image": (1, 3, 64, 64)}
    model = to_onnx(graph, shapes, name="decoder")
    assert (model.graph.name, model.producer_name) == ("decoder", "squeezenas_tvm")
    assert [value.name for value in model.graph.input] == ["high", "low"]
    assert [value.name for value in model.graph.output] == ["resize"]


def test_what_does_not_fit_is_refused() -> None:
    net = GraphBuilder()
    graph = net.build(net.add("act", Activation(), net.conv_bn("a", Conv2d(3, 4), "x")))
    with pytest.raises(InvalidGraph, match=r"^a\.conv: convolution takes 3 channels, got 5$"):
        to_onnx(graph, {"x": (1, 5, 8, 8)})
    weights = random_weights(graph)
    del weights["a.bn.bias"]
    with pytest.raises(InvalidGraph, match=r"^weights of another network: 1 of 5 .*: missing a\.bn\.bias$"):
        to_onnx(graph, {"x": (1, 3, 8, 8)}, weights)
