import re

import pytest

from cost_models.ir.graph import Graph
from cost_models.ir.ops import Activation, Add, Concat, Conv2d, GlobalAvgPool, Mul, ShiftByOne
from search.errors import UnknownCandidate
from search.spaces.inverted_residual import SKIP, InvertedResidual, candidate_graph, skip_graph
from search.spaces.mobilenetv3 import MOBILENETV3
from search.spaces.squeezenas import SQUEEZENAS, SQUEEZENAS_CANDIDATES


def convolutions(graph: Graph) -> dict[str, Conv2d]:
    return {node.name: node.op for node in graph.nodes if isinstance(node.op, Conv2d)}


def output_shape(graph: Graph, height: int, width: int, channels: int = 16) -> tuple[int, ...]:
    return graph.shapes({"x": (1, channels, height, width)})[graph.outputs[0]]


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("k3e6", InvertedResidual(kernel=3, expansion=6)),
        ("k5e1g2", InvertedResidual(kernel=5, expansion=1, groups=2)),
        ("k3e1g2d2", InvertedResidual(kernel=3, expansion=1, groups=2, dilation=2)),
        ("k3h16", InvertedResidual(kernel=3, hidden=16)),
        (
            "k5h672d2sehs",
            InvertedResidual(kernel=5, hidden=672, dilation=2, squeeze_excite=True, activation="hswish"),
        ),
    ],
)
def test_names_say_everything(name: str, block: InvertedResidual) -> None:
    assert InvertedResidual.parse(name) == block
    assert str(block) == name


def test_every_name_of_every_space_round_trips() -> None:
    chains = (*SQUEEZENAS, *MOBILENETV3)
    offered = {n for space in chains for p in space.positions for n in p.candidates} - {SKIP}
    assert {str(InvertedResidual.parse(name)) for name in offered} == offered
    assert len(offered) > 12


@pytest.mark.parametrize("name", ["", "k3", "e6", "k3e", "K3E6", "k3e6 ", "k3e1d2g2", "conv"])
def test_another_name_is_refused(name: str) -> None:
    expected = (
        f"block {name!r}: write skip, or k<kernel>e<expansion>[g<groups>][d<dilation>], for example k3e6d2"
    )
    with pytest.raises(UnknownCandidate, match=f"^{re.escape(expected)}$"):
        candidate_graph(name, 16, 16, 1)


def test_layers_of_an_inverted_residual() -> None:
    # SqueezeNAS (arXiv:1908.01748), section 3.1, and the authors' released code
    assert convolutions(candidate_graph("k5e3", 16, 24, 2)) == {
        "expand.conv": Conv2d(16, 48),
        "depthwise.conv": Conv2d(48, 48, kernel=5, stride=2, padding=2, groups=48),
        "project.conv": Conv2d(48, 24),
    }
    assert convolutions(candidate_graph("k3e1g2d2", 16, 16, 1)) == {
        "expand.conv": Conv2d(16, 16, groups=2),  # there for an expansion of 1 too
        "depthwise.conv": Conv2d(16, 16, kernel=3, padding=2, dilation=2, groups=16),
        "project.conv": Conv2d(16, 16, groups=2),
    }


@pytest.mark.parametrize(("out_channels", "stride", "added"), [(16, 1, True), (24, 1, False), (16, 2, False)])
def test_the_input_is_added_where_the_shape_is_kept(out_channels: int, stride: int, added: bool) -> None:
    last = candidate_graph("k3e6", 16, out_channels, stride).nodes[-1]
    assert isinstance(last.op, Add) is added
    assert not added or last.inputs == ("project.bn", "x")


def test_mobilenetv3_blocks() -> None:
    # MobileNetV3 (arXiv:1905.02244), section 5.3; channels of the gate are rounded to 8
    first = candidate_graph("k3h16se", 16, 16, 2)
    assert "expand.conv" not in convolutions(first)
    assert convolutions(first)["gate.reduce"] == Conv2d(16, 8, bias=True)
    large = candidate_graph("k5h672d2sehs", 112, 80, 1)
    assert convolutions(large)["expand.conv"] == Conv2d(112, 672)
    assert convolutions(large)["gate.reduce"] == Conv2d(672, 168, bias=True)
    assert {GlobalAvgPool, Mul} <= {type(node.op) for node in large.nodes}
    kinds = {node.name: node.op.kind for node in large.nodes if isinstance(node.op, Activation)}
    assert kinds == {
        "expand.act": "hswish",
        "depthwise.act": "hswish",
        "gate.reduce.act": "relu",
        "gate.expand.act": "hsigmoid",
    }


def test_skip_is_the_identity_where_the_shape_is_kept() -> None:
    graph = skip_graph(16, 16, 1)
    assert graph.nodes == ()
    assert graph.outputs == ("x",)


def test_skip_projects_where_channels_change() -> None:
    graph = skip_graph(16, 24, 1)
    assert [node.name for node in graph.nodes] == ["act", "project.conv", "project.bn"]
    assert output_shape(graph, 7, 9) == (1, 24, 7, 9)


def test_skip_at_stride_2_is_two_halves_a_pixel_apart() -> None:
    graph = skip_graph(16, 24, 2)
    assert convolutions(graph) == dict.fromkeys(("even.conv", "odd.conv"), Conv2d(16, 12, stride=2))
    made_by = {node.name: node for node in graph.nodes}
    assert made_by["even.conv"].inputs == ("act",)
    assert made_by["odd.conv"].inputs == ("shift",)
    assert isinstance(made_by["shift"].op, ShiftByOne)
    assert isinstance(made_by[graph.outputs[0]].op, Concat)


@pytest.mark.parametrize(("height", "width"), [(8, 16), (9, 16), (8, 17), (9, 17), (4, 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_all_candidates_give_maps_of_one_size(height: int, width: int, stride: int) -> None:
    shapes = {
        output_shape(candidate_graph(name, 16, 24, stride), height, width) for name in SQUEEZENAS_CANDIDATES
    }
    assert shapes == {(1, 24, -(-height // stride), -(-width // stride))}
