"""YAML files with a pydantic schema: all faults of a file in one message, unknown keys with the near miss."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from search.errors import SearchError, near_miss

if TYPE_CHECKING:
    from importlib.abc import Traversable

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]

YAML_SUFFIXES = (".yaml", ".yml")


def yaml_names(folder: "Traversable") -> list[str]:
    """Names of the files of a folder, in alphabetical order."""
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def named_yaml(
    source: str | Path, what: str, shipped: "Traversable", refusal: type[SearchError]
) -> tuple[str, str]:
    """Text of a shipped file, by name, or of a .yaml file of the user's; and what to call it in errors."""
    path = Path(source)
    if path.suffix in YAML_SUFFIXES:
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise refusal(f"{path}: cannot be read as a YAML file ({error})") from None
    known = yaml_names(shipped)
    if str(source) not in known:
        raise refusal(
            f"unknown {what} {str(source)!r}{near_miss(str(source), known)}; "
            f"allowed: {', '.join(known)}, or the path of a .yaml file of your own"
        )
    return (shipped / f"{source}.yaml").read_text(encoding="utf-8"), f"{source}.yaml"


def parse_yaml(text: str, where: str, model: type[Model], refusal: type[SearchError]) -> Model:
    """The model that YAML text describes.

    Args:
        where: names the text in errors.
        refusal: what is raised when the text is no YAML, no mapping or unlike the model, with every fault.
    """
    try:
        raw: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise refusal(f"{where}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise refusal(f"{where}: must be a mapping with the keys {', '.join(model.model_fields)}")
    return parse_document(raw, where, model, refusal)


def parse_document(raw: Any, where: str, model: type[Model], refusal: type[SearchError]) -> Model:
    """As ``parse_yaml``, of what has been read already."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        faults = [_fault(detail, model) for detail in error.errors(include_url=False)]
        raise refusal(f"{where}: {'; '.join(faults)}") from None


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
        return _wrong_tag(detail, spelled, allowed)
    if kind == "value_error":
        return f"{spelled}: {detail['ctx']['error']}".removeprefix(": ")
    hint, expected = "", detail["msg"].removeprefix("Input should be ")
    if kind == "literal_error":
        hint = near_miss(str(detail["input"]), re.findall(r"'([^']+)'", detail["ctx"]["expected"]))
    return f"{spelled}: found {detail['input']!r}{hint}; allowed: {expected}"


def _wrong_tag(detail: ErrorDetails, spelled: str, allowed: list[str]) -> str:
    """A section whose ``kind``, which says what else is in it, is missing or unknown."""
    key = f"{spelled}.{detail['ctx']['discriminator']}".replace("'", "")
    if detail["type"] == "union_tag_not_found":
        return f"{key}: missing"
    tag, expected = str(detail["ctx"]["tag"]), str(detail["ctx"]["expected_tags"])
    hint = near_miss(tag, re.findall(r"[\w-]+", expected))
    return f"{key}: found {tag!r}{hint}; allowed: {expected}"


def _follow(location: Location, model: type[BaseModel]) -> tuple[str, list[str]]:
    """A location as a reader of the file knows it, and the keys that are allowed in the mapping there.

    pydantic puts the ``kind`` of a section into the location as if it were a key.
    """
    spelled, models = "", [model]
    for part in location:
        if isinstance(part, int):
            spelled += f"[{part}]"
        elif of_kind := [m for m in models if part in _kinds(m)]:
            models = of_kind
        else:
            spelled += f".{part}"
            fields = [m.model_fields[part].annotation for m in models if part in m.model_fields]
            models = [inner for annotation in fields for inner in _models(annotation)]
    return spelled.removeprefix("."), sorted({name for m in models for name in m.model_fields})


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    return get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else ()


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Every model that a type annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]
