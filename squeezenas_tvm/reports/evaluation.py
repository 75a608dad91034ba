"""What an evaluation kept: frames under their labels beside the truth, and classes taken for others."""

import base64
import math
from io import BytesIO
from pathlib import Path

from PIL import Image

from search.data.image_files import read_image
from search.data.plain_images import ImageError
from search.tasks.words import WORDS
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.evaluation.kept import FILE, SIDES, EvaluationDocument, ShownFrame, picture_name
from squeezenas_tvm.reports.page import (
    Heat,
    Markup,
    PageSection,
    Report,
    bullets,
    element,
    facts,
    heat_map,
    join,
    paragraph,
)

_WIDEST = 480  # pixels of a picture on a page
_QUALITY = 80
_NAMED = 5  # confusions in words
_SAID = {"truth": "as it is labelled", "found": "as the network sees it"}


def evaluation_report(folder: Path) -> Report:
    """Of a folder that ``evaluate --out`` wrote.

    Raises UsageError: a file is damaged, or of a newer schema.
    """
    told = EvaluationDocument.load(folder / FILE)
    words = WORDS["segmentation"]
    known = [column for column in words.evaluated if told.scores.get(column.name) is not None]
    figures = [(f"{column.number(told.scores[column.name])} {column.unit}", column.title) for column in known]
    about = {
        "Network": told.network,
        "Weights": told.weights or "",
        "Ran as": told.runs,
        "At": told.resolution,
        "Data": f"{told.frames} frames of {told.data} {told.split}",
    }
    sections = [PageSection("What was evaluated", facts(about)), *_sections(folder, told, "")]
    document = told.model_dump(mode="json", exclude={"schema_version", "made_by"})
    return Report(f"Evaluation of {told.network}", words.said(told.scores), sections, document, figures)


def evaluations_below(folder: Path) -> list[PageSection]:
    """Of the evaluations in folders of a training. Raises UsageError: a file of one is damaged."""
    sections = []
    for path in sorted(folder.glob(f"*/{FILE}")):
        told = EvaluationDocument.load(path)
        sections += _sections(path.parent, told, f" of {path.parent.name}, {told.data} {told.split}")
    return sections


def _sections(folder: Path, told: EvaluationDocument, whose: str) -> list[PageSection]:
    sections = [PageSection(f"Frames{whose}", _frames(folder, told))] if told.shown else []
    return [*sections, PageSection(f"Classes taken for others{whose}", _confusion(told))]


def _frames(folder: Path, told: EvaluationDocument) -> Markup:
    pairs = [
        element("div", *(_figure(folder, own, side) for side in SIDES), class_="frames") for own in told.shown
    ]
    keys = [
        element("span", own.name, class_="key", style=f"--c:rgb({' '.join(map(str, own.color))})")
        for own in told.classes
    ]
    said = (
        f"The best, the median and the worst of {told.frames} frames by their own mIoU, each as it is "
        "labelled and as the network sees it. What is not labelled is left as it is."
    )
    return join([paragraph(said), element("p", *keys), *pairs])


def _figure(folder: Path, own: ShownFrame, side: str) -> Markup:
    said = f"{own.rank}: {own.name}, {_SAID[side]}"
    image = element(
        "img", src=embedded(folder / picture_name(own.rank, side), EvaluationDocument.AGAIN), alt=said
    )
    return element("figure", image, element("figcaption", f"{said}; mIoU {own.miou_percent:.1f} %"))


def embedded(path: Path, again: str) -> str:
    """A picture, small enough to travel in a page.

    Args:
        again: how it comes back where it cannot be read.

    Raises UsageError.
    """
    try:
        picture = Image.fromarray(read_image(path))
    except ImageError as error:
        raise UsageError(f"{error}; {again}") from None
    if picture.width > _WIDEST:
        picture = picture.resize((_WIDEST, max(1, round(picture.height * _WIDEST / picture.width))))
    content = BytesIO()
    picture.save(content, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _confusion(told: EvaluationDocument) -> Markup:
    names = [own.name for own in told.classes]
    rows, mistakes = {}, []
    for index, (name, counts) in enumerate(zip(names, told.confusion, strict=True)):
        total = sum(counts)
        shares = [count / total if total else 0.0 for count in counts]
        rows[name] = [
            Heat(_percent(share), math.sqrt(share) if share else None, marked=place == index)
            for place, share in enumerate(shares)
        ]
        mistakes += [(share, name, names[p]) for p, share in enumerate(shares) if p != index and share]
    most = sorted(mistakes, reverse=True)[:_NAMED]
    lines = [f"{share:.0%} of {true} is taken for {given}" for share, true, given in most]
    said = (
        "Of the pixels of each class, a row, how many percent were given each class; what is right is "
        "framed. Most often:"
    )
    return join([paragraph(said), bullets(lines) or paragraph("nothing."), heat_map("true", names, rows)])


def _percent(share: float) -> str:
    if not share:
        return ""
    return f"{100 * share:.0f}" if share >= 0.095 else f"{100 * share:.1f}" if share >= 0.0005 else "< 0.1"
