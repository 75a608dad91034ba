"""The report of a training: its curves, and what is known of the best weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.architecture import load_architecture
from search.tasks.words import WORDS, Column, TaskWords
from search.training.recipe import load_recipe
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.reports.charts import Series, chart, row
from squeezenas_tvm.reports.evaluation import evaluations_below
from squeezenas_tvm.reports.files import CsvRow, header, read_csv, read_json
from squeezenas_tvm.reports.page import (
    NONE,
    Markup,
    PageSection,
    Report,
    bar,
    command,
    facts,
    join,
    paragraph,
    table,
)
from squeezenas_tvm.training.command import commands_after_training

CURVES, BEST, ARCHITECTURE, RECIPE = "curves.csv", "best.json", "architecture.yaml", "recipe.yaml"
_AGAIN = "the train command with --resume writes it again from the last checkpoint"
_NUMBERS = ("epoch", "step", "learning_rate", "loss", "seconds")  # and the task's scores
_TAUGHT = "distillation"  # there where a teacher was


def training_report(folder: Path) -> Report:
    """Of a folder of ``train``, as far as it went.

    Raises:
        UsageError, SearchError: a file is damaged, or of a newer schema.
    """
    known = header(folder / CURVES) if (folder / CURVES).exists() else []
    words, rows = _words(folder, known), []
    if (folder / CURVES).exists():
        scores = [column.name for column in words.columns]
        numbers = [*_NUMBERS, *scores, *{_TAUGHT} & set(known)]
        rows = read_csv(folder / CURVES, numbers, ("stage",), optional=scores, again=_AGAIN)
    best = _best(folder / BEST, words) if (folder / BEST).exists() else None
    name = load_architecture(folder / ARCHITECTURE).name if (folder / ARCHITECTURE).exists() else "a network"
    planned = load_recipe(folder / RECIPE).epochs if (folder / RECIPE).exists() else None
    sections = [PageSection("Result", _result(best, rows, planned, words))]
    sections.append(PageSection("Curves", _curves(best, rows, words)))
    if best:
        sections += [_details(best, *named) for named in words.details.items() if named[0] in best]
        sections += evaluations_below(folder)
        sections.append(PageSection("Next", _next(folder, best)))
    summary = f"no epoch has been evaluated yet, {_done(rows, planned)} are done"
    if best:
        found = best[words.primary.name]
        score = "not evaluated," if found is None else f"{words.primary.text(found)} on {best['split']} of"
        summary = f"{score} {best['data']}"
        if planned and len(rows) < planned:
            summary += f"; not finished: {_done(rows, planned)} epochs"
    document = {"architecture": name, "epochs": len(rows), "epochs_planned": planned, "best": best}
    return Report(f"Training of {name}", summary, sections, document, _figures(best, rows, planned, words))


def _figures(
    best: dict[str, Any] | None, rows: Sequence[CsvRow], planned: int | None, words: TaskWords
) -> list[tuple[str, str]]:
    """What is read first."""
    found: list[tuple[str, str]] = []
    for column in words.columns if best else ():
        if best and best[column.name] is not None:
            found.append((_score(column, best[column.name]), f"{column.title} on {best['split']}"))
    spent_s = sum(one.numbers["seconds"] for one in rows)
    return [*found, (_done(rows, planned), "epochs"), (f"{spent_s / 3600:.3g} h", "of training")]


def _words(folder: Path, known: Sequence[str]) -> TaskWords:
    """By the columns of curves.csv, else by what best.json says, which before there were tasks says none."""
    task = "segmentation"
    if not known and (folder / BEST).exists():
        task = str(read_json(folder / BEST, 1, _AGAIN).get("task", task))
    named = WORDS.get(task, WORDS["segmentation"])
    return next((own for own in WORDS.values() if own.primary.name in known), named)


def _best(path: Path, words: TaskWords) -> dict[str, Any]:
    best = read_json(path, 1, _AGAIN)
    texts = ("architecture", "recipe", "data", "stage", "chosen_by")
    sound = all(isinstance(best.get(key), str) for key in texts) and isinstance(best.get("epoch"), int)
    scores = [column.name for column in words.columns]
    numbers = [best.get(name) for name in scores]
    details = [best.get(name) for name in words.details if name in best or name == "iou_percent"]
    sound = sound and {"split", *scores} <= best.keys() and all(isinstance(own, dict) for own in details)
    teacher = best.get("teacher", {"name": "", "weights_sha256": ""})
    sound = sound and isinstance(teacher, dict) and {"name", "weights_sha256"} <= teacher.keys()
    numbers += [value for own in details if isinstance(own, dict) for value in own.values()]
    if not sound or not all(number is None or isinstance(number, int | float) for number in numbers):
        raise UsageError(f"{path}: not what train writes of its best weights; {_AGAIN}")
    return best


def _done(rows: Sequence[CsvRow], planned: int | None) -> str:
    return f"{len(rows)} of {planned}" if planned else str(len(rows))


def _result(
    best: dict[str, Any] | None, rows: Sequence[CsvRow], planned: int | None, words: TaskWords
) -> Markup:
    done = f"{_done(rows, planned)} epochs"
    if best is None:
        return paragraph(f"{done} are done, and none was evaluated: there are no best weights yet.")
    spent_s = sum(one.numbers["seconds"] for one in rows)
    return facts(
        {
            "Architecture": best["architecture"],
            "Data": best["data"],
            "Recipe": f"{best['recipe']}, seed {best.get('seed', NONE)}",
            **({"Teacher": _teacher(best["teacher"])} if "teacher" in best else {}),
            "Best weights": f"stage {best['stage']}, epoch {best['epoch']}, chosen by {best['chosen_by']}",
            **{_name(column): _score(column, best[column.name]) for column in words.columns},
            "Trained": f"{done}, {spent_s / 3600:.2f} h",
            "Weights": f"{best.get('weights')}, SHA-256 {best.get('weights_sha256')}",
        }
    )


def _teacher(teacher: dict[str, str]) -> str:
    return f"{teacher['name']}, SHA-256 of its weights {teacher['weights_sha256']}"


def _name(column: Column) -> str:
    """As the page begins a line with it."""
    return column.title[0].upper() + column.title[1:] if column.title != "mIoU" else column.title


def _score(column: Column, value: float | None) -> str:
    return NONE if value is None else f"{column.number(value)} {column.unit}"


def _curves(best: dict[str, Any] | None, rows: Sequence[CsvRow], words: TaskWords) -> Markup:
    def points(name: str) -> list[tuple[float, float]]:
        return [(float(index), one.numbers[name]) for index, one in enumerate(rows, 1)]

    unit = words.primary.unit  # what is in another one stands in curves.csv
    same = [column for column in words.columns if column.unit == unit]
    scores = [Series(own.title, points(own.name), colour=1 + 2 * place) for place, own in enumerate(same)]
    scores += _best_epoch(best, rows, words)
    losses = [Series("loss", points("loss"))]
    if rows and _TAUGHT in rows[0].numbers:
        losses.append(Series("of it by the teacher", points(_TAUGHT), colour=4))
    stages = dict.fromkeys(one.texts["stage"] for one in rows)
    return join(
        [
            row(
                [
                    chart("Loss by epoch", losses, x="epoch", y="loss"),
                    chart("Scores by epoch", scores, x="epoch", y=unit),
                    chart(
                        "Learning rate by epoch",
                        [Series("learning rate at the end", points("learning_rate"), colour=4)],
                        x="epoch",
                        y="learning rate",
                    ),
                ]
            ),
            paragraph(f"Epochs are counted over all stages: {', '.join(stages) or NONE}."),
        ]
    )


def _best_epoch(best: dict[str, Any] | None, rows: Sequence[CsvRow], words: TaskWords) -> list[Series]:
    """A mark where the weights are from that were kept."""
    if best is None or best[words.primary.name] is None:
        return []
    own = [
        (float(index), one.numbers[words.primary.name])
        for index, one in enumerate(rows, 1)
        if one.texts["stage"] == best["stage"] and one.numbers["epoch"] == best["epoch"]
    ]
    return [Series("best weights", own, "dots", 2, 5.0)]


def _details(best: dict[str, Any], key: str, named: tuple[str, str]) -> PageSection:
    """What a score is made of: shares as bars, the largest first, other numbers as they are."""
    one, score = named
    values = sorted(best[key].items(), key=lambda item: -(item[1] if item[1] is not None else -1))
    if score.endswith("%"):
        rows = [[name, NONE if n is None else bar(n / 100, f"{n:.2f}")] for name, n in values]
    else:
        rows = [[name, NONE if n is None else f"{n:.2f}"] for name, n in values]
    title = {"class": "Classes", "category": "Categories"}.get(one, f"{score.split()[0]} of each {one}")
    return PageSection(title, table([one, score], rows))


def _next(folder: Path, best: dict[str, Any]) -> Markup:
    return command("\n".join(commands_after_training(folder / ARCHITECTURE, best, folder)))
