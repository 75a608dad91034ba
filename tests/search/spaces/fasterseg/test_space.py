"""The grid and its networks: what can be chosen, what is shared, how wide and how large everything is."""

from collections import Counter
from math import prod

import numpy as np
import pytest

from cost_models.ir.memory import steps
from cost_models.ir.ops import Conv2d
from search.errors import InvalidArchitecture, UnknownCandidate
from search.resolution import Resolution
from search.spaces.camera import camera_network, segmentation_head
from search.spaces.fasterseg.branches import Cell
from search.spaces.fasterseg.grid import Grid
from search.spaces.fasterseg.operations import cell_graph
from search.spaces.fasterseg.space import FUSION, FastersegSpace
from search.spaces.fasterseg.spaces import FASTERSEG
from search.spaces.space import one_hot, uniform

from ..contract import SearchSpaceContract

TEACHER, STUDENT = FASTERSEG
HEAD = segmentation_head(19)
SIZE = Resolution(64, 64)
SCALED_DOWN = FastersegSpace(
    name="scaled-down",
    summary="a grid of other numbers",
    grid=Grid(ratio=6, layers=9, base=6, widths=(4, 6, 12), operations=("skip", "conv", "conv_2x_downup")),
)


class TestScaledDown(SearchSpaceContract):
    @pytest.fixture
    def space(self) -> FastersegSpace:
        return SCALED_DOWN


def branch(text: str, scale: int = 0, ratio: int = 8) -> tuple[Cell, ...]:
    """``0 conv 4, 1 conv_2x 6 down``: layer, operation, width behind."""
    cells: list[Cell] = []
    width = ratio
    for entry in text.split(", "):
        layer, operation, after, *down = entry.split()
        cells.append(Cell(int(layer), operation, scale, bool(down), width, int(after)))
        scale, width = scale + bool(down), int(after)
    return tuple(cells)


DEEP = branch("0 conv 4, 1 conv_2x 6, 4 conv 6 down, 6 conv_downup 10, 9 conv_2x_downup 4 down, 15 conv 8")
FINE = branch("0 conv 4, 1 conv_2x 6, 4 conv 6 down, 7 conv_2x 8")


def test_decisions_are_of_pair_paths_operations_and_widths() -> None:
    kinds = Counter(decision.kind for decision in STUDENT.decisions)
    assert kinds == {"wiring": 1, "path": 2, "operation": 32, "width": 30}
    assert Counter(decision.kind for decision in TEACHER.decisions) == {
        "wiring": 1,
        "path": 2,
        "operation": 32,
    }
    options = {decision.name: decision.options for decision in STUDENT.decisions}
    assert options["branches"] == ("1/32 + 1/16", "1/32 + 1/8")
    assert (len(options["path.fine"]), len(options["path.deep"])) == (12, 45)
    assert (options["path.fine"][0], options["path.fine"][-1]) == ("layer 2", "layer 13")
    assert (options["path.deep"][0], options["path.deep"][-1]) == ("layers 2, 5", "layers 10, 13")
    assert options["cells.deep.0"] == ("skip", "conv", "conv_downup", "conv_2x", "conv_2x_downup")
    assert options["width.fine.14"] == ("4/12", "6/12", "8/12", "10/12", "12/12")
    assert "skip" not in TEACHER.decisions[3].options


def test_channels_are_those_of_the_paper() -> None:
    widths = [[STUDENT.grid.channels(scale, width) for width in STUDENT.grid.widths] for scale in range(3)]
    assert widths == [[32, 48, 64, 80, 96], [64, 96, 128, 160, 192], [128, 192, 256, 320, 384]]


