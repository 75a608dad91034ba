from collections import Counter

import pytest

from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.ops import Shape
from search.architecture import Architecture, list_architectures, load_architecture
from search.errors import InvalidArchitecture, UnknownCandidate, UnknownSpace
from search.resolution import Resolution
from search.spaces.camera import camera_network, segmentation_head
from search.spaces.registry import SPACES, get_space
from search.spaces.space import Part
from search.spaces.squeezenas import SQUEEZENAS_CANDIDATES

from .chains import CHAINS

FULL = Resolution(1024, 2048)
IMAGE = {"x": (1, 3, *FULL)}
SEARCHED = ("small", "large", "xlarge")


@pytest.mark.parametrize(("name", "positions"), [("small", 20), ("large", 22), ("xlarge", 22)])
def test_every_position_offers_the_thirteen_candidates(name: str, positions: int) -> None:
    # in the order of the authors' released code, the twelve blocks and then the skip
    expected = [
        *("k3e1", "k3e1g2", "k3e3", "k3e6", "k5e1", "k5e1g2", "k5e3", "k5e6"),
        *("k3e1d2", "k3e1g2d2", "k3e3d2", "k3e6d2", "skip"),
    ]
    offered: dict[int, list[str]] = {}
    for index, candidate, part in get_space(name).blocks(FULL):
        offered.setdefault(index, []).append(candidate)
        assert part.name == f"blocks.{index}.{candidate}"
    assert offered == {index: expected for index in range(positions)}


@pytest.mark.parametrize(
    ("name", "stages"),
    [  # channels, positions, height of the map at 1024x2048, from the authors' released code
        ("small", [(16, 4, 256), (24, 4, 128), (40, 4, 64), (48, 4, 64), (96, 4, 64)]),
        (
            "large",
            [(16, 1, 512), (24, 4, 256), (32, 4, 128), (64, 4, 64), (96, 4, 64), (160, 5, 64)],
        ),
        (
            "xlarge",
            [(24, 1, 512), (32, 4, 256), (48, 4, 128), (96, 4, 64), (144, 4, 64), (240, 4, 64), (320, 1, 64)],
        ),
    ],
)
def test_stages(name: str, stages: list[tuple[int, int, int]]) -> None:
    outputs = get_space(name).block_inputs(FULL)[1:]
    assert list(Counter((c, h) for _, c, h, _ in outputs).items()) == [((c, h), n) for c, n, h in stages]
    assert {w for _, _, h, w in outputs if w != 2 * h} == set()


@pytest.mark.parametrize(
    ("name", "shapes", "rows"), [("small", 10, 130), ("large", 11, 143), ("xlarge", 12, 156)]
)
def test_distinct_blocks(name: str, shapes: int, rows: int) -> None:
    space = get_space(name)
    blocks: dict[tuple[int, int, Shape], set[str]] = {}
    for index, candidate, part in space.blocks(FULL):
        position = space.positions[index]
        shape = (position.out_channels, position.stride, part.inputs["x"])
        blocks.setdefault(shape, set()).add(candidate)
    assert len(blocks) == shapes
    assert sum(map(len, blocks.values())) == rows


@pytest.mark.parametrize(
    ("name", "position", "candidate", "mmacs"),
    [  # at 1024x2048, from the authors' released code
        ("small", 0, "k3e1g2", 102.8),
        ("small", 0, "k3e1", 186.6),
        ("small", 8, "k5e6", 189.9),
        ("small", 17, "k3e3d2", 474.2),
        ("small", 1, "skip", 0.0),
        ("xlarge", 0, "skip", 604.0),
        ("xlarge", 21, "k3e6d2", 6712.2),
    ],
)
def test_macs_of_blocks(name: str, position: int, candidate: str, mmacs: float) -> None:
    space = get_space(name)
    shape = space.block_inputs(FULL)[position]
    assert space.block(position, candidate).macs({"x": shape}) / 1e6 == pytest.approx(mmacs, abs=0.05)


def parts_of(architecture: Architecture) -> list[Part]:
    space = architecture.search_space
    chosen = [part for i, candidate, part in space.blocks(FULL) if architecture.blocks[i] == candidate]
    return [*chosen, *space.fixed_parts(FULL, architecture.head)]


