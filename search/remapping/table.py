"""A plan for people: a table with a row a block, a line that sums it up, and a CSV file. No PyTorch."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields

from search.remapping.blocks import parsed
from search.remapping.moves import Place, moves
from search.remapping.plan import BlockPlan, Plan
from search.remapping.streams import keeps_shape

FILE = "remapped.csv"
TAKEN, WIDENED, CROPPED, IDENTITY, PASSED, NEW, DROPPED, EMPTY = (
    "taken",
    "widened",
    "cropped",
    "identity",
    "passed on",
    "new",
    "dropped",
    "empty",
)


@dataclass(frozen=True)
class Row:
    """What became of one part.

    Attributes:
        part: of the network, ``blocks.3``; empty for what is the donor's alone.
        block: what stands there; ``donor_part`` and ``donor_block`` are where its weights are from.
        what: ``taken`` as it is; ``widened``, in channels, kernel or groups, to compute the same;
            ``cropped``, which loses something; an ``identity`` at first; ``passed on``, what comes in;
            ``new``; ``dropped``; ``empty``, of a skip that has no weights.
        changes: one after another.
    """

    part: str
    block: str
    donor_part: str
    donor_block: str
    what: str
    changes: str = ""


def rows(plan: Plan) -> list[Row]:
    """All of it: stem, blocks in order, what the donor has more, decoder, classes."""
    return [_stem(plan), *(_row(plan, block) for block in plan.blocks), *_rest(plan)]


def csv_text(plan: Plan) -> str:
    """``rows`` as a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Row)])
    writer.writerows(astuple(row) for row in rows(plan))
    return text.getvalue()


def lines(plan: Plan) -> list[str]:
    """Aligned columns; of a supernet a line a position, with how many candidates became what."""
    found = rows(plan)
    if plan.supernet:
        found = _by_position(found)
    cells = [
        (row.part or "-", row.block, _joined(row.donor_part, row.donor_block), row.what, row.changes)
        for row in found
    ]
    cells.insert(0, ("part", "block", "donor", "weights", "changes"))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def summary(plan: Plan) -> str:
    """What became of the blocks, one line."""
    count = Counter(row.what for row in rows(plan) if row.part.startswith("blocks."))
    what = "candidates" if plan.supernet else "blocks"
    told = [
        f"{count[word]} {word}" for word in (TAKEN, WIDENED, CROPPED, IDENTITY, PASSED, NEW) if count[word]
    ]
    if count[EMPTY]:
        told.append(f"{count[EMPTY]} empty")
    if plan.dropped:
        told.append(f"{len(plan.dropped)} of the donor's dropped")
    return f"weights of {plan.donor.name}: of {sum(count.values())} {what} {', '.join(told)}"


def _stem(plan: Plan) -> Row:
    new, old = plan.space.stem, plan.donor_space.stem
    block = f"3→{new}, stride 2"
    if not plan.stem:
        return Row("stem", block, "", "", NEW)
    return Row("stem", block, "stem", f"3→{old}", *_width("outputs", old, new))


def _width(words: str, old: int, new: int) -> tuple[str, str]:
    """What became of so many channels, and the change in words."""
    if old == new:
        return TAKEN, ""
    return WIDENED if new > old else CROPPED, f"{words} {old}→{new}"


def _row(plan: Plan, block: BlockPlan) -> Row:
    position = plan.space.positions[block.index]
    stride = f", stride {position.stride}" if position.stride > 1 else ""
    name = f"{block.block} {position.in_channels}→{position.out_channels}{stride}"
    part = f"blocks.{block.index}"
    if plan.supernet:
        part, name = f"{part}.{block.block}", name.partition(" ")[2]
    if block.how == "skip":
        return Row(part, name, *_source(block), EMPTY)
    if block.how == "new":
        return Row(part, name, "", "", NEW)
    if block.how == "passing":
        return Row(part, name, "", "", PASSED)
    if block.how == "closed":
        near = "adds nothing at first" + ("" if block.source is None else ", else like that block")
        return Row(part, name, *_source(block), IDENTITY, near)
    assert block.source is not None
    old = Place(plan.donor_space.positions[block.source], parsed(block.of or ""))
    found = moves(old, Place(position, parsed(block.block)))
    what = TAKEN if not found else WIDENED if all(move.exact for move in found) else CROPPED
    return Row(part, name, *_source(block), what, ", ".join(move.words for move in found))


