"""Spaces by name: grids and chains of cells of any size."""

import pytest

from search.errors import UnknownSpace
from search.spaces.fasterseg.space import FastersegSpace
from search.spaces.fasterseg.spaces import FASTERSEG, teacher_of
from search.spaces.gas.space import GasSpace
from search.spaces.registry import SPACES, get_space, spaces_of_table

STUDENT = "fasterseg-student"


def grid_space(name: str) -> FastersegSpace:
    space = get_space(name)
    assert isinstance(space, FastersegSpace)
    return space


def test_a_grid_has_the_size_that_its_name_says() -> None:
    space = grid_space(f"{STUDENT}:base=3,layers=9,ratio=6")
    assert space.name == f"{STUDENT}:layers=9,base=3,ratio=6"
    assert (space.grid.layers, space.grid.base, space.grid.ratio) == (9, 3, 6)
    assert space.grid.widths == grid_space(STUDENT).grid.widths
    assert space.summary.startswith("FasterSeg's student: 9 layers by 3 scales")
    assert get_space(space.name) is space  # and what it knows is kept
    assert get_space(f"{STUDENT}:layers=16") is SPACES[STUDENT]


def test_a_students_teacher_is_over_the_same_cells() -> None:
    teacher, student = FASTERSEG
    assert teacher_of(student) is teacher
    found = teacher_of(grid_space(f"{STUDENT}:layers=9,base=3,ratio=6"))
    assert found.name == "fasterseg-teacher:layers=9,base=3"
    assert found.grid.ratio == 12
    assert get_space(found.name) == found


def test_a_chain_of_cells_has_the_size_that_its_name_says() -> None:
    space = get_space("gas:channels=12,cells=8")
    assert isinstance(space, GasSpace)
    assert space.name == "gas:cells=8,channels=12"
    assert (space.chain.cells, space.chain.channels) == (8, 12)
    assert space.chain.reductions == (2, 5)  # 4 and 9 of 14
    assert len(space.decisions) == 8 * 5
    assert space.summary == "after GAS: 8 independent cells of 5 edges, 8 operations, 12 first channels"
    assert get_space(space.name) is space
    assert get_space("gas:cells=14,growth=2") is SPACES["gas"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            f"{STUDENT}:layer=9",
            "'layer=9' is no size, did you mean layers?; allowed: layers up to 48, ",
        ),
        (
            f"{STUDENT}:",
            "'' is no size; allowed: layers up to 48, base up to 48, ratio up to 12, each",
        ),
        (f"{STUDENT}:layers=9,layers=8", "'layers=8' is no size"),
        (f"{STUDENT}:layers=nine", "'layers=nine' is no size"),
        (f"{STUDENT}:layers=99", "'layers=99' is no size"),
        (f"{STUDENT}:layers=7", "grid: layers is 7, allowed: 8 or more, which leave a path"),
        (f"{STUDENT}:base=1", "grid: base is 1: half of a width is no whole number of channels"),
        (f"{STUDENT}:ratio=5", "grid: ratio is 5, allowed: 4, 6, 8, 10, 12"),
        (
            "gas:cell=8",
            "'cell=8' is no size, did you mean cells?; allowed: cells up to 48, ",
        ),
        (
            "gas:cells=2",
            "cells: reductions are 1, 1; allowed: cells from 0 to 1, each once",
        ),
        ("gas:channels=7", "channels is 7, allowed: even numbers"),
        ("small:layers=8", "space small:layers=8: squeezenas-small has one size alone; leave :layers=8 out"),
        ("fasterseg-studnet:layers=8", "did you mean fasterseg-student?; allowed: "),
    ],
)
def test_sizes_that_there_are_not(name: str, said: str) -> None:
    with pytest.raises(UnknownSpace) as refused:
        get_space(name)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_names_one_space_or_all() -> None:
    assert {space.name for space in spaces_of_table(None)} < set(SPACES)
    assert [space.name for space in spaces_of_table(f"{STUDENT}:layers=9")] == [f"{STUDENT}:layers=9"]
    assert spaces_of_table("of a later release") == []