@pytest.mark.parametrize("name", [n for n in list_architectures() if load_architecture(n).space in CHAINS])
def test_parts_add_up_to_the_network(name: str) -> None:
    architecture = load_architecture(name)
    parts, network = parts_of(architecture), architecture.network()
    assert sum(part.graph.macs(part.inputs) for part in parts) == network.macs(IMAGE)
    assert sum(part.graph.num_parameters for part in parts) == network.num_parameters


@pytest.mark.parametrize("name", [n for n in list_architectures() if load_architecture(n).space in CHAINS])
def test_kernels_of_parts_are_those_of_the_deployed_network(name: str) -> None:
    architecture = load_architecture(name)
    apart = Counter(k for part in parts_of(architecture) for k in split_into_kernels(part.graph, part.inputs))
    network = architecture.camera_network()
    whole = Counter(split_into_kernels(network, {"frame": (1, *FULL, 3)}))
    only_apart = [kernel.label for kernel in apart - whole]
    only_whole = [kernel.label for kernel in whole - apart]
    if name == "squeezenas-lat-xlarge":
        # Its first block is a skip that is not the identity; the ReLU in front of it joins the stem.
        stem, relu = "conv3x3s2+relu{} 3x1024x2048->48x512x1024", "relu 48x512x1024->48x512x1024"
        assert sorted(only_apart) == [stem.format(""), relu]
        assert only_whole == [stem.format("+relu")]
    else:
        assert only_apart == only_whole == []


def test_positions_of_networks_for_comparison_offer_one_block() -> None:
    for name in ("mobilenetv3-small", "mobilenetv3-large"):
        space = get_space(name)
        assert {len(position.candidates) for position in space.positions} == {1}
        space.from_short_form([position.candidates[0] for position in space.positions])


def test_fixed_parts_in_order() -> None:
    names = {
        name: [part.name for part in get_space(name).fixed_parts(FULL, segmentation_head(19))]
        for name in SEARCHED
    }
    assert names == {
        "small": ["frame", "stem", "head", "decoder"],
        "large": ["frame", "stem", "decoder"],
        "xlarge": ["frame", "stem", "decoder"],
    }


@pytest.mark.parametrize("size", ["64x64", "65x97", "191x200"])
@pytest.mark.parametrize("name", CHAINS)
def test_odd_sizes_are_rounded_up_at_every_halving(name: str, size: str) -> None:
    resolution = Resolution.parse(size)
    space = get_space(name)
    *_, last = space.block_inputs(resolution)
    assert last[2:] == tuple(-(-side // 16) for side in resolution)
    for _, _, part in space.blocks(resolution):
        part.graph.shapes(part.inputs)


def test_the_camera_network_goes_from_frame_to_classes() -> None:
    space = get_space("small")
    head = segmentation_head(7)
    network = camera_network(space.network(space.from_short_form(["skip"] * 20), head), head)
    shapes = network.shapes({"frame": (1, 64, 80, 3)})
    assert shapes[network.outputs[0]] == (1, 64, 80)
    assert (network.dtype("frame"), network.dtype(network.outputs[0])) == ("uint8", "uint8")


def test_an_unknown_space_gets_the_near_miss_and_the_list() -> None:
    known = ", ".join(sorted(SPACES))
    message = f"^unknown space 'smal', did you mean small\\?; allowed: {known}; over another encoder "
    with pytest.raises(UnknownSpace, match=message):
        get_space("smal")
    with pytest.raises(
        UnknownSpace, match=f"^unknown space 'zzz'; allowed: {known}; over another encoder fastdense@NAME, "
    ):
        get_space("zzz")


def test_blocks_are_checked() -> None:
    space = get_space("small")
    assert space.from_short_form(["skip"] * 20) == {f"blocks.{index}": "skip" for index in range(20)}
    reason = r"^space squeezenas-small has 20 positions, the architecture has 3 blocks$"
    with pytest.raises(InvalidArchitecture, match=reason):
        space.from_short_form(["skip"] * 3)
    reason = (
        "^space squeezenas-small: position 1: unknown block 'k3e6d3', did you mean k3e6d2\\?; "
        "position 19: unknown block 'zzz'; "
        f"allowed there: {', '.join(SQUEEZENAS_CANDIDATES)}$"
    )
    with pytest.raises(UnknownCandidate, match=reason):
        space.from_short_form(["skip", "k3e6d3", *["skip"] * 17, "zzz"])
