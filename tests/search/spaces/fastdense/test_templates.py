"""Decoders of templates: what can be chosen, what layers make of their maps, what really runs."""

from math import log, prod

import numpy as np
import pytest

from search.architecture import load_architecture
from search.errors import InvalidArchitecture
from search.networks.graph_module import GraphModule
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.encoders import get_encoder
from search.spaces.fastdense.space import SEARCHED, Form
from search.spaces.fastdense.spaces import templates_over
from search.spaces.fastdense.templates import TemplatesSpace
from search.spaces.space import one_hot, uniform

from ..contract import SearchSpaceContract

TINY = TemplatesSpace(
    name="tiny",
    summary="two templates, three layers, few channels",
    encoder=get_encoder("mobilenetv2").first(2),
    form=Form(8, 1),
    templates=2,
    layers=3,
    strided=1,
    most_repeats=2,
)


class TestTiny(SearchSpaceContract):
    @pytest.fixture
    def space(self) -> TemplatesSpace:
        return TINY


FULL = templates_over()
ARCH0 = ["3 0 1", "4 1 1", "3 1 1", "0 1 0 0 1", *["0 1 1 0 0"] * 6]


def parts_of(short: list[str], space: TemplatesSpace = FULL) -> list[str]:
    """Of the layers, in the order in which they run."""
    names = space.assemble(space.from_short_form(short), 19, bare=True)[0].parts
    return [name.removeprefix("decoder.layers.") for name in names if name.startswith("decoder.layers.")]


def test_as_many_networks_as_the_paper_counts() -> None:
    counts = [len(decision.options) for decision in FULL.decisions]
    assert len(counts) == 44
    assert prod(counts[:9]) == 373_248
    assert prod(counts[9:]) == 466_014_850_095_513_600
    assert sum(map(log, counts)) == pytest.approx(53.512993, abs=1e-6)


def test_a_layer_with_a_stride_widens_and_goes_to_the_smaller_map() -> None:
    """Released network 0, its first layer: a separable convolution twice, each time with the stride."""
    assert parts_of(ARCH0)[:6] == [
        "0.0.left.max_pool3x3 stride 2 24>48 at 1/4",
        "0.0.right.sep3x3 stride 2 32>64 at 1/8",
        "0.0.left.fit.48>64 at 1/8",
        "0.0.left.resize.64 from 1/8 to 1/32",
        "0.0.join.concat 64 at 1/32",
        "1.0.left.sep5x5d6 24>24 at 1/4",
    ]
    searched = parts_of(ARCH0, FULL.in_form(SEARCHED))
    assert searched[2:5] == [
        "0.0.left.fit.48>64 at 1/8",
        "0.0.left.resize.64 from 1/8 to 1/16",
        "0.0.join.concat 64 at 1/16",
    ]


def test_layers_behind_the_strided_ones_go_to_the_larger_map() -> None:
    parts = parts_of([*ARCH0[:4], "0 1 1 0 0", "0 1 1 0 0", "0 2 0 0 0", *ARCH0[7:]])
    assert [name for name in parts if name.startswith("3.")] == [
        "3.0.left.max_pool3x3 24>24 at 1/4",
        "3.0.right.sep3x3 64>64 at 1/32",
        "3.0.left.fit.24>64 at 1/4",
        "3.0.right.resize.64 from 1/32 to 1/4",
        "3.0.join.concat 64 at 1/4",
    ]


def test_a_repeat_takes_the_second_input_and_what_was_made() -> None:
    """Channels are widened once; pools and skips take no stride."""
    short = ["2 5 0", *ARCH0[1:3], "0 1 0 2 1", *ARCH0[4:]]
    assert parts_of(short)[:9] == [
        "0.0.left.global_pool 24>48 at 1/4",
        "0.0.right.skip 32>64 at 1/8",
        "0.0.left.fit.48>64 at 1/4",
        "0.0.left.resize.64 from 1/4 to 1/8",
        "0.0.join.weighted sum 64 at 1/8",
        "0.1.left.global_pool 32>32 at 1/8",
        "0.1.left.fit.32>64 at 1/8",
        "0.1.join.weighted sum 64 at 1/8",
        "0.2.left.global_pool 64>64 at 1/8",
    ]


