"""Every fault of a file in one message, in the words of who wrote the file."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from search.errors import InvalidRecipe
from targets.support.strict_yaml import MOST_FAULTS, parse_yaml


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Round(Part):
    kind: Literal["round"]
    radius: float = Field(gt=0)


class Square(Part):
    kind: Literal["square"]
    side: float
    colour: Literal["red", "green"] = "red"


class Box(Part):
    name: str
    size: tuple[int, int] = Field(strict=False)
    things: list[Annotated[Round | Square, Field(discriminator="kind")]]


def refused(text: str) -> str:
    with pytest.raises(InvalidRecipe) as caught:
        parse_yaml(text, "box.yaml", Box, InvalidRecipe)
    return str(caught.value)


def test_many_faults_are_the_first_ones_and_how_many_more() -> None:
    things = ", ".join("{kind: round, radius: -1}" for _ in range(400))
    said = refused(f"{{name: a, size: [1, 2], things: [{things}]}}")
    assert said.count("greater than 0") + said.count("> 0") == MOST_FAULTS
    assert said.endswith(f"; {400 - MOST_FAULTS} more")
    assert len(said) < 2000


def test_a_right_file() -> None:
    text = "{name: a, size: [1, 2], things: [{kind: round, radius: 1.5}, {kind: square, side: 2}]}"
    box = parse_yaml(text, "box.yaml", Box, InvalidRecipe)
    assert box.things == [Round(kind="round", radius=1.5), Square(kind="square", side=2.0)]


def test_all_faults_at_once() -> None:
    said = refused(
        "{nam: a, size: [1, two], "
        "things: [{kind: round, radius: 0, radios: 1}, {kind: square, colour: gren}]}"
    )
    assert said.startswith("box.yaml: ")
    assert sorted(said.removeprefix("box.yaml: ").split("; ")) == sorted(
        [
            "name: missing",
            "nam: unknown key, did you mean name?",
            "allowed: name, size, things",
            "size[1]: found 'two'",
            "allowed: a valid integer",
            "things[0].radius: found 0",
            "allowed: greater than 0",
            "things[0].radios: unknown key, did you mean radius?",
            "allowed: kind, radius",
            "things[1].side: missing",
            "things[1].colour: found 'gren', did you mean green?",
            "allowed: 'red' or 'green'",
        ]
    )


def test_unknown_kind() -> None:
    said = refused("{name: a, size: [1, 2], things: [{kind: sqare, side: 1}, {side: 1}]}")
    assert "things[0].kind: found 'sqare', did you mean square?; allowed: 'round', 'square'" in said
    assert "things[1].kind: missing" in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "box.yaml: not YAML: "),
        ("- a", "box.yaml: found list; allowed: a mapping with the keys name, size, things"),
        ("", "box.yaml: found NoneType; allowed: a mapping with the keys name, size, things"),
    ],
)
def test_text_that_is_no_mapping(text: str, reason: str) -> None:
    assert refused(text).startswith(reason)


class Lid(Part):
    width: int
    depth: int = Field(default_factory=lambda validated: 2 * validated["width"])


class Shelf(Part):
    lids: tuple[Lid, ...] = Field(min_length=1, strict=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lids: [{width: wide}]", "lids[0].width: found 'wide'; allowed: a valid integer"),
        ("lids: []", "lids: found []; allowed: Tuple should have at least 1 item after validation, not 0"),
    ],
)
def test_what_only_follows_from_another_fault_is_not_told(text: str, said: str) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        parse_yaml(text, "shelf.yaml", Shelf, InvalidRecipe)
    assert str(caught.value) == f"shelf.yaml: {said}"
