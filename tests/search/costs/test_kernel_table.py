"""Costs of spaces and networks, composed from a table of kernels."""

from collections.abc import Sequence

import pytest

from cost_models.cost_model import CostModel
from cost_models.database.rows import Row, SampleStatistics
from cost_models.database.table import LatencyTable
from cost_models.errors import MissingEntry
from cost_models.estimate import Estimate, NetworkEstimate, Source
from cost_models.ir.fusion import Kernel, split_into_kernels
from search.architecture import Architecture, list_architectures, load_architecture
from search.costs.kernel_table import (
    CostTable,
    cost_table,
    network_graph,
    network_kernels,
    sample_blocks,
    space_kernels,
)
from search.data.classes import unnamed
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.chain import ChainSpace
from search.spaces.registry import get_space
from search.spaces.space import Part

from ..spaces.chains import CHAINS

SIZE = Resolution(64, 128)
SMALL = get_space("small")


def seconds(kernel: Kernel) -> float:
    """Made up, and different for kernels of different work."""
    return 1e-6 + kernel.macs * 1e-10 + kernel.bytes_moved * 1e-9


def table_of(
    space: ChainSpace, size: Resolution = SIZE, without: str = "nothing", classes: int = 19
) -> LatencyTable:
    """Three samples a kernel around ``seconds``; none for kernels whose label holds ``without``."""
    rows = {
        kernel.key: Row("tuned" if kernel.kind == "depthwise" else "default", 4, (0.9 * s, s, 1.2 * s))
        for kernel in space_kernels(space, size, segmentation_head(classes))
        if without not in kernel.label
        for s in (seconds(kernel),)
    }
    return LatencyTable("local-cpu", {}, rows)


def estimate(architecture: Architecture, table: LatencyTable, size: Resolution) -> NetworkEstimate:
    return CostModel("local-cpu", table).network(network_graph(architecture, size))


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return table_of(SMALL)


@pytest.fixture(scope="module")
def costs(table: LatencyTable) -> CostTable:
    return cost_table(table, SMALL, SIZE, segmentation_head(19))


def test_table_has_every_position_and_every_candidate(costs: CostTable) -> None:
    assert [list(row) for row in costs.blocks] == [list(position.candidates) for position in SMALL.positions]
    assert list(costs.fixed) == ["frame", "stem", "head", "decoder"]
    entries = [entry for row in (*costs.blocks, costs.fixed) for entry in row.values()]
    assert all(entry is not None and entry.p10_s <= entry.median_s <= entry.p90_s for entry in entries)


def test_entry_is_the_sum_of_the_kernels_of_the_block(costs: CostTable) -> None:
    for index, candidate, part in SMALL.blocks(SIZE):
        kernels = split_into_kernels(part.graph, part.inputs)
        entry = costs.blocks[index][candidate]
        assert entry is not None
        assert entry.median_s == pytest.approx(sum(map(seconds, kernels)))
        assert entry.kernels == len(kernels)
        assert entry.tuned == sum(kernel.kind == "depthwise" for kernel in kernels)


def test_skip_costs_nothing_where_it_is_the_identity_and_something_elsewhere(costs: CostTable) -> None:
    for position, row in zip(SMALL.positions, costs.blocks, strict=True):
        skip = row["skip"]
        assert skip is not None
        if position.stride == 1 and position.in_channels == position.out_channels:
            assert skip == SampleStatistics()
        else:
            assert skip.median_s > 0
            assert skip.samples == 3


