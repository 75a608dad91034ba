"""Encoders as parts: their taps, their names, and what is none."""

from pathlib import Path

import pytest

from search.architecture import Architecture, dump_architecture, load_architecture, parse_architecture
from search.errors import InvalidArchitecture, UnknownCandidate, UnknownSpace
from search.spaces.camera import segmentation_head
from search.spaces.encoders import encoder_names, get_encoder
from search.spaces.inverted_residual import candidate_graph
from search.spaces.registry import get_space
from search.spaces.space import Part

from ...cost_models.ir.test_fusion import differences
from ...cost_models.two_runtimes import difference

SHORT = ["8", "0 0 5 2", "0 2 8 8", "0 5 1 4", "2 2", "2 1", "2 0"]


def test_mobilenetv2_has_the_papers_layers_and_taps() -> None:
    encoder = get_encoder("mobilenetv2")
    assert [(tap.channels, str(tap)) for tap in encoder.taps] == [
        *((24, "1/4"), (32, "1/8"), (96, "1/16"), (320, "1/32"))
    ]
    graph = encoder.graph()
    assert graph.num_parameters == 1_812_800
    kinds = {node.op.kind for node in graph.nodes if hasattr(node.op, "kind")}
    assert kinds == {"relu6"}
    shapes = graph.shapes({"x": (1, 3, 65, 97)})
    assert [shapes[name][2:] for name in graph.outputs] == [(17, 25), (9, 13), (5, 7), (3, 4)]


def test_its_blocks_are_cut_as_tvm_fuses_them() -> None:
    block = candidate_graph("k3e6r6", 8, 8, 1)
    assert differences([Part("block", block, {"x": (1, 8, 8, 16)})]) == []
    assert difference(block, {"x": (1, 8, 8, 16)}) < 1e-5


@pytest.mark.parametrize("name", encoder_names())
def test_taps_are_the_last_maps_at_each_scale(name: str) -> None:
    encoder = get_encoder(name)
    assert [tap.stride for tap in encoder.taps] == [4, 8, 16, 32][: len(encoder.taps)]
    graph = encoder.graph()
    shapes = graph.shapes({"x": (1, 3, 128, 256)})
    for tap, output in zip(encoder.taps, graph.outputs, strict=True):
        assert shapes[output] == (1, tap.channels, 128 // tap.stride, 256 // tap.stride)


def test_a_chains_encoder_is_its_first_part_under_the_same_names() -> None:
    encoder = get_encoder("squeezenas-lat-small")
    assert [tap.channels for tap in encoder.taps] == [16, 24, 96]
    donor = load_architecture("squeezenas-lat-small").network()
    own, theirs = encoder.graph().parameters(), donor.parameters()
    assert own.items() <= theirs.items()
    assert {name.split(".")[0] for name in theirs.keys() - own.keys()} == {"head", "decoder"}


def test_an_architecture_of_ones_own_is_written_out_in_the_name(tmp_path: Path) -> None:
    donor = load_architecture("squeezenas-mac-small")
    path = tmp_path / "mine.yaml"
    path.write_text(dump_architecture(donor), encoding="utf-8")
    space = get_space(f"fastdense@{path}")
    own = tmp_path / "own.yaml"
    own.write_text(f"space: fastdense@mine.yaml\nblocks: {SHORT}\nnum_classes: 5\n", encoding="utf-8")
    assert load_architecture(own).space == space.name  # the path is from the file that says it
    path.unlink()
    assert space.name == f"fastdense@squeezenas-small:{','.join(donor.blocks or ())}"
    architecture = Architecture(space=space.name, blocks=SHORT, num_classes=5)
    again = parse_architecture(dump_architecture(architecture), "again.yaml")
    assert again.network() == architecture.network()
    named = Architecture(space="fastdense@squeezenas-mac-small", blocks=SHORT, num_classes=5)
    assert named.network() == architecture.network()


def test_networks_over_any_encoder() -> None:
    for name in ("mobilenetv3-small-seg", "squeezenas-lat-xlarge"):
        space = get_space(f"fastdense@{name}")
        network = space.network(space.from_short_form(SHORT), segmentation_head(7))
        shapes = network.shapes({"x": (1, 3, 65, 97)})
        assert [shapes[output] for output in network.outputs] == [(1, 7, 65, 97)]


def test_what_is_behind_the_last_tap_that_is_taken_is_not_computed() -> None:
    space = get_space("fastdense")
    fine = space.from_short_form([*SHORT[:4], "0 0", "1 0", "0 1"])
    names = {node.name for node in space.network(fine, segmentation_head(7)).nodes}
    assert "encoder.blocks.5.project.bn" in names
    assert not [name for name in names if name.startswith(("encoder.blocks.6.", "decoder.adapters.2."))]


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("mobilenetv4", UnknownSpace, "unknown encoder 'mobilenetv4', did you mean mobilenetv2?"),
        ("fasterseg-student", UnknownSpace, "unknown encoder 'fasterseg-student'; allowed: mobilenetv2, "),
        ("", UnknownSpace, "unknown encoder ''; allowed: mobilenetv2, "),
        ("squeezenas-small:k3e1", InvalidArchitecture, "space squeezenas-small has 20 positions"),
        (f"squeezenas-small:{','.join(['k9e9'] * 20)}", UnknownCandidate, "unknown block 'k9e9'"),
        ("absent.yaml", InvalidArchitecture, "absent.yaml"),
        ("a\0b.yaml", InvalidArchitecture, ".yaml"),
        (f"{'x' * 5000}.yaml", InvalidArchitecture, ".yaml"),
    ],
)
def test_what_is_no_encoder(name: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as refused:
        get_space(f"fastdense@{name}")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["- a list", "space: fasterseg-student\nchoices: {}", "space: small", "{"])
def test_a_file_without_a_chain(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidArchitecture) as refused:
        get_encoder(str(path))
    assert str(refused.value).startswith(f"{path}: ")


def test_more_taps_than_there_are() -> None:
    with pytest.raises(
        InvalidArchitecture, match="has 3 taps, 4 are needed; take one that goes on to stride 32"
    ):
        get_encoder("squeezenas-lat-small").first(4)
