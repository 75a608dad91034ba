"""Networks from logits: by hand where the answer is known, and those that the authors released."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.architecture import load_architecture
from search.errors import InvalidArchitecture
from search.spaces.camera import segmentation_head
from search.spaces.fasterseg.branches import Branch, shared_cells
from search.spaces.fasterseg.derive import PathRule, aligned, branch, derive, score
from search.spaces.fasterseg.logits import Logits, softmax
from search.spaces.fasterseg.spaces import FASTERSEG

from .released import released_document, released_logits
from .test_space import DEEP
from .test_space import branch as cells

TEACHER, STUDENT = FASTERSEG
GRID = STUDENT.grid
HEAD, FULL = segmentation_head(19), {"x": (1, 3, 1024, 2048)}


def changed(**values: dict[tuple[int, int, int], float]) -> Logits:
    """Logits that are all alike but for some: ``alpha={(scale, row, column): value}``."""
    logits = Logits.uniform(GRID)
    for name, entries in values.items():
        for (scale, row, column), value in entries.items():
            getattr(logits, name)[scale - (name == "beta")][row, column] = value
    return logits


def layers(found: Branch) -> list[int]:
    return [cell.layer for cell in found]


def downs(found: Branch) -> list[int]:
    return [cell.layer for cell in found if cell.down]


def test_the_numbers_of_logits() -> None:
    assert Logits.uniform(GRID).count == 499
    assert Logits.uniform(TEACHER.grid).count == 323


@pytest.mark.parametrize(
    ("scale", "expected", "down"),
    [  # ties are the first: path, skip everywhere, and the earliest cells go
        (0, [11, 12, 13, 14, 15], []),
        (1, [2, 3, 10, 11, 12, 13, 14, 15], [2]),
        (2, [2, 3, 5, 6, 9, 10, 11, 12, 13, 14, 15], [2, 5]),
    ],
)
def test_of_equal_options_the_first_is_taken(scale: int, expected: list[int], down: list[int]) -> None:
    found = branch(GRID, Logits.uniform(GRID), scale)
    assert (layers(found), downs(found)) == (expected, down)
    assert {cell.operation for cell in found} == {"conv"}  # the best that is no skip
    assert [cell.width_out for cell in found] == [4] * (len(found) - 1) + [8]


@pytest.mark.parametrize(("rule", "layer"), [("intended", 7), ("released", 6)])
def test_the_row_of_beta_is_the_cell_behind_the_step_down(rule: PathRule, layer: int) -> None:
    found = branch(GRID, changed(beta={(1, 6, 0): 1.0}), 1, rule)
    assert downs(found) == [layer]


def test_rows_at_the_ends_are_no_paths() -> None:
    assert downs(branch(GRID, changed(beta={(1, 0, 0): 9.0, (1, 13, 0): 9.0, (1, 3, 0): 1.0}), 1)) == [4]


def test_both_steps_down_are_taken_together() -> None:
    logits = changed(beta={(1, 9, 0): 2.0, (2, 4, 0): 2.0, (2, 11, 0): 1.9})
    assert downs(branch(GRID, logits, 2)) == [10, 13]  # row 4 alone is better, but has no row 9 before it


def test_widths_and_operations_are_of_the_scale_where_the_branch_is() -> None:
    none_skipped = {(scale, row, 0): -9.0 for scale in range(3) for row in range(16 - scale)}
    logits = changed(
        beta={(1, 3, 0): 1.0},
        alpha=none_skipped | {(0, 4, 3): 1.0, (1, 4, 2): 1.0, (0, 5, 4): 1.0},
        ratio={(0, 3, 1): 1.0, (1, 4, 2): 1.0, (0, 4, 3): 1.0, (1, 5, 4): 1.0},
    )
    found = {cell.layer: cell for cell in branch(GRID, logits, 1)}
    assert downs(tuple(found.values())) == [4]
    assert [found[layer].operation for layer in (3, 4, 5)] == ["conv", "conv_2x", "conv_downup"]
    assert [found[layer].width_out for layer in (3, 4, 5, 15)] == [6, 8, 12, 8]
    assert found[5].width_in == 8
    deep = branch(GRID, changed(beta={(2, 7, 0): 5.0}, ratio={(2, 9, 2): 1.0}, alpha=none_skipped), 2)
    assert {cell.layer: cell.width_out for cell in deep if cell.scale_out == 2}[10] == 8


def test_the_most_skip_like_go_by_probability_while_enough_stay() -> None:
    skip = {(0, row, 0): 1.0 for row in range(16)}
    skip |= {(0, 3, 0): 2.0, (0, 3, 1): 1.9, (0, 3, 2): 1.9}  # a larger logit, a smaller probability
    assert layers(branch(GRID, changed(alpha=skip), 0)) == [3, 12, 13, 14, 15]
    conv = {(0, row, 1): 2.0 for row in range(0, 16, 2)}
    assert layers(branch(GRID, changed(alpha=skip | conv), 0)) == [*range(0, 16, 2)]


def test_between_steps_down_the_least_skip_like_stays_beside_the_others() -> None:
    skip = {(scale, row, 0): 1.0 for scale in range(3) for row in range(16 - scale)}
    skip |= {(1, 4, 0): 0.1, (2, 10, 0): 0.2}  # layers 5 and 12
    logits = changed(beta={(1, 2, 0): 9.0, (2, 6, 0): 9.0}, alpha=skip)
    found = branch(GRID, logits, 2)
    assert downs(found) == [3, 8]
    assert {5, 12} <= set(layers(found))
    assert len(found) == 9 + 2
    assert {cell.operation for cell in found} == {"conv"}


def test_a_space_without_skips_leaves_nothing_out() -> None:
    logits = Logits.uniform(TEACHER.grid)
    assert [len(branch(TEACHER.grid, logits, scale)) for scale in range(3)] == [16] * 3


def test_cells_are_compared_by_their_place_and_aligned_to_the_earlier_layer() -> None:
    fine = cells("1 conv 4, 2 conv_2x 6, 3 conv 6 down, 7 conv_2x 8")
    assert shared_cells(DEEP, fine) == 0
    deep, moved = aligned(DEEP, fine)
    assert layers(deep) == [0, 1, 3, 6, 9, 15]
    assert layers(moved) == [0, 1, 3, 7]
    assert shared_cells(deep, moved) == 3
    STUDENT.genotype(deep, moved)


def test_logits_of_another_grid_are_refused() -> None:
    logits = Logits.uniform(GRID)
    with pytest.raises(
        InvalidArchitecture, match=r"^logits of another grid: ratio has shapes .* the grid's are"
    ):
        derive(TEACHER, logits, 1)
    wrong = replace(logits, beta=(logits.beta[0] * np.nan, logits.beta[1]))
    with pytest.raises(InvalidArchitecture, match=r"beta has values that are no finite numbers$"):
        derive(STUDENT, wrong, 1)


def test_a_path_that_the_released_rule_alone_has_is_refused() -> None:
    with pytest.raises(
        InvalidArchitecture, match=r"goes down at layer 1; allowed: 2 to 13: use the intended"
    ):
        derive(STUDENT, changed(beta={(1, 1, 0): 1.0}), 1, "released")


# What the authors released ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_the_released_networks_are_decoded(shared_data: Path, name: str) -> None:
    space = {"student": STUDENT, "teacher": TEACHER}[name]
    shipped = load_architecture(f"fasterseg-{name}")
    assert space.branches(derive(space, released_logits(shared_data, name), 1, "released")) == space.branches(
        shipped.genotype
    )


@pytest.mark.parametrize(
    ("scale", "rule", "gmacs", "parameters"),
    [
        (1, "released", 27.770487, 3_421_875),
        (0, "released", 28.760343, 2_656_819),
        (1, "intended", 28.223472, 3_366_451),
    ],
)
def test_pairs_and_rules_give_networks_of_other_costs(
    shared_data: Path, scale: int, rule: PathRule, gmacs: float, parameters: int
) -> None:
    genotype = derive(STUDENT, released_logits(shared_data, "student"), 1 if scale else 0, rule)
    network = STUDENT.network(genotype, HEAD)
    assert network.macs(FULL) / 1e9 == pytest.approx(gmacs, abs=5e-7)
    assert network.num_parameters == parameters


def test_the_logits_are_nearly_flat(shared_data: Path) -> None:
    logits = released_logits(shared_data, "student")
    assert logits.count == 499
    assert released_logits(shared_data, "teacher").count == 323
    deep = branch(GRID, logits, 2, "released")
    tops = [softmax(logits.operations(cell.layer, cell.scale)).max() for cell in deep]
    assert 0.2 < min(tops) < max(tops) < 0.26


def test_the_better_pair_is_chosen_by_the_supernets_accuracy(shared_data: Path) -> None:
    stored = released_document(shared_data, "student")["stored"]
    to_first, to_second = (
        score(stored[f"mIoU_32_{scale}"], stored[f"latency_ms_32_{scale}"] / 1e3) for scale in (8, 16)
    )
    assert (round(to_first, 6), round(to_second, 6)) == (0.028097, 0.063471)
    assert score(0.5, 8.3e-3) == pytest.approx(0.5)