def _source(block: BlockPlan) -> tuple[str, str]:
    return ("", "") if block.source is None else (f"blocks.{block.source}", block.of or "")


def _rest(plan: Plan) -> Iterator[Row]:
    """What the donor has more, and all behind the blocks."""
    blocks = plan.donor_space.short_form(plan.donor.genotype)
    for index in plan.dropped:
        loss = "added to its input" if keeps_shape(plan.donor_space.positions[index]) else ""
        yield Row("", "", f"blocks.{index}", blocks[index], DROPPED, loss)
    if plan.space.head:
        yield _head(plan, plan.space.head)
    yield _decoder(plan)
    noun = "class" if plan.donor.task == "segmentation" else "output"
    for index, (name, source) in enumerate(zip(plan.classes.names, plan.classes.sources, strict=True)):
        if source is None:
            changes = "the mean of the donor's" if plan.classes.found else ""
            yield Row(f"{noun} {index}", name, "", "", NEW, changes)
        else:
            given = f"{noun} {source}"
            yield Row(f"{noun} {index}", name, given, plan.classes.donor[source], TAKEN)


def _head(plan: Plan, width: int) -> Row:
    old = plan.donor_space.head
    block = f"{plan.space.positions[-1].out_channels}→{width}"
    if not plan.head:
        return Row("head", block, "", "", NEW)
    if old is None:
        room = width >= 2 * plan.donor_space.positions[-1].out_channels
        return Row("head", block, "", "", PASSED if room else CROPPED, "each channel and its negative")
    return Row("head", block, "head", f"→{old}", *_width("outputs", old, width))


def _decoder(plan: Plan) -> Row:
    kind, old = plan.space.decoder, plan.donor_space
    if not plan.decoder:
        return Row("decoder", kind, "", "", NEW)
    what, middle = _width("middle", old.mid_channels, plan.space.mid_channels)
    multiplied = "the donor's last convolution multiplied in" if old.head and not plan.space.head else ""
    fine = "" if plan.low else "fine map new"
    if multiplied or fine:
        what = CROPPED
    return Row(
        "decoder", kind, "decoder", old.decoder, what, ", ".join(filter(None, (middle, multiplied, fine)))
    )


def classes_told(plan: Plan) -> str:
    """Which of the donor's classes are which, one line."""
    match, count = plan.classes, len(plan.classes.sources)
    if not match.found:
        return "what tells classes apart, or what else its outputs are, begins anew"
    nouns = "classes" if plan.donor.task == "segmentation" else "outputs"
    if match.by_order:
        return f"{count} {nouns} in their order"
    named = list(zip(match.names, match.sources, strict=True))
    pairs = [(name, match.donor[source]) for name, source in named if source is not None]
    other = [f"{own} from {theirs}" for own, theirs in pairs if own != theirs]
    new = [name for name, source in named if source is None]
    told = f"{match.found} of {count} {nouns} by name"
    if other:
        told += f" ({', '.join(other)})"
    return told + (f"; new, the mean of the donor's: {', '.join(new)}" if new else "")


def _by_position(found: Sequence[Row]) -> list[Row]:
    """Rows of the candidates of a position as one."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        part = ".".join(row.part.split(".")[:2]) if row.part.startswith("blocks.") else row.part
        grouped.setdefault((part, "" if part else row.donor_part), []).append(row)
    return [own[0] if len(own) == 1 else _together(part, own) for (part, _), own in grouped.items()]


def _together(part: str, own: Sequence[Row]) -> Row:
    first = next((row for row in own if row.donor_part), own[0])
    count = Counter(row.what for row in own)
    told = ", ".join(f"{number} {what}" for what, number in count.items())
    return Row(part, first.block, first.donor_part, first.donor_block, told)


def _joined(part: str, block: str) -> str:
    return f"{part} {block}".strip()
