import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from search.architecture import (
    Architecture,
    architecture_of,
    dump_architecture,
    list_architectures,
    load_architecture,
    parse_architecture,
)
from search.data.classes import CLASSES, unnamed
from search.errors import InvalidArchitecture, UnknownCandidate, UnknownSpace
from search.networks.weights import load_weights

from .spaces.toy_space import TOY

IMAGE = {"x": (1, 3, 1024, 2048)}
BLOCKS = ["skip"] * 20
CAMVID = "-camvid"
SQUEEZENAS = [n for n in list_architectures() if n.startswith("squeezenas-") and CAMVID not in n]
MINIMAL = f"space: squeezenas-small\nblocks: {BLOCKS}\n"


def test_the_shipped_set() -> None:
    assert list_architectures() == [
        *("fastdense-arch0", "fastdense-arch1", "fastdense-arch2"),
        *("fastdense-templates-arch0", "fastdense-templates-arch1"),
        *("fasterseg-student", "fasterseg-teacher"),
        *("mobilenetv3-large-seg", "mobilenetv3-small-seg"),
        *("squeezenas-lat-large", "squeezenas-lat-small", "squeezenas-lat-small-camvid"),
        "squeezenas-lat-xlarge",
        *("squeezenas-mac-large", "squeezenas-mac-small", "squeezenas-mac-xlarge"),
    ]


@pytest.mark.parametrize("name", list_architectures())
def test_shipped_files_round_trip(name: str) -> None:
    architecture = load_architecture(name)
    assert architecture.name == name
    assert parse_architecture(dump_architecture(architecture), "dumped") == architecture
    assert all(result.source and result.conditions for result in architecture.results)


@pytest.mark.parametrize(
    ("name", "gmacs", "relative"),
    [  # the authors' released code, run; then the paper's table 1 (arXiv:1908.01748), which rounds
        ("squeezenas-lat-small", 4.465099, 2e-7),
        ("squeezenas-mac-small", 3.007513, 2e-7),
        ("squeezenas-mac-large", 9.386148, 2e-7),
        ("squeezenas-lat-small", 4.47, 2e-3),
        ("squeezenas-mac-small", 3.01, 2e-3),
        ("squeezenas-mac-large", 9.39, 2e-3),
        ("squeezenas-lat-large", 19.57, 5e-3),
        ("squeezenas-lat-xlarge", 32.73, 5e-3),
        ("squeezenas-mac-xlarge", 21.84, 5e-3),
        ("mobilenetv3-small-seg", 2.90, 3e-2),
        ("mobilenetv3-large-seg", 9.74, 3e-2),
    ],
)
def test_macs_of_published_networks(name: str, gmacs: float, relative: float) -> None:
    assert load_architecture(name).network().macs(IMAGE) / 1e9 == pytest.approx(gmacs, rel=relative)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # trainable values of the authors' released networks
        ("squeezenas-mac-small", 277_598),
        ("squeezenas-mac-large", 704_382),
        ("squeezenas-mac-xlarge", 1_819_563),
        ("squeezenas-lat-small", 465_774),
        ("squeezenas-lat-large", 1_918_734),
        ("squeezenas-lat-xlarge", 3_059_323),
    ],
)
def test_parameters_of_published_networks(name: str, parameters: int) -> None:
    assert load_architecture(name).network().num_parameters == parameters


@pytest.mark.parametrize("name", SQUEEZENAS)
def test_what_the_files_report_is_what_the_networks_are(name: str) -> None:
    architecture = load_architecture(name)
    network = architecture.network()
    (result,) = architecture.results
    assert network.macs(IMAGE) / 1e9 == pytest.approx(result.gmacs, rel=5e-3)
    assert network.num_parameters / 1e6 == pytest.approx(result.params_m, rel=0.08)  # table 1 counts buffers


def test_weights_that_ship_fit_and_are_found_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trained, published = (load_architecture(f"squeezenas-lat-small{end}") for end in (CAMVID, ""))
    assert (trained.blocks, trained.head.outputs) == (published.blocks, 11)
    assert published.weights is None
    assert trained.weights is not None
    assert load_weights(trained, Path(trained.weights))["decoder.classify_high.bias"].shape == (11,)


def test_weights_lie_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"{MINIMAL}weights: mine.safetensors\n", encoding="utf-8")
    assert load_architecture(tmp_path / "mine.yaml").weights == str(tmp_path / "mine.safetensors")


def test_a_file_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL + "num_classes: 11\n", encoding="utf-8")
    architecture = load_architecture(path)
    assert architecture == Architecture(space="squeezenas-small", blocks=BLOCKS, num_classes=11)
    assert load_architecture(str(path)) == architecture
    network = architecture.network()
    assert network.shapes({"x": (1, 3, 64, 64)})[network.outputs[0]] == (1, 11, 64, 64)


