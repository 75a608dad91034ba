"""YAML files with a pydantic schema: all faults of a file in one message, unknown keys with the near miss."""

import re
import reprlib
import types
from collections.abc import Sequence
from importlib.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from targets.support.plain_yaml import load_yaml
from targets.support.reading import TEXT_BYTES, Refusal, read_text
from targets.support.text import near_miss

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]

YAML_SUFFIXES = (".yaml", ".yml")
MOST_FAULTS = 20  # that are told of a file

_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 8
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 60

Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Side = Annotated[int, Field(ge=64, le=8192)]
Count = Annotated[int, Field(ge=1, lt=1 << 31)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]  # with room for what is derived from it in 64 bits


class Section(BaseModel):
    """A mapping of a file: frozen, no other keys, no conversions, no nan."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def yaml_names(folder: Traversable) -> list[str]:
    """Names of the files of a folder, in alphabetical order."""
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def named_yaml(source: str | Path, what: str, shipped: Traversable, refusal: Refusal) -> tuple[str, str]:
    """Text of a shipped file, by name, or of a .yaml file of the user's; and what to call it in errors."""
    path = Path(source)
    if path.suffix in YAML_SUFFIXES:
        return read_text(path, refusal, most_bytes=TEXT_BYTES), str(path)
    known = yaml_names(shipped)
    if str(source) not in known:
        raise refusal(
            f"unknown {what} {str(source)!r}{near_miss(source, known)}; "
            f"allowed: {', '.join(known)}, or the path of a .yaml file of your own"
        )
    return (shipped / f"{source}.yaml").read_text(encoding="utf-8"), f"{source}.yaml"


def parse_yaml(text: str, where: str, model: type[Model], refusal: Refusal) -> Model:
    """The model that YAML text describes.

    Args:
        where: names the text in errors.
        refusal: what is raised when the text is no YAML, no mapping or unlike the model, with every fault.
    """
    return parse_document(read_mapping(text, where, model, refusal), where, model, refusal)


def read_mapping(text: str, where: str, model: type[BaseModel], refusal: Refusal) -> dict[str, Any]:
    """The mapping that YAML text holds, not compared with the model yet; raises as ``parse_yaml``."""
    try:
        raw = load_yaml(text)
    except ValueError as error:
        raise refusal(f"{where}: not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise refusal(
            f"{where}: found {type(raw).__name__}; "
            f"allowed: a mapping with the keys {', '.join(model.model_fields)}"
        )
    return raw


def parse_document(raw: Any, where: str, model: type[Model], refusal: Refusal) -> Model:
    """As ``parse_yaml``, of what has been read already."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise refusal(f"{where}: {'; '.join(faults(error, model))}") from None


def faults(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """pydantic's faults of a model in this project's words, one each; of many the first ones."""
    told = error.errors(include_url=False)
    details = [detail for detail in told if not _follows(detail, told)]
    more = [f"{len(details) - MOST_FAULTS} more"] if len(details) > MOST_FAULTS else []
    return [*(_fault(detail, model) for detail in details[:MOST_FAULTS]), *more]


def _follows(detail: ErrorDetails, told: Sequence[ErrorDetails]) -> bool:
    """Whether a fault is but another's consequence: a default that hangs on what is at fault itself, or a
    list that is too short without its faulty entries."""
    place = detail["loc"]
    inside = any(len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in told)
    return detail["type"] == "default_factory_not_called" or (detail["type"] == "too_short" and inside)


def spelled_short(value: object) -> str:
    """``repr`` of what a file holds, short enough for a line; YAML's aliases make pages of a few words."""
    return _SHORT.repr(value)


def _fault(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind = detail["type"]
    spelled, allowed = _follow(detail["loc"][:-1] if kind == "extra_forbidden" else detail["loc"], model)
    if kind == "extra_forbidden":
        name = str(detail["loc"][-1])
        key = f"{spelled}.{name}".removeprefix(".")
        return f"{key}: unknown key{near_miss(name, allowed)}; allowed: {', '.join(allowed)}"
    if kind == "missing":
        return f"{spelled}: missing"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_tag(detail, spelled)
    if kind == "value_error":
        return f"{spelled}: {detail['ctx']['error']}".removeprefix(": ")
    hint, expected = "", detail["msg"].removeprefix("Input should be ")
    if kind == "literal_error":
        words = re.findall(r"'([^']+)'", detail["ctx"]["expected"])
        hint = near_miss(spelled_short(detail["input"]).strip("'"), words)
    if kind == "string_pattern_mismatch":
        expected = f"text that matches {detail['ctx']['pattern']}"
    return f"{spelled}: found {spelled_short(detail['input'])}{hint}; allowed: {expected}"


def _wrong_tag(detail: ErrorDetails, spelled: str) -> str:
    """A section whose ``kind``, which says what else is in it, is missing or unknown."""
    key = f"{spelled}.{detail['ctx']['discriminator']}".replace("'", "")
    if detail["type"] == "union_tag_not_found":
        return f"{key}: missing"
    tag, expected = str(detail["ctx"]["tag"]), str(detail["ctx"]["expected_tags"])
    hint = near_miss(tag, re.findall(r"[\w-]+", expected))
    return f"{key}: found {tag!r}{hint}; allowed: {expected}"


def _follow(location: Location, model: type[BaseModel]) -> tuple[str, list[str]]:
    """A location as a reader of the file knows it, and the keys that are allowed in the mapping there.

    pydantic puts the ``kind`` of a section into the location as if it were a key, and ``[key]`` after a key
    that is itself at fault.
    """
    annotations: list[Any] = [model]
    spelled = ""
    for part in location:
        models = [found for annotation in annotations for found in _models(annotation)]
        if part == "[key]":
            continue
        if isinstance(part, int):
            spelled += f"[{part}]"
            annotations = [inner for a in annotations for inner in _inside(a, list, tuple)]
        elif of_kind := [m for m in models if part in _kinds(m)]:
            annotations = of_kind
        else:
            spelled += f".{part}"
            fields = [m.model_fields[part].annotation for m in models if part in m.model_fields]
            annotations = fields or [inner for a in annotations for inner in _inside(a, dict)[1:]]
    models = [found for annotation in annotations for found in _models(annotation)]
    return spelled.removeprefix("."), list(dict.fromkeys(name for m in models for name in m.model_fields))


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    return get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else ()


def _inside(annotation: Any, *containers: type) -> list[Any]:
    """Arguments of those containers that an annotation is or offers, such as key and value of a dict."""
    if get_origin(annotation) in containers:
        return list(get_args(annotation))
    if get_origin(annotation) in (Annotated, types.UnionType) or _is_union(annotation):
        return [found for inner in get_args(annotation) for found in _inside(inner, *containers)]
    return []


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation is or offers, not those inside of its containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, types.UnionType) or _is_union(annotation):
        return [model for inner in get_args(annotation) for model in _models(inner)]
    return []


def _is_union(annotation: Any) -> bool:
    return str(get_origin(annotation)) == "typing.Union"