def test_larger_expansion_costs_more(costs: CostTable) -> None:
    for row in costs.blocks:
        one, three, six = (row[name] for name in ("k3e1", "k3e3", "k3e6"))
        assert one is not None
        assert three is not None
        assert six is not None
        assert one.median_s < three.median_s < six.median_s


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in list_architectures()
        if load_architecture(n).head.outputs == 19 and load_architecture(n).space in CHAINS
    ],
)
def test_a_networks_kernels_are_those_of_its_entries(name: str) -> None:
    architecture = load_architecture(name)
    space = architecture.search_space
    measured = table_of(space)
    latency = estimate(architecture, measured, SIZE)
    costs = cost_table(measured, space, SIZE, segmentation_head(19))
    chosen = [row[block] for row, block in zip(costs.blocks, architecture.blocks, strict=True)]
    entries = [entry for entry in (*chosen, *costs.fixed.values()) if entry is not None]
    assert len(entries) == len(space.positions) + len(costs.fixed)
    for field in ("median_s", "kernels"):
        expected = sum(getattr(entry, field) for entry in entries)
        assert getattr(latency, field) == pytest.approx(expected), field
    # Cut as a whole, fusion reaches from one part into the next in one case only: the ReLU that begins a
    # first block which is a projecting skip joins the stem.
    first = space.positions[0]
    joined = architecture.blocks[0] == "skip" and first.in_channels != first.out_channels
    whole = split_into_kernels(architecture.camera_network(), {"frame": (1, *SIZE, 3)})
    assert latency.kernels == len(whole) + joined
    assert latency.median_s == pytest.approx(sum(map(seconds, whole)), rel=0.02 if joined else 1e-9)


def test_kernels_of_a_network_are_those_of_its_parts_where_blocks_could_fuse_with_one_another() -> None:
    architecture = Architecture(space="squeezenas-small", blocks=["skip"] * len(SMALL.positions))
    parts = [part for _, name, part in SMALL.blocks(SIZE) if name == "skip"]
    parts += SMALL.fixed_parts(SIZE, segmentation_head(19))
    expected = [kernel.key for part in parts for kernel in split_into_kernels(part.graph, part.inputs)]
    kernels = [kernel.key for kernel in network_kernels(architecture, SIZE)]
    assert sorted(kernels) == sorted(expected)
    whole = split_into_kernels(architecture.camera_network(), {"frame": (1, *SIZE, 3)})
    assert len(kernels) > len(whole)


@pytest.mark.parametrize("name", CHAINS)
def test_kernels_of_a_space_are_named_once_and_know_their_users(name: str) -> None:
    users = space_kernels(CHAINS[name], SIZE, segmentation_head(19))
    assert len({kernel.key for kernel in users}) == len(users)
    parts: set[str] = set().union(*users.values())
    assert {"frame", "stem", "decoder"} <= parts
    identity_skips = {
        part.name
        for _, _, part in CHAINS[name].blocks(SIZE)
        if not split_into_kernels(part.graph, part.inputs)
    }
    assert {part.name for _, _, part in CHAINS[name].blocks(SIZE)} - identity_skips <= parts


def test_number_of_classes_changes_the_decoder_alone() -> None:
    nineteen, eleven = (set(space_kernels(SMALL, SIZE, segmentation_head(classes))) for classes in (19, 11))
    users = space_kernels(SMALL, SIZE, segmentation_head(11))
    assert {part for kernel in eleven - nineteen for part in users[kernel]} == {"decoder"}


def test_hole_is_none_and_never_a_guess() -> None:
    holey = table_of(SMALL, without="dw5x5")
    costs = cost_table(holey, SMALL, SIZE, segmentation_head(19))
    for row in costs.blocks:
        assert {name for name, entry in row.items() if entry is None} == {
            name for name in row if name.startswith("k5")
        }
    assert None not in costs.fixed.values()


class Doubling:
    """Predicts of every kernel twice what is made up, within a quarter."""

    def kernels(self, kernels: Sequence[Kernel]) -> list[Estimate | None]:
        return [Estimate.within(2 * seconds(kernel), 1.25, Source.PREDICTED) for kernel in kernels]

    def digest(self) -> str:
        return "twice"