def test_a_map_that_is_taken_twice_without_an_operation() -> None:
    parts = parts_of(["5 5 1", *ARCH0[1:3], "0 0 0 0 0", *ARCH0[4:]])
    assert parts[0] == "0.0.join.concat of one map 24 at 1/4"


def test_learned_vectors_begin_as_ones() -> None:
    genotype = FULL.from_short_form(["5 5 0", *ARCH0[1:3], "0 0 0 0 0", *ARCH0[4:]])
    module = GraphModule(FULL.network(genotype, segmentation_head(3)))
    scales = {n: v for n, v in module.state_dict().items() if n.startswith("decoder.layers.0.0.join")}
    assert [tuple(values.shape) for values in scales.values()] == [(24, 1, 1, 1)] * 2
    assert all(bool((values == 1).all()) for values in scales.values())


def test_what_runs_in_many_networks_is_what_they_are_made_of() -> None:
    """At full size, with many skips, so that maps are taken twice."""
    random = np.random.default_rng(0)
    parts = {part.name: part for part in FULL.parts(Resolution(64, 64), segmentation_head(5))}
    assert parts.keys() >= set(FULL.marginals(one_hot(FULL, [FULL.sample(random)])))
    for _ in range(12):
        genotype = FULL.sample(random)
        sides = [name for name in genotype if name.startswith("template") and "agg" not in name]
        genotype |= {name: "skip" for name in sides if random.random() < 0.6}
        made = FULL.assemble(genotype, 5)[0].parts
        assert made == FULL.assemble(genotype, 5, bare=True)[0].parts
        assert len(set(made)) == len(made)
        network = FULL.network(genotype, segmentation_head(5))
        running = [parts[name] for name in made]
        assert sum(part.graph.num_parameters for part in running) == network.num_parameters
        macs = sum(part.graph.macs(part.inputs) for part in running)
        assert macs == network.macs({"x": (1, 3, 64, 64)})


def test_marginals_are_shares_of_networks_that_are_drawn() -> None:
    chances = TINY.marginals(uniform(TINY))
    assert float(chances["encoder.1.1/8"]) == pytest.approx(1 - 1 / 16, abs=0.03)
    first = sum(times for name, times in chances.items() if name.startswith("decoder.layers.0.1.join."))
    assert float(first) == pytest.approx(0.5, abs=0.05)  # used twice
    again = TINY.marginals(uniform(TINY))
    assert all(np.array_equal(chances[name], again[name]) for name in chances)


@pytest.mark.parametrize(
    ("place", "text", "said"),
    [
        (3, "2 1 0 0 1", r"layers\.0\.left is 2; allowed: 0 to 1 \(1/4, 1/8\)"),  # the layer itself
        (6, "0 1 0 0 1", r"layers\.3\.stride is 1; allowed: 0 to 0 \(1\)"),
        (0, "6 0 1", r"template\.0\.left is 6; allowed: 0 to 5 "),
        (3, "0 1 0 4 1", r"layers\.0\.repeats is 4; allowed: 0 to 3 \(1, 2, 3, 4\)"),
        (0, "3 0", "blocks are rows of 3, 3, 3, 5, 5, 5, 5, 5, 5, 5 numbers"),
    ],
)
def test_numbers_that_there_are_not(place: int, text: str, said: str) -> None:
    short = list(ARCH0)
    short[place] = text
    with pytest.raises(InvalidArchitecture, match=rf"^space fastdense-templates: {said}"):
        FULL.from_short_form(short)


def test_the_released_networks() -> None:
    shipped = [load_architecture(f"fastdense-templates-arch{index}") for index in range(2)]
    assert [architecture.results[0].miou_percent for architecture in shipped] == [67.7, 67.8]
    assert [architecture.results[1].latency_ms for architecture in shipped] == [8.97, 11.51]
    for architecture in shipped:
        graph = architecture.network()
        shapes = graph.shapes({"x": (1, 3, 65, 97)})
        assert [shapes[name] for name in graph.outputs] == [(1, 19, 65, 97)]
        names = {node.name for node in graph.nodes}
        assert "encoder.blocks.5.project.bn" in names  # two taps
        assert not [name for name in names if name.startswith("encoder.blocks.6")]
