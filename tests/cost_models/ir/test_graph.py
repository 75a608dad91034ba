import re

import pytest

from cost_models.errors import InvalidGraph
from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.graph import Graph, GraphBuilder, Node, conv_before, fold_batch_norm
from cost_models.ir.ops import (
    Activation,
    Add,
    ArgMax,
    BatchNorm2d,
    Conv2d,
    Crop,
    Normalize,
    Op,
    Pad,
    Resize,
    ToByte,
)

from ..two_runtimes import difference

IMAGE = {"x": (1, 3, 16, 20)}


def two_branches() -> Graph:
    """A stem, a branch that halves the map and is resized back, and their sum."""
    net = GraphBuilder()
    stem = net.add("stem.act", Activation(), net.conv_bn("stem", Conv2d(3, 8, kernel=3, padding=1), "x"))
    small = net.conv_bn("down", Conv2d(8, 8, stride=2, bias=True), stem)
    large = net.add("up", Resize(align_corners=False), small, size_of=stem)
    return net.build(net.add("sum", Add(), stem, large))


def test_shapes_follow_the_input() -> None:
    shapes = two_branches().shapes(IMAGE)
    assert shapes["down.conv"] == (1, 8, 8, 10)
    assert shapes["sum"] == (1, 8, 16, 20)
    assert two_branches().shapes({"x": (2, 3, 9, 7)})["sum"] == (2, 8, 9, 7)


def test_counts() -> None:
    graph = two_branches()
    assert graph.macs(IMAGE) == 16 * 20 * 8 * 3 * 9 + 8 * 10 * 8 * 8
    assert graph.num_parameters == 8 * 3 * 9 + 2 * 8 + 8 * 8 + 8 + 2 * 8
    assert graph.parameters()["down.conv.bias"] == (8,)
    assert set(graph.buffers()) == {f"{n}.bn.running_{k}" for n in ("stem", "down") for k in ("mean", "var")}
    assert graph.bytes_moved(IMAGE) == 4 * (3 * 16 * 20 + 8 * 16 * 20 + graph.num_parameters)


def test_bytes_count_the_width_of_elements() -> None:
    net = GraphBuilder(("frame",))
    image = net.add("image", Normalize((0, 0, 0), (1, 1, 1)), "frame")
    graph = net.build(net.add("byte", ToByte(), net.add("index", ArgMax(), image)))
    assert [graph.dtype(name) for name in ("frame", "image", "index", "byte")] == [
        *("uint8", "float32", "int64", "uint8")
    ]
    assert graph.bytes_moved({"frame": (1, 4, 5, 3)}) == 4 * 5 * 3 + 4 * 5


def test_folding_leaves_the_deployed_form() -> None:
    graph = two_branches()
    folded = fold_batch_norm(graph)
    assert [node.name for node in folded.nodes] == ["stem.conv", "stem.act", "down.conv", "up", "sum"]
    assert folded.parameters() == {
        "stem.conv.weight": (8, 3, 3, 3),
        "stem.conv.bias": (8,),
        "down.conv.weight": (8, 8, 1, 1),
        "down.conv.bias": (8,),
    }
    assert folded.shapes(IMAGE)["sum"] == graph.shapes(IMAGE)["sum"]
    assert fold_batch_norm(folded) == folded
    assert conv_before(graph) == {"stem.bn": "stem.conv", "down.bn": "down.conv"}


def test_folding_redirects_sizes_and_outputs() -> None:
    net = GraphBuilder(("x", "y"))
    norm = net.conv_bn("a", Conv2d(3, 3), "x")
    graph = net.build(net.add("b", Resize(align_corners=True), "y", size_of=norm), norm)
    folded = fold_batch_norm(graph)
    assert folded.outputs == ("b", "a.conv")
    assert folded.nodes[-1].size_of == "a.conv"


def test_pinning_turns_sizes_into_numbers() -> None:
    net = GraphBuilder(("x", "image"))
    graph = net.build(net.add("up", Resize(align_corners=True), "x", size_of="image"))
    inputs = {"x": (1, 3, 4, 5), "image": (1, 3, 16, 20)}
    pinned = graph.pinned(inputs)
    assert pinned.inputs == ("x",)  # the image gave nothing but its size
    assert pinned.nodes == (Node("up", Resize(align_corners=True, size=(16, 20)), ("x",)),)
    assert pinned.shapes({"x": inputs["x"]})["up"] == graph.shapes(inputs)["up"]


def test_a_graph_without_operations_is_the_identity() -> None:
    graph = GraphBuilder().build("x")
    assert graph.shapes(IMAGE) == IMAGE
    assert graph.pinned(IMAGE) == graph
    assert graph.macs(IMAGE) == graph.num_parameters == 0


def test_embedding_prefixes_names_and_returns_outputs() -> None:
    net = GraphBuilder()
    (first,) = net.embed("one", two_branches(), "x")
    with pytest.raises(ValueError, match="zip"):
        net.embed("two", two_branches(), first, first)
    (second,) = net.embed("", GraphBuilder().build("x"), first)
    assert (first, second) == ("one.sum", "one.sum")
    assert net.build(second).nodes[5].size_of == "one.stem.act"


