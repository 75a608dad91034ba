"""The plan for people."""

import csv
import io

from search.architecture import load_architecture
from search.data.classes import CLASSES
from search.remapping.classes import match_classes
from search.remapping.plan import plan_network, plan_supernet
from search.remapping.table import classes_told, csv_text, lines, rows, summary
from search.spaces.chain import ChainSpace
from search.spaces.registry import get_space

from .donors import donor

CITYSCAPES, CAMVID = ([entry.name for entry in CLASSES[name]] for name in ("cityscapes", "camvid"))
LAT = donor(load_architecture("squeezenas-lat-small"))
# LAT-Small has k3e1, skip, skip, skip, k3e6, k3e6, skip, skip, k5e6, k3e6d2, k5e1g2, k3e1g2 and so on.
BLOCKS = ["k5e3", "skip", "skip", "skip", "skip", "k3e6", "k3e3", "skip", "k3e6", "k3e6d2", "k5e1", "skip"]


def small() -> ChainSpace:
    space = get_space("small")
    assert isinstance(space, ChainSpace)
    return space


def test_a_row_says_what_became_of_a_block_and_why() -> None:
    genotype = small().from_short_form([*BLOCKS, *["k3e6d2"] * 8])
    plan = plan_network(LAT, small(), genotype, match_classes(CITYSCAPES, CAMVID))
    by_part = {row.part: row for row in rows(plan) if row.part}
    assert [(by_part[part].what, by_part[part].changes) for part in ("stem", "blocks.0", "blocks.1")] == [
        ("taken", ""),
        ("widened", "hidden 16→48, kernel 3→5"),
        ("empty", ""),
    ]
    assert (by_part["blocks.4"].what, by_part["blocks.4"].changes) == ("cropped", "block multiplied out")
    assert (by_part["blocks.5"].what, by_part["blocks.5"].donor_part) == ("taken", "blocks.5")
    assert by_part["blocks.6"].what == "identity"
    assert by_part["blocks.6"].donor_block == "k3e6"
    assert (by_part["blocks.10"].what, by_part["blocks.10"].changes) == ("widened", "groups 2→1")
    assert (by_part["blocks.8"].what, by_part["blocks.8"].changes) == ("cropped", "kernel 5→3")
    assert (by_part["class 5"].block, by_part["class 5"].donor_block) == ("tree", "vegetation")
    dropped = [row.donor_part for row in rows(plan) if not row.part]
    assert dropped == ["blocks.11"]


def test_the_file_is_the_table_and_lines_are_as_wide() -> None:
    genotype = small().from_short_form([*BLOCKS, *["skip"] * 8])
    plan = plan_network(LAT, small(), genotype, match_classes(CITYSCAPES, ["road", "lake"]))
    read = list(csv.DictReader(io.StringIO(csv_text(plan))))
    assert [row["part"] for row in read] == [row.part for row in rows(plan)]
    assert read[-1] == {
        "part": "class 1",
        "block": "lake",
        "donor_part": "",
        "donor_block": "",
        "what": "new",
        "changes": "the mean of the donor's",
    }
    told = lines(plan)
    assert len(told) == len(read) + 1
    column = told[0].index("weights")
    assert all(line[column - 2 : column] == "  " for line in told)
    assert max(map(len, told)) < 150


def test_a_line_each_sums_blocks_and_classes_up() -> None:
    genotype = small().from_short_form([*BLOCKS, *["skip"] * 8])
    plan = plan_network(LAT, small(), genotype, match_classes(CITYSCAPES, [*CAMVID, "lake"]))
    assert summary(plan) == (
        "weights of squeezenas-lat-small: of 20 blocks 2 taken, 2 widened, 4 cropped, 1 identity, 11 empty, "
        "7 of the donor's dropped"
    )
    assert classes_told(plan) == (
        "11 of 12 classes by name (pavement from sidewalk, tree from vegetation, sign from traffic sign, "
        "pedestrian from person, bicyclist from rider); new, the mean of the donor's: lake"
    )


def test_of_a_supernet_a_line_a_position_and_a_row_a_candidate() -> None:
    plan = plan_supernet(LAT, small(), match_classes(CITYSCAPES, CAMVID))
    told = lines(plan)
    assert sum(line.startswith("blocks.") for line in told) == 20
    fifth = next(line for line in told if line.startswith("blocks.5 "))
    assert "  blocks.5 k3e6  " in fifth
    for words in ("1 taken", "1 widened", "10 cropped", "1 empty"):
        assert words in fifth
    read = list(csv.DictReader(io.StringIO(csv_text(plan))))
    assert sum(row["part"].startswith("blocks.") for row in read) == 20 * 13
    assert summary(plan).startswith("weights of squeezenas-lat-small: of 260 candidates ")


def test_what_is_dropped_is_told_apart_from_the_position_of_its_number() -> None:
    """MAC-Large has a block before the first stage, Small has none there."""
    donor_plan = plan_supernet(
        donor(load_architecture("squeezenas-mac-large")), small(), match_classes(CITYSCAPES, CAMVID)
    )
    assert [line.split()[:4] for line in lines(donor_plan) if "dropped" in line] == [
        ["-", "blocks.0", "k3e1g2", "dropped"],
        ["-", "blocks.21", "k3e1d2", "dropped"],
    ]
