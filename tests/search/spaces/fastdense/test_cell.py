"""What of a cell runs, by hand, by the numbers of the papers, and how often by going through all cells."""

from itertools import product
from math import log

import numpy as np
import pytest

from search.errors import InvalidArchitecture, UnknownCandidate
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.encoders import get_encoder
from search.spaces.fastdense.cell import Cell, Layer
from search.spaces.fastdense.space import FastdenseSpace, Form
from search.spaces.fastdense.spaces import cells_over
from search.spaces.space import one_hot, uniform

HEAD = segmentation_head(5)
FULL = cells_over()
BOTH = ("left1.sep3x3", "right1.sep5x5", "sum1.sum")
FEW = ("conv1x1", "skip", "none")  # of which cells are often zero, and often one map twice


def runs(first: str, *layers: tuple[int, int, str, str]) -> list[str]:
    """The parts of one block of that cell, at its left."""
    cell = Cell(first, tuple(Layer(row[:2], row[2:]) for row in layers))
    space = FastdenseSpace(
        name="one", summary="a block", encoder=get_encoder("mobilenetv2").first(1), form=Form(8, 1), blocks=1
    )
    space = space if len(layers) == 3 else _of_layers(len(layers))
    genotype = {"block.0.left": "1/4", "block.0.right": "1/4", "cell.first": cell.first}
    names = {d.name: d.options for d in space.decisions}
    for index, layer in enumerate(cell.layers, 1):
        for side, read, operation in zip(("left", "right"), layer.reads, layer.operations, strict=True):
            genotype[f"cell.{index}.{side}"] = operation
            genotype[f"cell.{index}.{side}.from"] = names[f"cell.{index}.{side}.from"][read]
    marginals = space.marginals(one_hot(space, [space.check(genotype)]))
    begin = "decoder.blocks.0.left."
    found = [n.removeprefix(begin) for n, times in marginals.items() if times[0] and n.startswith(begin)]
    return sorted(name.removesuffix(" at 1/4") for name in found if not name.startswith("reduce"))


def _of_layers(layers: int) -> FastdenseSpace:
    encoder = get_encoder("mobilenetv2").first(1)
    return FastdenseSpace(
        name="one", summary="a block", encoder=encoder, form=Form(8, 1), blocks=1, layers=layers
    )


@pytest.mark.parametrize(
    ("first", "layer", "expected"),
    [
        # The first operation is an end unless the layer takes it
        ("conv3x3", (0, 0, "sep3x3", "sep5x5"), ["ends1.sum", "first.conv3x3", *BOTH]),
        ("conv3x3", (1, 0, "sep3x3", "sep5x5"), ["first.conv3x3", *BOTH]),
        # What is zero adds nothing, and what only reads it is zero
        ("conv3x3", (0, 0, "sep3x3", "none"), ["ends1.sum", "first.conv3x3", "left1.sep3x3"]),
        ("none", (1, 0, "sep3x3", "conv1x1"), ["right1.conv1x1"]),
        # What only a zero takes is not computed
        ("conv3x3", (1, 0, "none", "conv1x1"), ["right1.conv1x1"]),
        # A skip computes nothing, but where one map could be read twice by one sum
        ("skip", (0, 0, "none", "none"), []),
        ("conv3x3", (1, 0, "skip", "conv1x1"), ["first.conv3x3", "right1.conv1x1", "sum1.sum"]),
        ("conv3x3", (0, 0, "skip", "skip"), ["ends1.sum", "first.conv3x3", "right1.skip", "sum1.sum"]),
        ("conv3x3", (1, 1, "skip", "none"), ["first.conv3x3", "sum1.skip"]),
    ],
)  # fmt: skip
def test_what_runs(first: str, layer: tuple[int, int, str, str], expected: list[str]) -> None:
    assert runs(first, layer) == expected


def test_a_cell_that_gives_nothing_is_refused_and_never_drawn() -> None:
    genotype = FULL.sample(np.random.default_rng(0))
    nothing = {n: "none" if n.startswith("cell") and "from" not in n else o for n, o in genotype.items()}
    with pytest.raises(
        InvalidArchitecture, match=r"^space fastdense: the cell gives nothing, .* choose another"
    ):
        FULL.check(nothing)
    space = FastdenseSpace(
        name="few", summary="often nothing", encoder=FULL.encoder, form=Form(8, 1), operations=FEW
    )
    random = np.random.default_rng(1)
    assert all(space.cell(space.sample(random)).ends for _ in range(100))


