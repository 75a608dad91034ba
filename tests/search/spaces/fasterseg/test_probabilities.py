"""How probable options of a grid's decisions are: by hand, and by the networks that are derived."""

import numpy as np
import pytest

from search.errors import InvalidArchitecture
from search.spaces.fasterseg.derive import branch, derive
from search.spaces.fasterseg.logits import Logits, softmax
from search.spaces.fasterseg.probabilities import option_probabilities
from search.spaces.fasterseg.space import FastersegSpace
from search.spaces.fasterseg.spaces import FASTERSEG

from .test_derive import changed
from .test_space import SCALED_DOWN

TEACHER, STUDENT = FASTERSEG
GRID = STUDENT.grid


def drawn(space: FastersegSpace, seed: int, size: float = 1.0) -> Logits:
    random = np.random.default_rng(seed)
    shapes = Logits.shapes(space.grid)
    return Logits(*(tuple(size * random.normal(size=s) for s in shapes[name]) for name in shapes))


@pytest.mark.parametrize("space", [TEACHER, STUDENT, SCALED_DOWN], ids=lambda space: space.name)
def test_each_decision_has_a_distribution_over_its_options(space: FastersegSpace) -> None:
    for logits in (Logits.uniform(space.grid), drawn(space, 0)):
        found = option_probabilities(space, logits)
        assert list(found) == [decision.name for decision in space.decisions]
        for decision in space.decisions:
            own = found[decision.name]
            assert own.shape == (len(decision.options),)
            assert (own > 0).all()
            assert own.sum() == pytest.approx(1)
    assert found["branches"].tolist() == [0.5, 0.5]


def test_logits_that_are_all_alike_prefer_no_operation_and_no_width() -> None:
    found = option_probabilities(STUDENT, Logits.uniform(GRID))
    for decision in STUDENT.decisions:
        assert found[decision.name] == pytest.approx(1 / len(decision.options))


def test_a_path_that_leaves_no_doubt_tells_at_which_scale_each_layer_stands() -> None:
    """Down at layers 3 and 9: cells and widths have the chances of the scale where the branch then is."""
    sure = {(1, layer - 1, 0): 60.0 if layer == 3 else -60.0 for layer in range(1, GRID.layers - 1)}
    sure |= {(2, layer - 2, 0): 60.0 if layer == 9 else -60.0 for layer in range(2, GRID.layers - 1)}
    logits, paths = drawn(STUDENT, 1), changed(beta=sure)
    logits = Logits(logits.alpha, paths.beta, logits.ratio)
    found = option_probabilities(STUDENT, logits)
    assert found["path.deep"][GRID.paths_to_third.index((3, 9))] == pytest.approx(1)
    assert found["path.fine"][GRID.paths_to_second.index(3)] == pytest.approx(1)
    for layer in range(GRID.layers):
        scale = (layer > 3) + (layer > 9)
        expected = softmax(logits.operations(layer, scale))
        assert found[f"cells.deep.{layer}"] == pytest.approx(expected)
        fine = [softmax(logits.operations(layer, own)) for own in {0, int(layer > 3)}]
        assert found[f"cells.fine.{layer}"] == pytest.approx(sum(fine) / len(fine))
        if layer < GRID.layers - 1:
            behind = (layer >= 3) + (layer >= 9)
            assert found[f"width.deep.{layer}"] == pytest.approx(softmax(logits.width(layer + 1, behind)))


@pytest.mark.parametrize("seed", range(4))
def test_the_likeliest_path_is_the_one_that_is_derived(seed: int) -> None:
    logits = drawn(STUDENT, seed, 2.0)
    found, genotype = option_probabilities(STUDENT, logits), derive(STUDENT, logits, 1)
    for name, scale in (("path.deep", 2), ("path.fine", 1)):
        (decision,) = (own for own in STUDENT.decisions if own.name == name)
        downs = [cell.layer for cell in branch(GRID, logits, scale) if cell.down]
        likeliest = decision.options[int(found[name].argmax())]
        assert likeliest.rpartition("layer")[2].lstrip("s ") == ", ".join(map(str, downs))
        assert genotype[name] in decision.options


def test_logits_of_another_grid_are_refused() -> None:
    with pytest.raises(InvalidArchitecture, match="logits of another grid"):
        option_probabilities(STUDENT, Logits.uniform(TEACHER.grid))