def test_the_supernets_cells_have_as_many_weights_as_the_authors() -> None:
    grid = TEACHER.grid
    operations = STUDENT.grid.operations
    mixed = grid.mixed_operations
    assert (sum(not down for *_, down in mixed), sum(down for *_, down in mixed)) == (45, 29)
    weights = 0
    for _, scale, down in mixed:
        ends = grid.channels(scale, 12), grid.channels(scale + down, 12)
        for operation in operations:
            graph = cell_graph(operation, *ends, down=down)
            convs = {f"{node.name}.weight" for node in graph.nodes if isinstance(node.op, Conv2d)}
            weights += sum(prod(shape) for name, shape in graph.parameters().items() if name in convs)
    assert weights == 247_597_056


def test_a_genotype_and_its_branches_say_the_same() -> None:
    genotype = STUDENT.genotype(DEEP, FINE)
    assert genotype["branches"] == "1/32 + 1/16"
    assert (genotype["path.deep"], genotype["path.fine"]) == ("layers 4, 9", "layer 4")
    assert (genotype["cells.deep.6"], genotype["width.deep.6"]) == ("conv_downup", "10/12")
    assert genotype["cells.deep.2"] == "skip"
    assert STUDENT.branches(genotype) == (DEEP, FINE, 3)
    for seed in range(20):
        drawn = STUDENT.sample(np.random.default_rng(seed))
        deep, fine, shared = STUDENT.branches(drawn)
        assert STUDENT.branches(STUDENT.genotype(deep, fine)) == (deep, fine, shared)


@pytest.mark.parametrize(
    ("fine", "shared"),
    [
        ("0 conv 4, 1 conv_2x 6, 4 conv 6 down, 6 conv_downup 10, 8 conv 8", 4),
        ("0 conv 4, 1 conv_2x 6, 4 conv 8 down", 2),  # it ends where it goes down
        ("0 conv 4, 1 conv_2x 10, 4 conv 6 down, 7 conv_2x 8", 1),  # another width behind
        ("0 conv 4, 2 conv_2x 6, 4 conv 6 down, 7 conv_2x 8", 1),  # another layer
        ("0 conv_2x 4, 1 conv_2x 6, 4 conv 6 down, 7 conv_2x 8", 0),
        ("0 conv 4, 1 conv_2x 6, 4 conv 6, 6 conv_downup 10, 7 conv 8", 2),  # to the first scale
    ],
)
def test_branches_are_one_until_they_differ_or_end(fine: str, shared: int) -> None:
    genotype = STUDENT.genotype(DEEP, branch(fine))
    assert STUDENT.branches(genotype) == (DEEP, branch(fine), shared)
    graph = STUDENT.network(genotype, HEAD)
    cells = {
        node.name.rsplit(".", 1)[0] for node in graph.nodes if node.name.split(".")[0] in ("deep", "fine")
    }
    alone = {name.rsplit(".", 1)[0] if name.endswith(("first", "second")) else name for name in cells}
    assert sum(name.startswith("fine") for name in alone) == len(branch(fine)) - shared


@pytest.mark.parametrize(("last", "shared"), [(0, 0), (1, 1), (4, 2), (7, 3)])
def test_the_cell_at_which_a_branch_ends_is_its_own(last: int, shared: int) -> None:
    """Also where the width that it does not have is chosen as the other's."""
    deep = STUDENT.genotype(DEEP, FINE)
    genotype = deep | {f"cells.fine.{i}": deep[f"cells.deep.{i}"] if i <= last else "skip" for i in range(16)}
    genotype |= {f"width.fine.{i}": deep[f"width.deep.{i}"] for i in range(15)}
    if last < 4:
        genotype |= {"branches": "1/32 + 1/8"}
    elif last == 7:
        genotype |= {"cells.fine.7": "conv_2x", "cells.fine.6": "skip"}
    _, fine, count = STUDENT.branches(genotype)
    assert (fine[-1].layer, fine[-1].width_out, count) == (last, 8, shared)
    runs = {name for name, times in STUDENT.marginals(one_hot(STUDENT, [genotype])).items() if times[0]}
    assert sum(name.startswith("fine.") for name in runs) == len(fine) - count


