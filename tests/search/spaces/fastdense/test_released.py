"""The released networks: parameters and work as counted independently of this code, in all their sizes."""

from math import prod

import pytest

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import Activation, Add
from search.architecture import load_architecture
from search.networks.auxiliary import TrainingNetwork
from search.networks.network import build_network
from search.spaces.camera import segmentation_head
from search.spaces.fastdense.assembly import Assembly
from search.spaces.fastdense.operations import conv_graph
from search.spaces.fastdense.space import FINAL, SEARCHED, FastdenseSpace, Form

NAMES = ("fastdense-arch0", "fastdense-arch1", "fastdense-arch2")
VOC, POSE, DEPTH = (21, (512, 512)), (16, (256, 256)), (1, (480, 640))


def space_of(name: str, form: Form = FINAL) -> FastdenseSpace:
    space = load_architecture(name).search_space
    assert isinstance(space, FastdenseSpace)
    return space.in_form(form)


def unused_adapters(space: FastdenseSpace, name: str) -> list[tuple[int, Graph]]:
    """Of taps that no block takes: the counts have them, what is deployed has not."""
    taken = space.wiring(load_architecture(name).genotype).taken
    return [
        (tap.stride, conv_graph(tap.channels, space.form.channels))
        for index, tap in enumerate(space.encoder.taps)
        if index not in taken
    ]


def count(name: str, outputs: int, form: Form = FINAL) -> int:
    space = space_of(name, form)
    network = space.network(load_architecture(name).genotype, segmentation_head(outputs))
    return network.num_parameters + sum(graph.num_parameters for _, graph in unused_adapters(space, name))


def gmacs(name: str, outputs: int, size: tuple[int, int]) -> float:
    space = space_of(name)
    network = space.network(load_architecture(name).genotype, segmentation_head(outputs))
    found = network.macs({"x": (1, 3, *size)})
    for stride, graph in unused_adapters(space, name):
        channels = graph.parameters()["fit.conv.weight"][1]
        found += graph.macs({"x": (1, channels, *(side // stride for side in size))})
    return found / 1e9


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (21, (2_629_909, 2_810_133, 2_853_141)),
        (16, (2_627_024, 2_807_248, 2_850_256)),
        (1, (2_618_369, 2_798_593, 2_841_601)),
    ],
)
def test_parameters(outputs: int, expected: tuple[int, ...]) -> None:
    assert tuple(count(name, outputs) for name in NAMES) == expected


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (VOC, (4.208189, 2.854453, 3.372737)),
        (DEPTH, (4.710284, 3.289766, 3.897125)),
        (POSE, (1.040269, 0.710664, 0.840254)),
    ],
)
def test_work(task: tuple[int, tuple[int, int]], expected: tuple[float, ...]) -> None:
    assert [gmacs(name, *task) for name in NAMES] == pytest.approx(expected, abs=6e-7)


@pytest.mark.parametrize(
    ("form", "without", "auxiliary"),
    [
        (FINAL, (2_629_909, 2_810_133, 2_853_141), (404_607, 496_767, 518_271)),
        (SEARCHED, (2_212_517, 2_316_197, 2_407_205), (200_367, 253_359, 298_863)),
    ],
)
def test_auxiliary_cells_and_the_form_of_the_search(
    form: Form, without: tuple[int, ...], auxiliary: tuple[int, ...]
) -> None:
    assert tuple(count(name, 21, form) for name in NAMES) == without
    found = []
    for name in NAMES:
        space, genotype = space_of(name, form), load_architecture(name).genotype
        head = segmentation_head(21)
        network, training = space.network(genotype, head), space.training_network(genotype, head)
        assert training.outputs[0] == network.outputs[0]
        shapes = training.shapes({"x": (2, 3, 65, 97)})
        assert [shapes[output] for output in training.outputs] == [(2, 21, 65, 97)] * 4
        more = training.parameters().keys() - network.parameters().keys()
        assert {tensor.split(".")[0] for tensor in more} == {"auxiliary"}
        classifiers = sum(prod(training.parameters()[tensor]) for tensor in more if ".classify." in tensor)
        assert classifiers == 3 * 21 * (9 * form.channels + 1)
        assert form is not FINAL or classifiers == 36_351
        found.append(training.num_parameters - network.num_parameters)
    assert tuple(found) == auxiliary


def test_loose_ends_and_concatenated_blocks() -> None:
    ends, blocks, scales = [], [], []
    for name in NAMES:
        space, genotype = space_of(name), load_architecture(name).genotype
        wiring = space.wiring(genotype)
        ends.append(space.cell(genotype).loose)
        blocks.append(len(wiring.loose))
        scales.append(str(space.encoder.taps[min(wiring.levels[place] for place in wiring.loose)]))
    assert ends == [(1, 4, 7, 10), (4, 7, 10), (1, 4, 7, 10)]
    assert blocks == [3, 2, 2]
    assert scales == ["1/4", "1/8", "1/8"]


def test_auxiliary_cells_are_not_deployed() -> None:
    architecture = load_architecture("fastdense-arch1")
    training, network = TrainingNetwork(architecture), build_network(architecture)
    assert training.deployed_state().keys() == network.state_dict().keys()


def test_the_published_numbers_have_their_origin() -> None:
    results = [load_architecture(name).results[0] for name in NAMES]
    assert [result.miou_percent for result in results] == [78.0, 77.1, 77.3]
    assert all("5de0c5c" in result.source and "VOC val" in result.conditions for result in results)


def expanded(name: str) -> list[str]:
    """What adds up to the result of a cell, as text: ``sep5x5(sep3x3(x))``, in any order."""
    space, genotype = space_of(name), load_architecture(name).genotype
    net = Assembly()
    result = space.cell(genotype).place(net, "cell", "1/4", "x", _named)
    makers = {node.name: node for node in net.net.nodes}

    def terms(value: str) -> list[str]:
        if value == "x":
            return ["x"]
        node = makers[value]
        if isinstance(node.op, Add):
            return sorted(term for read in node.inputs for term in terms(read))
        return [f"{value.rpartition('.')[2]}({' + '.join(terms(node.inputs[0]))})"]

    return terms(result)


def _named(operation: str) -> Graph:
    """One node that is called like the operation."""
    net = GraphBuilder()
    return net.build(net.add(operation, Activation(), "x"))


def test_cells_expand_to_what_the_specification_writes_out() -> None:
    assert [expanded(name) for name in NAMES] == [
        sorted(
            [
                "sep5x5d6(x)",
                *("conv3x3d3(x)", "sep3x3(x)"),
                *("sep5x5d6(x)", "sep5x5d6(conv3x3d3(x))"),
                *("conv3x3(x)", "global_pool(sep5x5d6(x))"),
            ]
        ),
        sorted(
            [
                *("sep5x5(sep3x3(x))", "conv3x3d12(x)"),
                *("sep3x3(x)", "sep5x5d6(sep3x3(x))"),
                *("conv3x3d12(sep5x5(sep3x3(x)))", "conv3x3(x)"),
            ]
        ),
        sorted(
            [
                "conv3x3d3(x)",
                *("global_pool(x)", "conv3x3(x)"),
                *("conv1x1(conv3x3(x))", "conv3x3(global_pool(x))"),
                *("conv3x3d3(conv1x1(conv3x3(x)))", "conv1x1(conv3x3(global_pool(x)))"),
            ]
        ),
    ]
