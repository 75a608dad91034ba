"""A class as files of the user's tell it: data sets and architectures. No PyTorch."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

from search.data.classes import LabelClass
from targets.support.strict_yaml import Section, Text, spelled_short

MOST_CHARS = 64  # of a name: it stands in tables and legends


def _shown(name: str) -> str:
    if name != name.strip() or not name.isprintable() or len(name) > MOST_CHARS:
        raise ValueError(
            f"found {spelled_short(name)}; allowed: printable text of at most {MOST_CHARS} characters, "
            "without spaces at its ends"
        )
    return name


Value = Annotated[int, Field(ge=0, le=255)]
Rgb = Annotated[tuple[Value, Value, Value], Field(strict=False)]
Shown = Annotated[Text, AfterValidator(_shown)]


class ClassEntry(Section):
    """A class; its place in the list is the class index.

    Attributes:
        color: red, green, blue: in overlays, and in label files in colour.
        category: the coarser class it belongs to; all classes have one, or none has.
    """

    name: Shown
    color: Rgb
    category: Shown | None = None


def class_entries(labels: Iterable[LabelClass]) -> list[ClassEntry]:
    """Known classes as a file lists them."""
    return [ClassEntry(name=own.name, color=own.color, category=own.category or None) for own in labels]