def test_what_runs_in_a_thousand_networks_is_what_they_are_made_of() -> None:
    """With two or three operations, so that zeros and skips meet in all ways."""
    space = FastdenseSpace(
        name="few", summary="often nothing", encoder=FULL.encoder.first(3), form=Form(8, 1), operations=FEW
    )
    random = np.random.default_rng(0)
    drawn = [space.sample(random) for _ in range(1000)]
    marginals = space.marginals(one_hot(space, drawn))
    parts = {part.name for part in space.parts(Resolution(64, 64), HEAD)}
    for index, genotype in enumerate(drawn):
        made = space.assemble(genotype, 5)[0].parts
        assert len(set(made)) == len(made)
        assert parts >= set(made)
        running = {name for name, times in marginals.items() if times[index] == 1}
        assert running == set(made) - {"encoder.0.1/4"}
        assert {float(times[index]) for times in marginals.values()} <= {0.0, 1.0}


def test_marginals_are_exact() -> None:
    """Summed over all networks, of probabilities that are unlike each other."""
    space = FastdenseSpace(
        name="all",
        summary="few networks",
        encoder=FULL.encoder.first(2),
        form=Form(8, 1),
        blocks=1,
        layers=1,
        operations=FEW,
    )
    random = np.random.default_rng(3)
    chances = {d.name: random.dirichlet(np.ones(len(d.options))) for d in space.decisions}
    sums = dict.fromkeys(space.marginals(chances), 0.0)
    nothing = 0.0
    for options in product(*(decision.options for decision in space.decisions)):
        genotype = dict(zip(chances, options, strict=True))
        places = {d.name: d.options.index(genotype[d.name]) for d in space.decisions}
        odds = float(np.prod([chances[name][place] for name, place in places.items()]))
        try:
            made = space.assemble(genotype, 5)[0].parts
        except InvalidArchitecture:
            nothing += odds
            continue
        for name in set(made) & sums.keys():
            sums[name] += odds
    assert nothing > 0.01
    for name, times in space.marginals(chances).items():
        inside = any(place in name for place in (".first", "left1", "right1", "sum1", "ends1"))
        assert sums[name] == pytest.approx(float(times), abs=1e-12 if inside else nothing), name


def test_as_many_networks_as_the_paper_counts() -> None:
    counts = [len(decision.options) for decision in FULL.decisions]
    assert [len(FULL.decisions), int(np.prod(counts[:6])), counts[6]] == [19, 14_400, 11]
    total = 1
    for count in counts:
        total *= count
    assert total == 1_795_937_679_360_000
    entropy = -sum(float((p * np.log(p)).sum()) for p in uniform(FULL).values())
    assert entropy == pytest.approx(log(total)) == pytest.approx(35.124304, abs=1e-6)


def test_numbers_are_those_of_the_paper() -> None:
    short = ["8", "0 0 5 2", "0 2 8 8", "0 5 1 4", "3 3", "3 2", "3 0"]
    genotype = FULL.from_short_form(short)
    assert FULL.short_form(genotype) == short
    assert genotype["cell.first"] == "sep5x5d6"
    assert (genotype["cell.2.right.from"], genotype["cell.2.right"]) == ("left 1", "sep5x5d6")
    assert (genotype["block.1.left"], genotype["block.1.right"]) == ("1/32", "1/16")


@pytest.mark.parametrize(
    ("place", "text", "said"),
    [
        (1, "0 2 5 2", r"cell\.1\.right\.from is 2; allowed: 0 to 1 \(input, first\)"),  # what comes later
        (4, "3 4", r"block\.0\.right is 4; allowed: 0 to 3 \(1/4, 1/8, 1/16, 1/32\)"),  # the block itself
        (0, "11", r"cell\.first is 11; allowed: 0 to 10 \(conv1x1, "),
        (1, "0 2 5", "blocks are rows of 1, 4, 4, 4, 2, 2, 2 numbers with blanks between; found 8, "),
        (1, "0 0 5 -2", "blocks are rows of "),
    ],
)
def test_numbers_that_there_are_not(place: int, text: str, said: str) -> None:
    short = ["8", "0 0 5 2", "0 2 8 8", "0 5 1 4", "3 3", "3 2", "3 0"]
    short[place] = text
    with pytest.raises(InvalidArchitecture, match=rf"^space fastdense: {said}"):
        FULL.from_short_form(short)


def test_choices_that_refer_forwards_or_to_taps_that_there_are_not() -> None:
    genotype = FULL.sample(np.random.default_rng(0))
    with pytest.raises(
        UnknownCandidate, match=r"cell\.1\.left\.from: unknown option 'sum 1'; allowed: input, first$"
    ):
        FULL.check({**genotype, "cell.1.left.from": "sum 1"})
    over = cells_over("squeezenas-lat-small")
    own = over.sample(np.random.default_rng(0))
    with pytest.raises(UnknownCandidate, match=r"unknown option '1/32'.*; allowed: 1/4, 1/8, 1/16$"):
        over.check({**own, "block.0.left": "1/32"})
