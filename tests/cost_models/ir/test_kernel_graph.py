"""What kernels of a network wait for, and which chain of them its end waits for longest."""

import pytest

from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.ir.ops import Activation, Add, AvgPool2d, Concat, Conv2d

INPUTS = {"x": (1, 8, 16, 16)}


def branches() -> Graph:
    """Two convolutions of the same map; their results, pooled apart, are stacked."""
    net = GraphBuilder()
    net.conv_bn("stem", Conv2d(8, 8, kernel=3, padding=1), "x")
    left = net.add("left.pool", AvgPool2d((2, 2), (2, 2)), net.conv_bn("left", Conv2d(8, 8), "stem.bn"))
    right = net.add("right.pool", AvgPool2d((2, 2), (2, 2)), net.conv_bn("right", Conv2d(8, 16), "stem.bn"))
    return net.build(net.add("both", Concat(), left, right))


def test_kernels_are_those_of_the_graph_and_read_what_others_made() -> None:
    graph = KernelGraph.of(branches(), INPUTS)
    assert list(graph.kernels) == split_into_kernels(branches(), INPUTS)
    labels = [kernel.label.split()[0] for kernel in graph.kernels]
    assert labels == ["conv3x3", "conv1x1", "pool2x2", "conv1x1", "pool2x2", "concat"]
    assert graph.reads == ((), (0,), (1,), (0,), (3,), (2, 4))


def test_a_residual_is_read_twice() -> None:
    net = GraphBuilder()
    first = net.add("relu", Activation("relu"), net.conv_bn("first", Conv2d(8, 8), "x"))
    middle = net.add("act", Activation("relu"), net.conv_bn("middle", Conv2d(8, 8), first))
    last = net.add("sum", Add(), net.conv_bn("last", Conv2d(8, 8), middle), first)
    assert KernelGraph.of(net.build(last), INPUTS).reads == ((), (0,), (1, 0))


@pytest.mark.parametrize(("left", "path"), [(5.0, [0, 1, 2, 5]), (1.0, [0, 3, 4, 5])])
def test_the_critical_path_goes_through_the_slower_branch(left: float, path: list[int]) -> None:
    assert KernelGraph.of(branches(), INPUTS).critical_path([1.0, left, 1.0, 2.0, 1.0, 1.0]) == path


def test_of_a_chain_the_critical_path_is_all_of_it() -> None:
    kernels = split_into_kernels(branches(), INPUTS)
    chain = KernelGraph.chain(kernels)
    assert chain.kernels == tuple(kernels)
    assert chain.critical_path([1.0] * len(kernels)) == list(range(len(kernels)))


def test_nothing_runs_where_there_is_no_operation() -> None:
    graph = KernelGraph.of(Graph(("x",), (), ("x",)), INPUTS)
    assert (graph.kernels, graph.critical_path([])) == ((), [])