def test_an_architecture_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_architecture("squeezenas-lat-small").name = "other"  # type: ignore[misc]


def refusal(text: str, error: type[Exception] = InvalidArchitecture) -> str:
    with pytest.raises(error) as caught:
        parse_architecture(text, "mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml: ")
    assert "\n" not in message
    return message.removeprefix("mine.yaml: ")


KEYS = ", ".join(Architecture.model_fields)


def test_an_unknown_key_gets_the_near_miss() -> None:
    assert refusal(MINIMAL + "nam: x\n") == f"nam: unknown key, did you mean name?; allowed: {KEYS}"
    assert refusal(MINIMAL + "qqq: x\n") == f"qqq: unknown key; allowed: {KEYS}"
    wrong = "results: [{source: a, conditions: b, latency_s: 3}]\n"
    fault = "results[0].latency_s: unknown key, did you mean latency_ms?; allowed: source, conditions, "
    assert refusal(MINIMAL + wrong).startswith(fault)


def test_a_key_given_twice_is_told_with_its_line() -> None:
    assert refusal(MINIMAL + "name: a\nname: b\n").endswith("key 'name' is given twice")
    assert "not YAML: line " in refusal(MINIMAL + "name: a\nname: b\n")


def test_all_faults_are_told_at_once() -> None:
    message = refusal("blocks: [skip, 3]\nnum_classes: 1000\nspac: small\n")
    assert message.split("; ") == [
        "space: missing",
        "blocks[1]: found 3",
        "allowed: a valid string",
        "num_classes: found 1000",
        "allowed: less than or equal to 255",
        "spac: unknown key, did you mean space?",
        f"allowed: {KEYS}",
    ]


@pytest.mark.parametrize("name", [" road", "ro\nad", "r" * 65])
def test_a_class_has_a_name_that_can_be_shown(name: str) -> None:
    classes = [{"name": name, "color": [0, 0, 0]}, {"name": "sky", "color": [1, 1, 1]}]
    message = refusal(MINIMAL + f"classes: {json.dumps(classes)}\n")
    assert message.startswith("classes[0].name: found")
    assert "printable text of at most 64 characters, without spaces at its ends" in message


def test_numbers_are_not_guessed_from_text() -> None:
    assert refusal(MINIMAL + "num_classes: '19'\n") == "num_classes: found '19'; allowed: a valid integer"


@pytest.mark.parametrize(("text", "found"), [("", "NoneType"), ("[]", "list"), ("word", "str"), ("3", "int")])
def test_a_file_that_is_no_mapping(text: str, found: str) -> None:
    assert refusal(text) == f"found {found}; allowed: a mapping with the keys {KEYS}"


def test_a_file_that_is_not_yaml() -> None:
    assert refusal("blocks: [").startswith("not YAML: ")
    assert "could not determine a constructor" in refusal("!!python/object/apply:os.system [echo]")


def test_blocks_must_fit_the_space() -> None:
    few = refusal("space: squeezenas-large\nblocks: [skip]\n")
    assert few == "space squeezenas-large has 22 positions, the architecture has 1 blocks"
    other = refusal(MINIMAL.replace("'skip'", "k3e5", 1), UnknownCandidate)
    assert other.startswith(
        "space squeezenas-small: position 0: unknown block 'k3e5', did you mean k3e6?; allowed there: k3e1, "
    )
    space = refusal(MINIMAL.replace("squeezenas-small", "squeezenas-smal"), UnknownSpace)
    assert space.startswith("unknown space 'squeezenas-smal', did you mean squeezenas-small?; allowed: ")


@pytest.mark.parametrize("name", ["best.pth", "trained/best.safetensors"])
def test_weights_are_no_architecture(name: str) -> None:
    with pytest.raises(InvalidArchitecture, match=rf"^{name}: holds weights; give the architecture that"):
        load_architecture(name)


def test_an_unknown_name_gets_the_near_miss_and_the_list() -> None:
    expected = (
        "unknown architecture 'squeezenas-lat-smal', did you mean squeezenas-lat-small?; "
        f"allowed: {', '.join(list_architectures())}, or the path of a .yaml file of your own"
    )
    with pytest.raises(InvalidArchitecture, match=f"^{re.escape(expected)}$"):
        load_architecture("squeezenas-lat-smal")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name, reason in (("absent", "cannot be read"), ("binary", "damaged, no text in UTF-8")):
        with pytest.raises(InvalidArchitecture, match=rf"{name}\.yaml: {reason} \("):
            load_architecture(tmp_path / f"{name}.yaml")