def test_a_skip_that_goes_down_is_two_strided_convolutions() -> None:
    deep = branch("0 conv 4, 4 skip 6 down, 6 conv 10, 9 conv 4 down, 15 conv 8")
    genotype = STUDENT.genotype(deep, FINE)
    assert STUDENT.branches(genotype)[0] == deep
    nodes = {node.name: node.op for node in STUDENT.network(genotype, HEAD).nodes}
    assert nodes["deep.4.even.conv"] == nodes["deep.4.odd.conv"] == Conv2d(32, 48, stride=2)
    assert [
        part.name for part in STUDENT.parts(SIZE, HEAD) if "skip" in part.name and ">1/" not in part.name
    ] == []


def test_branches_may_have_no_cell_before_they_go_down() -> None:
    deep = branch("4 conv 6 down, 9 conv 4 down, 15 conv 8")
    genotype = STUDENT.genotype(deep, branch("4 conv_2x 6 down, 15 conv 8"))
    graph = STUDENT.network(genotype, HEAD)
    reads = {node.name: node.inputs for node in graph.nodes}
    assert reads["decoder.deep.first.concat"][1] == reads["decoder.fine.first.concat"][1] == "stem.2.act"
    nothing = {name: "skip" if name.startswith("cells.fine") else o for name, o in genotype.items()}
    nothing |= {"branches": "1/32 + 1/8"}
    assert STUDENT.branches(nothing)[1] == ()
    reads = {node.name: node.inputs for node in STUDENT.network(nothing, HEAD).nodes}
    assert reads[f"{FUSION}.concat"] == ("decoder.deep.first.refine.act", "stem.2.act")


def test_sides_are_filled_up_to_multiples_of_32_and_cut_again() -> None:
    graph = STUDENT.network(STUDENT.genotype(DEEP, FINE), HEAD)
    shapes = graph.shapes({"x": (1, 3, 720, 960)})
    assert shapes["pad"] == (1, 3, 736, 960)
    assert shapes["deep.15.act"] == (1, 256, 23, 30)
    assert shapes["deep.6.shrink"][2:] == (23, 30)
    assert shapes[graph.outputs[0]] == (1, 19, 720, 960)
    zoomed = cell_graph("conv_downup", 256, 256, down=False).shapes({"x": (1, 256, 23, 30)})
    assert zoomed["shrink"] == (1, 256, 11, 15)
    exact = graph.pinned({"x": (1, 3, 64, 96)})
    assert not [node.name for node in exact.nodes if type(node.op).__name__ in ("Pad", "Crop")]


def test_heads_of_training_are_not_in_the_network() -> None:
    genotype = STUDENT.genotype(DEEP, FINE)
    network, training = (make(genotype, HEAD) for make in (STUDENT.network, STUDENT.training_network))
    assert training.outputs[0] == network.outputs[0]
    assert [training.shapes({"x": (2, 3, 65, 97)})[name] for name in training.outputs] == [
        (2, 19, 65, 97)
    ] * 3
    more = training.parameters().keys() - network.parameters().keys()
    assert network.parameters().keys() < training.parameters().keys()
    assert {name.split(".")[0] for name in more} == {"auxiliary"}


@pytest.mark.parametrize("space", [STUDENT, TEACHER, SCALED_DOWN], ids=lambda space: space.name)
def test_many_networks_run_their_slots_as_often_as_marginals_say(space: FastersegSpace) -> None:
    """Sums over parts are sharper than the contract's look at each of thousands."""
    random, count = np.random.default_rng(5), 1500
    drawn = [space.sample(random) for _ in range(count)]
    expected, found = space.marginals(uniform(space)), space.marginals(one_hot(space, drawn))
    sums: dict[str, np.ndarray] = {}
    chances: dict[str, float] = {}
    for name, chance in expected.items():
        slot, _, kind = name.split(" ")[0].rpartition(".")
        for key in (slot, f"{slot.split('.')[0]} {kind}", name.split(" at ")[-1] if " at " in name else name):
            sums[key] = sums.get(key, 0.0) + found[name]
            chances[key] = chances.get(key, 0.0) + float(chance)
    for key, runs in sums.items():
        assert abs(runs.mean() - chances[key]) <= 5 * runs.std() / count**0.5 + 2 / count, key