def test_consumers_count_a_reader_once() -> None:
    net = GraphBuilder()
    graph = net.build(net.add("twice", Add(), net.add("act", Activation(), "x"), "act"))
    assert [node.name for node in graph.consumers["act"]] == ["twice"]


RELU = Activation()


@pytest.mark.parametrize(
    ("nodes", "outputs", "reason"),
    [
        ([Node("a", RELU, ("y",))], "a", "a: reads 'y', which no earlier node makes"),
        (
            [Node("a", RELU, ("b",)), Node("b", RELU, ("x",))],
            "b",
            "a: reads 'b', which no earlier node makes",
        ),
        ([Node("a", Resize(True), ("x",), "y")], "a", "a: reads 'y', which no earlier node makes"),
        ([Node("a", RELU, ("x",)), Node("a", RELU, ("x",))], "a", "a: the name is used twice"),
        ([Node("x", RELU, ("x",))], "x", "x: the name is used twice"),
        ([Node("a", Add(), ("x",))], "a", "a: takes 2 input(s), got 1"),
        ([Node("a", RELU, ("x",))], "b", "output 'b' is made by no node"),
    ],
)
def test_a_graph_that_cannot_be(nodes: list[Node], outputs: str, reason: str) -> None:
    with pytest.raises(InvalidGraph, match=f"^{re.escape(reason)}$"):
        Graph(("x",), tuple(nodes), (outputs,))


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (Conv2d(4, 4), "here: convolution takes 4 channels, got 8"),
        (Conv2d(8, 8, kernel=17), "here: a 17-pixel window does not fit a map of 16x20"),
        (BatchNorm2d(4), "here: batch normalisation of 4 channels, got 8"),
    ],
)
def test_shapes_name_the_node_that_does_not_fit(op: Op, reason: str) -> None:
    net = GraphBuilder()
    net.add("first", Conv2d(3, 8), "x")
    graph = net.build(net.add("here", op, "first"))
    with pytest.raises(InvalidGraph, match=f"^{re.escape(reason)}$"):
        graph.shapes(IMAGE)


def test_batch_norm_without_a_convolution_of_its_own_cannot_be_folded() -> None:
    alone, shared = GraphBuilder(), GraphBuilder()
    alone.add("bn", BatchNorm2d(3), "x")
    norm = shared.conv_bn("a", Conv2d(3, 3), "x")
    shared.add("sum", Add(), norm, "a.conv")
    for builder, output, name in ((alone, "bn", "bn"), (shared, "sum", "a.bn")):
        message = f"^{name}: batch normalisation must follow a convolution of its own$"
        with pytest.raises(InvalidGraph, match=message):
            fold_batch_norm(builder.build(output))


def padded() -> Graph:
    """Sides filled up to multiples of 8, resized to half and back, cut to the size that came in."""
    net = GraphBuilder()
    whole = net.add("pad", Pad(8), "x")
    half = net.add("half", Resize(align_corners=True), whole, size_of=whole, size_over=2)
    back = net.add("back", Resize(align_corners=True), half, size_of=whole)
    return net.build(net.add("crop", Crop(), back, size_of="x"))


def test_sides_are_filled_up_and_cut_again() -> None:
    shapes = padded().shapes({"x": (1, 3, 13, 20)})
    assert shapes["pad"] == shapes["back"] == (1, 3, 16, 24)
    assert shapes["half"] == (1, 3, 8, 12)
    assert shapes["crop"] == (1, 3, 13, 20)
    assert difference(padded(), {"x": (1, 3, 13, 20)}) < 1e-5


def test_a_divided_size_rounds_down() -> None:
    net = GraphBuilder()
    graph = net.build(net.add("half", Resize(align_corners=True), "x", size_of="x", size_over=2))
    assert graph.shapes({"x": (1, 3, 23, 30)})["half"] == (1, 3, 11, 15)
    assert difference(graph, {"x": (1, 3, 23, 30)}) < 1e-5


def test_what_does_nothing_at_a_size_is_not_there() -> None:
    graph, inputs = padded(), {"x": (1, 3, 16, 24)}
    assert [node.name for node in graph.pinned(inputs).nodes] == ["half", "back"]
    assert graph.pinned(inputs).outputs == ("back",)
    assert [kernel.label.split()[0] for kernel in split_into_kernels(graph, inputs)] == [
        "resize.corners+resize.corners"
    ]
    assert difference(graph, inputs) < 1e-5
    net = GraphBuilder()
    assert net.build(net.add("pad", Pad(8), "x")).pinned(inputs).outputs == ("x",)


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (Pad(size=(8, 20)), r"^here: cannot pad a map of \(1, 3, 16, 20\) to 8x20$"),
        (Crop((16, 24)), r"^here: cannot crop a map of \(1, 3, 16, 20\) to \(16, 24\)$"),
        (Crop(), r"^here: cannot crop a map of \(1, 3, 16, 20\) to None$"),
    ],
)
def test_sides_that_cannot_be_filled_or_cut_are_named(op: Op, reason: str) -> None:
    net = GraphBuilder()
    with pytest.raises(InvalidGraph, match=reason):
        net.build(net.add("here", op, "x")).shapes(IMAGE)