def test_choices_are_the_long_form(tmp_path: Path) -> None:
    short = parse_architecture(MINIMAL, "short")
    choices = {f"blocks.{index}": "skip" for index in range(20)}
    long = f"space: small\nchoices: {choices}\n"
    read = parse_architecture(long, "long")
    assert read.genotype == short.genotype == choices
    assert (read.blocks, read.choices) == (short.blocks, None)
    assert parse_architecture(dump_architecture(read), "dumped") == read


def test_a_space_without_a_short_form_keeps_its_choices() -> None:
    choices = {"branch": "deep", "deep.kernel": "k5", "tail": "w16"}
    read = parse_architecture(f"space: toy\nchoices: {choices}\nnum_classes: 7\n", "toy.yaml")
    assert (read.blocks, read.choices) == (None, choices)
    assert parse_architecture(dump_architecture(read), "dumped") == read
    frame = {"frame": (1, 64, 96, 3)}
    network = read.camera_network()
    assert network.shapes(frame)[network.outputs[0]] == (1, 64, 96)
    made = architecture_of(TOY, choices, unnamed(7), name="made")
    assert made.genotype == read.genotype
    assert made.head == read.head
    blocks = refusal(f"space: toy\nblocks: {list(choices.values())}\n")
    assert blocks == "space toy has no short form; write choices instead of blocks"
    unknown = f"space: toy\nchoices: {choices | {'tail': 'w17'}}\n"
    said = "space toy: tail: unknown option 'w17', did you mean w16?; allowed: w8, w16, w24"
    assert refusal(unknown, UnknownCandidate) == said


def test_blocks_and_choices_are_one_of_them() -> None:
    assert refusal("space: small\n") == "blocks, choices: found neither; allowed: one of them"
    both = refusal(MINIMAL + "choices: {blocks.0: skip}\n")
    assert both == "blocks, choices: found both; allowed: one of them"


def test_classes_by_the_name_of_a_known_list() -> None:
    read = parse_architecture(MINIMAL + "classes: camvid\n", "mine.yaml")
    assert read.labels == CLASSES["camvid"]
    assert read.known_classes == "camvid"
    assert (read.head.outputs, read.num_classes) == (11, None)
    assert "classes: camvid\n" in dump_architecture(read)
    assert parse_architecture(dump_architecture(read), "dumped") == read
    wrong = refusal(MINIMAL + "classes: cityscape\n")
    assert "unknown list of classes 'cityscape', did you mean cityscapes?; allowed: " in wrong


def test_classes_of_the_users_own() -> None:
    text = "classes:\n- {name: road, color: [1, 2, 3]}\n- {name: rest, color: [4, 5, 6], category: other}\n"
    read = parse_architecture(MINIMAL + text, "mine.yaml")
    assert [(label.name, label.color, label.category) for label in read.labels] == [
        ("road", (1, 2, 3), ""),
        ("rest", (4, 5, 6), "other"),
    ]
    assert [label.id for label in read.labels] == [0, 1]
    assert read.known_classes is None
    assert parse_architecture(dump_architecture(read), "dumped") == read
    network = read.network()
    assert network.shapes({"x": (1, 3, 64, 64)})[network.outputs[0]] == (1, 2, 64, 64)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("classes: camvid\nnum_classes: 11\n", "classes, num_classes: found both; allowed: one of them"),
        (
            "classes: [{name: a, color: [1, 2, 3]}, {name: a, color: [1, 2, 3]}]\n",
            "classes: found a twice; allowed: each name once",
        ),
        ("classes: [{name: a, color: [1, 2, 3]}]\n", "classes: "),
        ("classes: [{name: a, color: [1, 2, 256]}, {name: b, color: [1, 2, 3]}]\n", "classes[0].color[2]: "),
        ("num_classes: 1\n", "num_classes: found 1; allowed: greater than or equal to 2"),
        ("task: segmentatio\n", "did you mean segmentation?; allowed: segmentation"),
    ],
)
def test_classes_and_tasks_that_are_none_are_refused(text: str, said: str) -> None:
    assert said in refusal(MINIMAL + text)


def test_without_names_classes_are_numbered() -> None:
    usual = parse_architecture(MINIMAL, "mine.yaml")
    assert (usual.num_classes, usual.classes, usual.head.outputs) == (None, None, 19)
    seven = parse_architecture(MINIMAL + "num_classes: 7\n", "mine.yaml")
    assert seven.labels == unnamed(7)
    assert [label.name for label in seven.labels][:2] == ["class 0", "class 1"]
    assert len({label.color for label in unnamed(255)}) == 255


def test_the_same_network_for_other_classes() -> None:
    seven = parse_architecture(MINIMAL + "num_classes: 7\n", "mine.yaml")
    other = seven.for_classes(CLASSES["cityscapes"])
    assert (other.labels, other.num_classes) == (CLASSES["cityscapes"], None)
    assert other.genotype == seven.genotype
    assert parse_architecture(dump_architecture(other), "dumped") == other
