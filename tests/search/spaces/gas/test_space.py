"""The spaces after GAS: sizes, what zeros leave of a network, what is refused."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.graph import Graph
from cost_models.ir.ops import Activation, Add, Conv2d, MaxPool2d, Standardize
from cost_models.onnx_io.exporter import to_onnx
from search.costs.kernel_table import space_kernels
from search.errors import InvalidArchitecture, InvalidResolution, UnknownCandidate
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.gas.chain import EDGES, OPERATIONS, CellChain, Pyramid
from search.spaces.gas.operations import edge_graph, input_graph
from search.spaces.gas.space import GasSpace
from search.spaces.gas.spaces import GAS
from search.spaces.space import one_hot

from ..contract import SearchSpaceContract

NARROW, WIDE = GAS
HEAD = segmentation_head(19)
IMAGE = {"x": (1, 3, 64, 128)}
OTHER = GasSpace(
    name="other",
    summary="a chain of other numbers",
    chain=CellChain(
        channels=4,
        cells=4,
        reductions=(0, 1),
        stem_strides=(2, 2),
        decoder=Pyramid(rates=(3,), channels=8),
        operations=("max_pool_3x3", "skip", "zero", "conv_3x3"),
        empty="refused",
    ),
)
SHORT = GasSpace(name="short", summary="four cells", chain=CellChain(channels=8, cells=4, reductions=(1,)))


class TestOther(SearchSpaceContract):
    @pytest.fixture
    def space(self) -> GasSpace:
        return OTHER


class TestWithoutZero(SearchSpaceContract):
    @pytest.fixture
    def space(self) -> GasSpace:
        return replace(OTHER, chain=replace(OTHER.chain, operations=("skip", "sep_conv_3x3"), cells=2))


def genotype(space: GasSpace, usual: str, **changes: str) -> dict[str, str]:
    """One operation everywhere, but ``c1_in0_2=...``."""
    chosen = {own.name: usual for own in space.decisions}
    for name, operation in changes.items():
        cell, _, edge = name.partition("_")
        chosen[f"cells.{cell[1:]}.{edge}"] = operation
    return chosen


def all_of(cell: int, operation: str) -> dict[str, str]:
    return {f"c{cell}_{edge.name}": operation for edge in EDGES}


def convolutions(network: Graph, prefix: str) -> list[Conv2d]:
    return [n.op for n in network.nodes if isinstance(n.op, Conv2d) and n.name.startswith(f"{prefix}.")]


def test_sizes_are_those_of_the_specification() -> None:
    assert len(OPERATIONS) == 8
    assert len(OPERATIONS) ** len(EDGES) == 32_768
    for space in GAS:
        counts = [len(own.options) for own in space.decisions]
        assert sum(counts) == 14 * 5 * 8 == 560
        assert float(np.prod(np.array(counts, float))) == pytest.approx(1.645505e63, rel=1e-6)
    assert [edge.name for edge in EDGES] == ["in0_1", "in1_1", "in0_2", "in1_2", "1_2"]


def test_channels_double_at_the_reductions() -> None:
    assert [NARROW.chain.edge_channels(cell) for cell in (0, 3, 4, 8, 9, 13)] == [8, 8, 16, 16, 32, 32]
    assert [WIDE.chain.edge_channels(cell) for cell in (0, 4, 9)] == [16, 32, 64]
    network = NARROW.network(genotype(NARROW, "conv_3x3"), HEAD)
    shapes = network.shapes({"x": (1, 3, 768, 1536)})
    assert shapes["stem.2.act"] == (1, 16, 192, 384)
    assert shapes["cells.3.out.act"] == (1, 16, 192, 384)
    assert shapes["cells.4.in1.act"] == (1, 16, 192, 384)
    assert shapes["cells.4.in0_1.dense.bn"] == (1, 16, 96, 192)
    assert shapes["cells.5.in0.act"] == (1, 16, 96, 192)
    assert shapes["cells.13.out.whole"] == (1, 64, 48, 96)
    assert shapes[network.outputs[0]] == (1, 19, 768, 1536)


def test_an_edge_of_a_reduction_has_stride_two_but_for_the_last() -> None:
    network = NARROW.network(genotype(NARROW, "sep_conv_3x3"), HEAD)
    for cell, stride in ((3, 1), (4, 2), (9, 2)):
        for edge in EDGES:
            depthwise, point = convolutions(network, f"cells.{cell}.{edge.name}")
            assert depthwise.stride == (stride if edge.from_input else 1)
            assert depthwise.is_depthwise
            assert (point.kernel, point.stride) == (1, 1)


@pytest.mark.parametrize(
    ("operation", "parameters", "macs"),  # of 8 channels at 16x16
    [
        ("max_pool_3x3", 0, 0),
        ("skip", 0, 0),
        ("conv_3x3", 8 * 8 * 9 + 16, 256 * 8 * 8 * 9),
        ("sep_conv_3x3", 8 * 9 + 8 * 8 + 16, 256 * (8 * 9 + 8 * 8)),
        ("dil_sep_conv_3x3_d2", 8 * 9 + 8 * 8 + 16, 256 * (8 * 9 + 8 * 8)),
        ("dil_sep_conv_3x3_d8", 8 * 9 + 8 * 8 + 16, 256 * (8 * 9 + 8 * 8)),
    ],
)
def test_operations_are_those_of_the_specification(operation: str, parameters: int, macs: int) -> None:
    graph = edge_graph(operation, 8, strided=False, from_input=False)
    assert graph.num_parameters == parameters
    assert graph.macs({"x": (1, 8, 16, 16)}) == macs
    assert graph.shapes({"x": (1, 8, 16, 16)})[graph.outputs[0]] == (1, 8, 16, 16)
    begins = [type(node.op) for node in graph.nodes[:1]]
    assert begins == {"max_pool_3x3": [MaxPool2d], "skip": []}.get(operation, [Activation])


def test_a_strided_skip_and_a_large_input_are_two_halves() -> None:
    for graph in (
        edge_graph("skip", 8, strided=True, from_input=True),
        input_graph(8, 8, halves=True, raw=True, relu=False),
    ):
        nodes = {node.name: node.op for node in graph.nodes}
        assert nodes["even.conv"] == nodes["odd.conv"] == Conv2d(8, 4, stride=2)
        assert graph.num_parameters == 2 * 8 * 4 + 16
    pool = edge_graph("max_pool_3x3", 8, strided=True, from_input=True)
    assert [node.op for node in pool.nodes] == [MaxPool2d(3, 2, 1), Standardize(8)]


def test_a_zero_is_not_in_the_network_its_onnx_or_its_kernels() -> None:
    full = genotype(SHORT, "conv_3x3")
    without = full | {"cells.2.in0_2": "zero", "cells.2.1_2": "zero"}
    before, after = (SHORT.network(chosen, HEAD) for chosen in (full, without))
    gone = {node.name for node in before.nodes} - {node.name for node in after.nodes}
    assert gone == {
        *(f"cells.2.{edge}.dense.{layer}" for edge in ("in0_2", "1_2") for layer in ("conv", "bn")),
        "cells.2.1_2.act",
        "cells.2.sum2.add0",
        "cells.2.sum2.add1",
    }
    assert before.macs(IMAGE) - after.macs(IMAGE) == 2 * (8 * 16) * 16 * 16 * 9  # pixels, channels, taps
    assert len(split_into_kernels(before, IMAGE)) - len(split_into_kernels(after, IMAGE)) == 3
    kinds = [Counter(node.op_type for node in to_onnx(g, IMAGE).graph.node) for g in (before, after)]
    assert kinds[0] - kinds[1] == Counter({"Conv": 2, "Add": 2, "Relu": 1})


def test_a_skip_is_not_in_the_kernels() -> None:
    conv, skip = (
        SHORT.network(genotype(SHORT, "conv_3x3", c2_in0_1=operation), HEAD)
        for operation in ("conv_3x3", "skip")
    )
    assert not [node for node in skip.nodes if node.name.startswith("cells.2.in0_1")]
    kernels = [split_into_kernels(network, IMAGE) for network in (conv, skip)]
    assert len(kernels[0]) == len(kernels[1])  # its ReLU is apart now, a convolution gone
    assert conv.macs(IMAGE) - skip.macs(IMAGE) == (8 * 16) * 16 * 16 * 9


def test_a_node_of_zeros_is_left_out_with_the_channels_that_others_would_read() -> None:
    chosen = genotype(SHORT, "conv_3x3", c2_in0_1="zero", c2_in1_1="zero")
    network = SHORT.network(chosen, HEAD)
    cell = {node.name.split(".")[2] for node in network.nodes if node.name.startswith("cells.2.")}
    assert cell == {"in0", "in1", "in0_2", "in1_2", "sum2", "out"}  # what its last edge reads is zero
    assert convolutions(network, "cells.3.in1")[0].in_channels == 16
    assert convolutions(network, "cells.3.in0")[0].in_channels == 32
    assert "cells.2.out.whole" not in {node.name for node in network.nodes}
    last = SHORT.network(genotype(SHORT, "conv_3x3", c3_in0_2="zero", c3_in1_2="zero", c3_1_2="zero"), HEAD)
    assert convolutions(last, "decoder.point")[0].in_channels == 16


def test_a_cell_that_nobody_reads_is_left_out() -> None:
    reads_no_cell_2 = genotype(SHORT, "conv_3x3", c3_in1_1="zero", c3_in1_2="zero")
    network = SHORT.network(reads_no_cell_2, HEAD)
    assert {n.name.split(".")[1] for n in network.nodes if n.name.startswith("cells.")} == {"0", "1", "3"}
    runs = SHORT.marginals(one_hot(SHORT, [reads_no_cell_2]))
    assert not any(times[0] for name, times in runs.items() if name.startswith("cells.2."))
    for name in ("cells.2.in0_1", "cells.2.1_2"):  # what it would do changes nothing
        assert SHORT.network(reads_no_cell_2 | {name: "zero"}, HEAD) == network


@pytest.mark.parametrize("zeros", [all_of(2, "zero"), {f"c2_{e.name}": "zero" for e in EDGES[:4]}])
def test_a_cell_of_zeros_is_drawn_as_zeros_or_refused(zeros: dict[str, str]) -> None:
    """Also where all but the edge between its nodes are."""
    chosen = genotype(SHORT, "conv_3x3", **zeros)
    network = SHORT.network(chosen, HEAD)
    names = {node.name for node in network.nodes if node.name.startswith(("cells.2.", "cells.3."))}
    assert {name.split(".")[2] for name in names} == {"in0", "in0_1", "in0_2", "1_2", "sum2", "out"}
    assert not [name for name in names if name.startswith("cells.2.")]
    refuses = replace(SHORT, chain=replace(SHORT.chain, empty="refused"))
    with pytest.raises(InvalidArchitecture, match=r"^space short: cell 2 gives nothing but zeros; allowed: "):
        refuses.network(chosen, HEAD)
    assert all(refuses.check(refuses.sample(np.random.default_rng(seed))) for seed in range(3))


def test_a_network_without_a_way_is_refused() -> None:
    for zeros in (all_of(3, "zero"), {**all_of(1, "zero"), **all_of(2, "zero")}):
        with pytest.raises(
            InvalidArchitecture, match=r"^space short: cell 3 gives nothing but zeros, the dec"
        ):
            SHORT.check(genotype(SHORT, "conv_3x3", **zeros))


def test_sums_run_in_the_kernel_of_the_first_that_computes() -> None:
    chosen = genotype(SHORT, "zero", c0_in0_1="conv_3x3")
    chosen |= genotype(SHORT, "skip") | {"cells.2.in0_1": "skip", "cells.2.in1_1": "conv_3x3"}
    labels = [kernel.label.split()[0] for kernel in split_into_kernels(SHORT.network(chosen, HEAD), IMAGE)]
    assert "conv3x3+add" in labels
    pools = SHORT.network(genotype(SHORT, "max_pool_3x3"), HEAD)
    labels = [kernel.label.split()[0] for kernel in split_into_kernels(pools, IMAGE)]
    assert {"max3x3+standardize", "max3x3+standardize+add", "max3x3+standardize+add+add"} <= set(labels)
    assert sum(isinstance(node.op, Add) for node in pools.nodes) == 3 * 4


def test_cells_share_few_kernels() -> None:
    for space in GAS:
        resolution = Resolution(720, 960)
        parts = list(space.parts(resolution, HEAD))
        assert (len(parts), len(space_kernels(space, resolution, HEAD))) == (1405, 133)


def test_the_short_form_is_a_line_a_cell() -> None:
    short = SHORT.short_form(genotype(SHORT, "conv_3x3", c1_1_2="skip"))
    assert short is not None
    assert short[1] == "conv_3x3 conv_3x3 conv_3x3 conv_3x3 skip"
    with pytest.raises(
        InvalidArchitecture, match=r"cell 2 has 4 operations; allowed: 5, one an edge: in0_1,"
    ):
        SHORT.from_short_form([*short[:2], "conv_3x3 skip zero skip", short[3]])
    with pytest.raises(InvalidArchitecture, match=r"^space short: 3 cells, has 4$"):
        SHORT.from_short_form(short[1:])
    with pytest.raises(UnknownCandidate, match=r"cells\.0\.in0_1: unknown option 'conv_5x5', did you mean"):
        SHORT.from_short_form([short[0].replace("conv_3x3", "conv_5x5"), *short[1:]])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"operations": ("skip", "conv_5x5")}, "unknown operation 'conv_5x5', did you mean conv_3x3"),
        ({"operations": ("zero",)}, "operations has nothing but zero"),
        ({"reductions": (4, 14)}, "reductions are 4, 14; allowed: cells from 0 to 13, each once"),
        ({"reductions": (-1,)}, "reductions are -1; allowed: cells from 0 to 13"),
        ({"reductions": (9, 4)}, "reductions are 9, 4; allowed: .* in rising order"),
        ({"channels": 9}, "channels is 9, allowed: even numbers"),
        ({"channels": 0}, "channels is 0, allowed: 1 or more"),
        ({"growth": 0}, "growth is 0, allowed: 1 or more"),
        ({"stem_strides": (2, 3)}, r"stem_strides are \(2, 3\), allowed: 1 and 2"),
        ({"decoder": Pyramid(rates=(0,))}, r"the decoder's rates are \(0,\)"),
    ],
)
def test_a_chain_that_cannot_be(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArchitecture, match=f"^cells: {said}"):
        CellChain(**{"channels": 8, **changes})  # type: ignore[arg-type]


def test_a_resolution_smaller_than_the_decoders_windows_is_refused() -> None:
    assert NARROW.check_resolution(Resolution(64, 65)) == (64, 65)
    with pytest.raises(InvalidResolution, match="sides must be 64 to 8192"):
        NARROW.check_resolution(Resolution(63, 64))
    coarse = replace(NARROW, chain=replace(NARROW.chain, reductions=(2, 5, 9)))
    with pytest.raises(
        InvalidResolution,
        match=r"^resolution 96x256: the decoder of gas gets a 32th of it, .*; the nearest .* is 128x256$",
    ):
        coarse.check_resolution(Resolution(96, 256))


def test_a_drawing_has_what_is_there_and_says_what_is_not() -> None:
    chosen = genotype(SHORT, "conv_3x3", **all_of(2, "zero"), c3_in0_2="dil_sep_conv_3x3_d4", c1_1_2="zero")
    cells = SHORT.drawing(chosen).graphs
    assert [cell.name for cell in cells] == ["cell 0", "cell 1", "cell 2", "cell 3"]
    assert cells[1].detail == "16 channels at 1/8, halves the map"
    assert cells[2].detail == "16 channels at 1/8, left out: it gives nothing"
    shown = [[wire.operation for wire in cell.wires] for cell in cells]
    assert shown[1] == ["conv", "conv", "conv", "conv", ""]
    assert shown[2] == [""] * 5
    assert shown[3] == ["conv", "", "dil_sep_conv_d4", "", "conv"]  # its input 1 was cell 2
    assert [point.there for point in cells[3].points] == [True, False, True, True]
    ends = [(wire.source, wire.target) for wire in cells[0].wires]
    assert ends == [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    unread = genotype(SHORT, "conv_3x3", c3_in1_1="zero", c3_in1_2="zero")
    assert SHORT.drawing(unread).graphs[2].detail.endswith("left out: not read")
