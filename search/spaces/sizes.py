"""Sizes of a space that its name says: ``fasterseg-student:layers=8,base=3``."""

import re
from collections.abc import Mapping

from search.errors import UnknownSpace
from targets.support.text import near_miss


def read_sizes(space: str, sizes: str, most: Mapping[str, int], example: str) -> dict[str, int]:
    """What stands behind the colon of a space's name.

    Args:
        space: the name before the colon.
        sizes: such as ``layers=8,base=3``.
        most: which sizes there are, and how large each may be.
        example: sizes that the space takes.

    Raises UnknownSpace where they are none.
    """
    found: dict[str, int] = {}
    for part in sizes.split(","):
        name, _, number = part.partition("=")
        known = name in most and name not in found and re.fullmatch(r"[0-9]{1,4}", number)
        if not known or int(number) > most[name]:
            allowed = ", ".join(f"{own} up to {limit}" for own, limit in most.items())
            raise UnknownSpace(
                f"space {space}:{sizes}: {part!r} is no size{near_miss(name, most)}; allowed: {allowed}, "
                f"each once, such as {space}:{example}"
            )
        found[name] = int(number)
    return found


def sized_name(space: str, usual: Mapping[str, int], found: Mapping[str, int]) -> str:
    """The one name of a size: what differs from the usual, in the order of that."""
    other = [f"{name}={found[name]}" for name, value in usual.items() if found.get(name, value) != value]
    return f"{space}:{','.join(other)}" if other else space