def test_a_predictor_fills_holes_and_its_entries_say_so() -> None:
    holey = table_of(SMALL, without="dw5x5")
    costs = cost_table(holey, SMALL, SIZE, segmentation_head(19), Doubling())
    assert costs.predicted
    (part,) = (part for part in SMALL.parts(SIZE, segmentation_head(19)) if part.name == "blocks.2.k5e6")
    kernels = split_into_kernels(part.graph, part.inputs)
    (told,) = (kernel for kernel in kernels if "dw5x5" in kernel.label)
    entry = costs.slots["blocks.2"]["k5e6"]
    assert entry is not None
    assert (entry.kernels, entry.predicted, entry.samples) == (len(kernels), 1, 0)
    measured = [holey.statistics(kernel) for kernel in kernels if kernel != told]
    assert entry.median_s == pytest.approx(sum(own.median_s for own in measured) + 2 * seconds(told))
    assert entry.p10_s == pytest.approx(sum(own.p10_s for own in measured) + 1.6 * seconds(told))
    assert entry.p90_s == pytest.approx(sum(own.p90_s for own in measured) + 2.5 * seconds(told))
    assert (
        costs.slots["blocks.2"]["k3e6"]
        == cost_table(holey, SMALL, SIZE, segmentation_head(19)).slots["blocks.2"]["k3e6"]
    )


def test_sampled_blocks_are_made_of_measured_kernels() -> None:
    table = table_of(SMALL, without="dw5x5")
    known = [k for k in space_kernels(SMALL, SIZE, segmentation_head(19)) if k.key in table.rows]
    sample = sample_blocks(SMALL, SIZE, segmentation_head(19), 10, kernels=known)
    assert len(sample) == 10
    assert not [part.name for part in sample if ".k5" in part.name]


def test_estimate_names_the_first_hole() -> None:
    architecture = load_architecture("squeezenas-lat-small")  # has a k5e6
    with pytest.raises(
        MissingEntry, match=r"^dw5x5s2\+relu .* #[0-9a-f]{8}: not measured on local-cpu; measure"
    ):
        estimate(architecture, table_of(SMALL, without="dw5x5"), SIZE)


def test_table_of_another_size_or_class_count_does_not_answer(table: LatencyTable) -> None:
    architecture = load_architecture("squeezenas-lat-small")
    with pytest.raises(MissingEntry):
        estimate(architecture, table, Resolution(128, 128))
    fewer = architecture.for_classes(unnamed(11))
    with pytest.raises(MissingEntry, match="11x"):
        estimate(fewer, table, SIZE)
    assert estimate(fewer, table_of(SMALL, classes=11), SIZE).median_s > 0


def test_estimate_of_blocks_that_are_all_identity_where_they_can() -> None:
    blocks = ["skip"] * len(SMALL.positions)
    measured = table_of(SMALL)
    latency = estimate(Architecture(space="squeezenas-small", blocks=blocks), measured, SIZE)
    smallest = estimate(load_architecture("squeezenas-lat-small"), measured, SIZE)
    assert 0 < latency.median_s < smallest.median_s


def where(part: Part) -> tuple[int, str]:
    _, index, candidate = part.name.split(".")
    return int(index), candidate


@pytest.mark.parametrize("seed", range(5))
def test_sample_of_blocks_is_spread_over_positions_and_candidates(seed: int) -> None:
    sample = sample_blocks(SMALL, SIZE, segmentation_head(19), 10, seed)
    indices, candidates = zip(*map(where, sample), strict=True)
    assert [index // 2 for index in indices] == list(range(10))  # one of every two of the 20 positions
    assert len(set(candidates)) == 10
    assert len({part.inputs["x"] for part in sample}) >= 4


def test_sample_of_blocks_depends_on_the_seed_alone() -> None:
    def names(seed: int) -> list[str]:
        return [part.name for part in sample_blocks(SMALL, SIZE, segmentation_head(19), 6, seed)]

    assert names(3) == names(3)
    assert names(3) != names(4)


@pytest.mark.parametrize("name", CHAINS)
def test_largest_sample_holds_every_block_once_and_never_the_identity(name: str) -> None:
    space = CHAINS[name]
    sample = sample_blocks(space, SIZE, segmentation_head(19), 1000)
    different = {(part.graph, part.inputs["x"]) for _, _, part in space.blocks(SIZE)}
    assert len(sample) == len({(part.graph, part.inputs["x"]) for part in sample})
    assert {(part.graph, part.inputs["x"]) for part in sample} == {
        (graph, shape) for graph, shape in different if split_into_kernels(graph, {"x": shape})
    }
    assert sample_blocks(space, SIZE, segmentation_head(19), 0) == []
