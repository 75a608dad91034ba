"""Networks as PyTorch modules; tests of the ONNX exporter show that both compute the same."""

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import Activation, Resize
from search.networks.graph_module import GraphModule
from search.spaces.camera import classes_graph, frame_graph, segmentation_head
from search.spaces.inverted_residual import candidate_graph, skip_graph
from search.spaces.registry import SPACES


def network(space: str = "squeezenas-small") -> Graph:
    """With one of each option, as far as the decisions go."""
    decisions = SPACES[space].decisions
    chosen = {d.name: d.options[i % len(d.options)] for i, d in enumerate(decisions)}
    return SPACES[space].network(chosen, segmentation_head(5))


def of_blocks(space: str, blocks: Sequence[str]) -> Graph:
    """With five outputs."""
    return SPACES[space].network(SPACES[space].from_short_form(blocks), segmentation_head(5))


def image(height: int = 64, width: int = 64, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("space", SPACES)
def test_state_dict_has_the_names_and_shapes_of_the_graph(space: str) -> None:
    graph = network(space)
    state = GraphModule(graph).state_dict()
    tensors = {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert tensors == graph.parameters() | graph.buffers()
    parameters = {k: tuple(v.shape) for k, v in GraphModule(graph).named_parameters()}
    assert parameters == graph.parameters()


def test_names_of_tensors_do_not_change() -> None:
    """Weights on disk go by them."""
    names = list(GraphModule(of_blocks("squeezenas-small", ["k3e6", *["skip"] * 19])).state_dict())
    assert names[:3] == ["stem.conv.weight", "stem.bn.weight", "stem.bn.bias"]
    assert [name for name in names if name.startswith("blocks.0.") and name.endswith("conv.weight")] == [
        *("blocks.0.expand.conv.weight", "blocks.0.depthwise.conv.weight", "blocks.0.project.conv.weight")
    ]
    assert {name.split(".")[1] for name in names if name.startswith("blocks.")} == {"0", "4", "8", "12", "16"}
    assert {"blocks.4.even.conv.weight", "blocks.4.odd.bn.running_var", "blocks.12.project.bn.bias"} <= set(
        names
    )
    assert {"head.conv.weight", "decoder.gate.bias", "decoder.classify_low.weight"} <= set(names)


@pytest.mark.parametrize("space", SPACES)
def test_every_parameter_learns(space: str) -> None:
    module = GraphModule(network(space)).train()
    logits = module(image())
    torch.nn.functional.cross_entropy(logits, torch.zeros(2, 64, 64, dtype=torch.long)).backward()
    without = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    counters = {int(v) for k, v in module.state_dict().items() if k.endswith("num_batches_tracked")}
    assert counters == {1}


def test_a_copy_is_a_network_of_its_own() -> None:
    module = GraphModule(network()).eval()
    twin = copy.deepcopy(module)
    before = module(image())
    torch.testing.assert_close(twin(image()), before, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    torch.testing.assert_close(module(image()), before, rtol=0, atol=0)
    assert not torch.equal(twin(image()), before)


def test_several_outputs_come_as_a_tuple() -> None:
    net = GraphBuilder(("x", "y"))
    first = net.add("a", Activation(), "x")
    graph = net.build(net.add("b", Resize(align_corners=False), "y", size_of="x"), first)
    b, a = GraphModule(graph)(torch.full((1, 3, 6, 8), -1.0), torch.ones(1, 3, 2, 2))
    assert (tuple(b.shape), tuple(a.shape)) == ((1, 3, 6, 8), (1, 3, 6, 8))
    assert (float(b.sum()), float(a.sum())) == (144, 0)


def test_inputs_must_be_as_many_as_the_graph_has() -> None:
    module = GraphModule(GraphBuilder(("x",)).build("x"))
    with pytest.raises(ValueError, match="zip"):
        module(image(), image())


def test_identity_skip_gives_back_its_input() -> None:
    x = image()
    assert GraphModule(skip_graph(3, 3, 1))(x) is x


def test_strided_skip_sees_even_and_odd_pixels() -> None:
    module = GraphModule(skip_graph(2, 2, 2)).eval()
    with torch.no_grad():
        for name in ("even", "odd"):
            module.get_submodule(f"{name}.conv").weight.copy_(torch.tensor([1.0, 0]).view(1, 2, 1, 1))
    x = torch.arange(2 * 4 * 5, dtype=torch.float32).view(1, 2, 4, 5)
    even, odd = module(x)[0] * (1 + 1e-5) ** 0.5  # undo the fresh batch normalisation
    torch.testing.assert_close(even, x[0, 0, ::2, ::2])
    # shifted by one pixel in both axes, a zero where the odd width has no pixel left
    torch.testing.assert_close(odd, torch.tensor([[6.0, 8, 0], [16, 18, 0]]))


def test_residual_block_adds_its_input() -> None:
    graph = candidate_graph("k3e3", 4, 4, 1)
    module = GraphModule(graph).eval()
    with torch.no_grad():
        module.get_submodule("project.bn").weight.zero_()
    x = torch.randn(1, 4, 5, 6)
    torch.testing.assert_close(module(x), x)


def test_frames_are_normalised_as_imagenet_is() -> None:
    frame = torch.tensor([[[[255, 0, 128]]]], dtype=torch.uint8)
    expected = (np.array([255, 0, 128]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(GraphModule(frame_graph())(frame)[0, :, 0, 0], expected, rtol=1e-6)


def test_classes_are_the_largest_logits_the_first_of_equals() -> None:
    logits = torch.tensor([[1.0, 3, 3, 2], [5, 5, 5, 5]]).T.reshape(1, 4, 1, 2)
    classes = GraphModule(classes_graph())(logits)
    assert (classes.dtype, classes.tolist()) == (torch.uint8, [[[1, 0]]])


def test_values_are_dropped_after_their_last_use() -> None:
    """Activations at full resolution are hundreds of megabytes: only live ones may stay."""
    net, value = GraphBuilder(), "x"
    for index in range(4):
        value = net.add(f"a{index}", Activation(), value)
    alive: list[int] = []

    class Watched(GraphModule):
        def _release(self, node: object, values: dict[str, torch.Tensor]) -> None:
            super()._release(node, values)  # type: ignore[arg-type]
            alive.append(len(values))

    Watched(net.build(value))(image())
    assert alive == [1, 1, 1, 1]


def test_fresh_filters_keep_activations_in_range() -> None:
    weights = GraphModule(network()).state_dict()
    assert all(bool(v.isfinite().all()) for v in weights.values())
    biases = [v for k, v in weights.items() if k.endswith("classify_low.bias")]
    assert [float(v.abs().max()) for v in biases] == [0.0]
    spread = float(weights["head.conv.weight"].std())
    assert spread == pytest.approx((2 / 256) ** 0.5, rel=0.1)  # He-normal over outputs