def test_shared_cells_are_counted_once_and_for_the_deep_branch() -> None:
    genotype = STUDENT.genotype(DEEP, FINE)
    runs = {name for name, times in STUDENT.marginals(one_hot(STUDENT, [genotype])).items() if times[0]}
    assert {name for name in runs if name.startswith("fine")} == {"fine.7.conv_2x 96>128 at 1/16"}
    assert "deep.4.conv 48>96 at 1/8>1/16" in runs
    assert {"decoder.deep.second.10", "decoder.deep.first.6", "decoder.fine.first.6"} <= runs


def test_no_cell_takes_more_memory_than_is_said() -> None:
    peaks = STUDENT.peak_bytes(SIZE, HEAD)
    for seed in range(4):
        genotype = STUDENT.sample(np.random.default_rng(seed))
        runs = [name for name, times in STUDENT.marginals(one_hot(STUDENT, [genotype])).items() if times[0]]
        slots = {name.split(" ")[0].rpartition(".")[0]: peaks[name] for name in runs}
        network, fusion = camera_network(STUDENT.network(genotype, HEAD), HEAD), 0
        for step in steps(network, {"frame": (1, *SIZE, 3)}):
            node = step.call.nodes[0]
            slot = next((s for s in slots if node.startswith(f"{s}.")), None)
            assert slot is None or step.alive <= slots[slot]
            fusion = max(fusion, step.alive) if node.startswith(FUSION) else fusion
        assert fusion == peaks[FUSION]


def test_what_the_grid_does_not_have_is_refused() -> None:
    genotype = STUDENT.genotype(DEEP, FINE)
    for name, option in (
        ("width.deep.3", "5/12"),
        ("path.deep", "layers 4, 5"),
        ("path.fine", "layer 15"),
        ("branches", "1/16 + 1/8"),
        ("cells.fine.2", "conv_3x"),
    ):
        with pytest.raises(
            UnknownCandidate, match=rf"^space fasterseg-student: {name}: unknown option "
        ) as caught:
            STUDENT.check({**genotype, name: option})
        assert "; allowed: " in str(caught.value)
    with pytest.raises(UnknownCandidate, match=r"cells\.deep\.0: unknown option 'skip'"):
        TEACHER.check(
            {d.name: "skip" if d.name == "cells.deep.0" else d.options[0] for d in TEACHER.decisions}
        )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ratio": 5}, "ratio is 5, allowed: 4, 6, 8, 10, 12"),
        ({"layers": 7}, "layers is 7, allowed: 8 or more"),
        ({"scales": (8, 16, 64)}, "scales are "),
        ({"scales": (2, 4, 8)}, r"scales are \(2, 4, 8\), allowed: powers of 2 from 4"),
        ({"operations": ("conv", "conv_3x")}, "operations has conv_3x, allowed: skip, conv"),
        ({"base": 1}, "base is 1: half of a width is no whole number of channels"),
    ],
)
def test_a_grid_that_cannot_be(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArchitecture, match=f"^grid: {said}"):
        Grid(**{"ratio": 8, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(6))
def test_idle_decisions_change_nothing_and_others_may(seed: int) -> None:
    random = np.random.default_rng(seed)
    genotype = SCALED_DOWN.sample(random)
    idle = SCALED_DOWN.idle(genotype)
    network = SCALED_DOWN.network(genotype, HEAD)
    for decision in SCALED_DOWN.decisions:
        others = [{**genotype, decision.name: option} for option in decision.options]
        alike = [SCALED_DOWN.network(other, HEAD) == network for other in others]
        if decision.name in idle:
            assert all(alike), decision.name
        elif decision.name.startswith(("width.deep", "path.deep", "branches")):  # of no other branch
            assert not all(alike), decision.name
    assert ("path.fine" in idle) != SCALED_DOWN.ends_at_second(genotype)
