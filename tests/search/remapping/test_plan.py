"""What comes from where."""

import pytest

from search.architecture import load_architecture
from search.remapping.classes import none_taken
from search.remapping.plan import BlockPlan, in_order, plan_network, plan_supernet
from search.remapping.streams import matched, streams_of
from search.spaces.chain import ChainSpace
from search.spaces.registry import get_space

from .donors import donor

NAMES = ["road", "sky"]
NOTHING = none_taken(NAMES, NAMES)


def chain_of(name: str) -> ChainSpace:
    space = get_space(name)
    assert isinstance(space, ChainSpace)
    return space


def test_stages_are_those_of_the_same_stride_in_order() -> None:
    small, large, xlarge = (streams_of(chain_of(name)) for name in ("small", "large", "xlarge"))
    assert [(own.channels, own.stride) for own in small] == [
        *((16, 2), (16, 4), (24, 8), (40, 16), (48, 16), (96, 16))
    ]
    assert [own.residuals for own in large] == [
        *((0,), (2, 3, 4), (6, 7, 8), (10, 11, 12), (14, 15, 16), (18, 19, 20, 21))
    ]
    assert matched(large, small) == matched(small, large) == (0, 1, 2, 3, 4, 5)
    assert [(own.channels, own.stride) for own in xlarge][-4:] == [(96, 16), (144, 16), (240, 16), (320, 16)]
    assert matched(small, xlarge) == (0, 0, 1, 2, 3, 4, 4, 5)


def plans(blocks: list[str], name: str = "squeezenas-lat-small") -> list[BlockPlan]:
    """Of a network of Small; those of the first stage in detail elsewhere."""
    space = chain_of("small")
    given = donor(load_architecture(name))
    return list(plan_network(given, space, space.from_short_form(blocks), NOTHING).blocks)


def test_blocks_that_add_are_matched_in_their_order_whatever_skips_are_between() -> None:
    """LAT-Small's third stage is k5e6, k3e6d2, k5e1g2, k3e1g2."""
    skips = ["skip"] * 3
    found = plans(["k3e1", *skips, "k3e6", *skips, "k5e6", "k5e1g2", "skip", "k3e6", *["k3e1"] * 8])
    assert [(plan.how, plan.source, plan.of) for plan in found[8:12]] == [
        ("taken", 8, "k5e6"),
        ("taken", 10, "k5e1g2"),
        ("skip", None, None),
        ("taken", 11, "k3e1g2"),
    ]


def test_a_block_where_the_donor_has_none_begins_closed_and_like_the_nearest() -> None:
    """LAT-Small's first stage is k3e1 and skips, its second k3e6, k3e6, skip, skip."""
    found = plans(["k3e3", "k3e3", "skip", "skip", "k3e6", "k3e1", "k5e6", "k3e3", *["k3e1"] * 12])
    assert found[0] == BlockPlan(0, "k3e3", "taken", 0, "k3e1")
    assert found[1] == BlockPlan(1, "k3e3", "closed")
    assert found[6] == BlockPlan(6, "k5e6", "taken", 5, "k3e6")
    assert [found[i].how for i in (5, 7)] == ["closed", "closed"]
    assert found[7].source == 5


def test_what_is_not_used_is_dropped() -> None:
    space = chain_of("small")
    given = donor(load_architecture("squeezenas-lat-small"))
    blocks = space.from_short_form(["k3e1", "skip", "skip", "skip"] * 5)
    found = plan_network(given, space, blocks, NOTHING)
    assert found.dropped == (5, 9, 10, 11, 13, 14, 15, 17, 18, 19)


def test_a_supernet_goes_position_by_position() -> None:
    space = chain_of("small")
    found = plan_supernet(donor(load_architecture("squeezenas-lat-small")), space, NOTHING)
    assert len(found.blocks) == sum(len(position.candidates) for position in space.positions)
    by_name = {(plan.index, plan.block): plan for plan in found.blocks}
    assert by_name[5, "k5e6"] == BlockPlan(5, "k5e6", "taken", 5, "k3e6")
    assert by_name[6, "k5e6"] == BlockPlan(6, "k5e6", "closed", 5, "k3e6")
    assert by_name[1, "k5e6"] == BlockPlan(1, "k5e6", "closed")
    assert by_name[5, "skip"].how == "skip"
    assert by_name[4, "skip"] == BlockPlan(4, "skip", "taken", 4, "k3e6")
    assert found.dropped == ()


def test_stages_that_the_donor_has_not_pass_on_what_comes_in() -> None:
    space = chain_of("xlarge")
    blocks = space.from_short_form(["k3e6"] * 22)
    found = plan_network(donor(load_architecture("squeezenas-lat-small")), space, blocks, NOTHING)
    ways = {plan.index: plan.how for plan in found.blocks}
    assert [ways[stream.entry] for stream in streams_of(space) if stream.entry is not None] == [
        *("passing", "taken", "taken", "taken", "taken", "passing", "taken")
    ]
    assert not found.decoder


@pytest.mark.parametrize(
    ("fewer", "more", "pairs"),
    [
        ([], [1], []),
        ([1], [0, 1, 2], [(1, 1)]),
        ([0, 3], [0, 1, 3], [(0, 0), (3, 3)]),
        ([5, 0], [0, 5], [(5, 0), (0, 5)]),
    ],
)
def test_pairs_in_order_at_the_least_cost(
    fewer: list[int], more: list[int], pairs: list[tuple[int, int]]
) -> None:
    costs = {(one, other): (0, abs(one - other)) for one in fewer for other in more}
    assert in_order(fewer, more, costs) == pairs
