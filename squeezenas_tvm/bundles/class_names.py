"""What the classes of somebody's network are called: ``--labels``."""

from collections.abc import Sequence
from pathlib import Path

from search.data.class_entry import MOST_CHARS
from search.data.classes import CLASSES, LabelClass, unnamed
from squeezenas_tvm.bundles.manifest import MOST_CLASSES
from squeezenas_tvm.errors import UsageError
from targets.support.reading import read_text
from targets.support.strict_yaml import spelled_short


def read_class_names(source: str) -> tuple[LabelClass, ...]:
    """Classes by the name of a known set, or from a text file with a name a line.

    Raises UsageError: no such file, or lines that are no names.
    """
    if source in CLASSES:
        return CLASSES[source]
    path = Path(source)
    if not path.is_file():
        raise UsageError(
            f"--labels {source}: no such file; allowed: a text file with the name of a class a line, or "
            f"{', '.join(CLASSES)}"
        )
    names = [line.strip() for line in read_text(path, UsageError).splitlines()]
    while names and not names[-1]:
        names.pop()
    for number, name in enumerate(names, 1):
        if not name or not name.isprintable() or len(name) > MOST_CHARS:
            raise UsageError(
                f"--labels {source}, line {number}: found {spelled_short(name)}; allowed: printable text "
                f"of 1 to {MOST_CHARS} characters, a class a line"
            )
    if not 1 <= len(names) <= MOST_CLASSES:
        raise UsageError(f"--labels {source}: {len(names)} lines; allowed: 1 to {MOST_CLASSES}")
    colours = [known.color for known in unnamed(len(names))]
    pairs = enumerate(zip(names, colours, strict=True))
    return tuple(LabelClass(index, name, colour) for index, (name, colour) in pairs)


def check_count(classes: Sequence[LabelClass], count: int, network: Path, *, at_most: bool) -> None:
    """Raises UsageError where a network does not tell as many classes apart as have names.

    Args:
        at_most: nobody knows how many it tells apart; there are not more.
    """
    if not count:
        raise UsageError(
            f"--labels: {network} tells no classes apart as it is deployed; give --end argmax or topk"
        )
    if len(classes) > count or (len(classes) != count and not at_most):
        raise UsageError(
            f"--labels names {len(classes)} classes, and {network} tells {count} apart; give a name for each"
        )
