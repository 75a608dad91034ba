"""The weights that a training begins with: its network's own, or those of another one, remapped."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.architecture import Architecture
from search.networks.names import head_tensors
from search.networks.weights import Array, load_beginning
from search.remapping.begin import begin_network
from search.remapping.donor import has_kin, named_file
from search.remapping.table import FILE, csv_text

_NAMED = 12  # tensors that are named in a line

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Initial:
    """What a training begins with.

    Attributes:
        tensors: by our names; what is left out is made anew.
        table: of what is from where, as CSV, where the weights may be another network's.
        lines: what the log says of it.
    """

    tensors: Mapping[str, Array]
    table: str | None = None
    lines: Sequence[str] = ()

    def files(self, out: Path) -> dict[Path, str]:
        """What is written beside the training."""
        return {out / FILE: self.table} if self.table else {}

    def tell(self) -> None:
        """In the log."""
        for line in self.lines:
            log.info("%s", line)


def load_initial(initial: str | Path | None, architecture: Architecture, *, new_head: bool) -> Initial:
    """Weights of the network, or of another one if its blocks have kin; none where none are named.

    Args:
        initial: see ``search.remapping.donor.find_donor``.
        new_head: take all but what tells the classes apart.

    Raises what ``begin_network`` and ``load_beginning`` do.
    """
    if initial is None:
        return Initial({})
    if has_kin(architecture.search_space):
        begun = begin_network(architecture, initial, new_head=new_head)
        return Initial(begun.tensors, csv_text(begun.plan), begun.lines())
    _, path = named_file(initial)
    begin = load_beginning(architecture, path)
    if new_head:
        begin = begin.without(head_tensors(architecture))
    lines = []
    if begin.fresh:
        taken, classes = len(begin.tensors), len(architecture.labels)
        what = f"{classes} classes" if classes else architecture.task
        fresh = f"freshly initialised, for {what}: {_named(begin.fresh)}"
        lines.append(f"{path}: {taken} tensors are taken; {fresh}")
    if begin.left:
        lines.append(f"{path}: not used: {_named(begin.left)}")
    return Initial(begin.tensors, lines=lines)


def _named(names: Sequence[str]) -> str:
    """The first ones, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
