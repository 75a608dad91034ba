"""Pages of profiles, searches and trainings: whole, valid, self-contained, with the numbers of the files."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from cost_models.database.history import History
from cost_models.database.profiled import Profiled
from cost_models.database.rows import Row
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.kernel_models.accuracy import Errors
from cost_models.kernel_models.hold_outs import HoldOut
from cost_models.kernel_models.predictor import Predictor
from cost_models.network_models.network_model import NetworkModel
from search.costs.kernel_table import cost_table
from search.costs.objectives import OBJECTIVES
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from squeezenas_tvm import report, search, train
from squeezenas_tvm.profiling.measure import Measured
from squeezenas_tvm.profiling.summary import summarize
from targets import load_target
from targets.support.sealed import HTML, sealed

from ..faults import room_for
from .helpers import ROOT, SIZE, fill, kernels_of, pretend_processor, quick_target, refused_by
from .pages import SCRIPT, Page
from .test_search import RECIPE
from .test_train import ARCHITECTURE, STAGE
from .test_train import recipe as training_recipe

SHIPPED = ROOT / "cost_models" / "local-cpu"
HOSTILE = '"><script>alert(1)</script>&amp;'
check_refused = partial(refused_by, report.main)


def page_of(folder: Path, out: Path) -> Page:
    assert report.main([str(folder), "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">\n')
    page = Page(text)  # of the script and the rules it makes sure
    rest = text.replace(SCRIPT, "").replace("http-equiv", "")
    assert rest.count("<script") == 1
    assert not re.search(r"url\(|@import|http", rest)
    assert len(text) < 1_000_000
    assert page.tags.count("h1") == page.tags.count("title") == page.tags.count("main") == 1
    return page


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search of seconds, in which candidates were removed."""
    folder = tmp_path_factory.mktemp("search")
    judging = {"networks": 6, "frames": 1, "calibration_batches": 1}
    recipe = yaml.safe_load(RECIPE) | {"remove_below": 0.06, "judging": judging}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    words = [
        "--target",
        "jetson-xavier",
        "--data",
        "synthetic:4:64x64",
        "--recipe",
        str(folder / "tiny.yaml"),
    ]
    words += ["--resolution", "64x128", "--budget", "4ms", "--out", str(folder / "out")]
    assert search.main(words) == 0
    return folder / "out"


@pytest.fixture
def search_copy(searched: Path, tmp_path: Path) -> Path:
    """To break."""
    return Path(shutil.copytree(searched, tmp_path / "search"))


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile with a store, in which a kernel has no schedule that works, and what profile tells of it."""
    folder = tmp_path_factory.mktemp("profile")
    target = load_target(quick_target(folder))
    bad, *kernels = kernels_of()
    fill(folder, target, kernels)
    with MeasurementStore.open(folder / "measurements.sqlite") as store:
        (fingerprint,) = store.environments().values()
        table = LatencyTable.from_history(History.of(store, fingerprint), target.name)
    rows = {**table.rows, bad.key: Row("estimated", 4, estimate_s=1e-3, reason="<does not build>")}
    keys = [kernel.key for kernel in kernels_of()]
    made_for = Profiled(space="squeezenas-small", resolution=str(SIZE), outputs=19, kernels=keys)
    table = replace(table, rows=rows, machine="a quick machine", profiled=[made_for])
    table.save(folder, made_by="squeezenas_tvm profile, effort quick")
    seconds = [table.rows[kernel.key].median_s for kernel in kernels]
    predictor = Predictor.fit(kernels, seconds, fingerprint)
    predictor.save(folder, made_by="a test")
    errors = Errors(161, 0.0412, 0.03, 0.661, 0.873, 0.9912, 0.91, 0.02)
    tuning = {"trials": 966, "valid": 12, "wall_s": 100.0, "trials_per_minute": 580.0, "kernels": {}}
    tuning |= {f"{part}_s": 1.0 for part in ("sampling", "evolution", "build", "upload", "run")}
    found = {"random": HoldOut(("fifth 1",), 5, errors, {})}
    measured = Measured(table, tuning, None, {}, predictor, found)
    summarize(measured, kernels_of(), get_space("small"), SIZE, 19, folder)
    return folder


@pytest.fixture
def profile_copy(profiled: Path, tmp_path: Path) -> Path:
    """To break."""
    return Path(shutil.copytree(profiled, tmp_path / "profile"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of two epochs."""
    from search.architecture import dump_architecture

    folder = tmp_path_factory.mktemp("training")
    (folder / "smallest.yaml").write_text(dump_architecture(ARCHITECTURE))
    words = [str(folder / "smallest.yaml"), "--data", "synthetic:4:64x64", "--workers", "0"]
    words += ["--recipe", training_recipe(folder, STAGE), "--out", str(folder / "out")]
    assert train.main(words) == 0
    return folder / "out"


@pytest.fixture
def train_copy(trained: Path, tmp_path: Path) -> Path:
    """To break."""
    return Path(shutil.copytree(trained, tmp_path / "train"))


def test_shipped_table_is_shown_whole(tmp_path: Path) -> None:
    page = page_of(SHIPPED, tmp_path / "page.html")
    table = LatencyTable.load(SHIPPED)
    costs = cost_table(table, get_space("small"), Resolution(256, 512), segmentation_head(19))
    start = next(i for i, row in enumerate(page.rows) if row[0] == "position")
    names = page.rows[start][1:]
    for shown, entries in zip(page.rows[start + 1 : start + 21], costs.blocks, strict=True):
        for name, text in zip(names, shown[1:], strict=True):
            entry = entries[name]
            assert entry is not None
            assert text == (f"{entry.median_s * 1e3:.3f}" if entry.kernels else "0")
    assert page.row("tuned")[1] == str(sum(row.how == "tuned" for row in table.rows.values()))
    model = NetworkModel.load(SHIPPED, fingerprint=table.fingerprint)
    assert model.errors is not None
    assert page.row("estimates, each left out")[1:3] == ["64", f"{100 * model.errors.mape:.1f}"]
    assert page.charts.count("Estimated against measured latency of networks timed whole") == 1
    for group in ("plain sum of kernels\n", "squeezenas-small at "):
        assert sum(mark.startswith(group) for mark in page.marks) == 64
    assert table.machine in page.words


def test_estimates_are_those_of_the_networks_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from squeezenas_tvm import networks

    pretend_processor(monkeypatch)
    assert report.main([str(SHIPPED), "--out", str(tmp_path / "page.html"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["kind"], document["page"]) == ("profile", str(tmp_path / "page.html"))
    words = ["squeezenas-lat-small", "--target", "local-cpu", "--resolution", "512x1024", "--json"]
    assert networks.main(words) == 0
    (expected,) = json.loads(capsys.readouterr().out)
    (found,) = [
        network
        for network in document["networks"]
        if (network["name"], network["resolution"]) == ("squeezenas-lat-small", "512x1024")
    ]
    for end in ("median", "low", "high"):
        assert found[f"{end}_ms"] == pytest.approx(expected["estimated_latency_ms"][end])


def test_profile_says_what_its_store_and_documents_know(profiled: Path, tmp_path: Path) -> None:
    page = page_of(profiled, tmp_path / "page.html")
    assert "159 of 160 kernels measured" in page.words
    assert "Estimated, no schedule works: " in page.words
    assert "<does not build>" in page.words
    assert any(text.endswith("*") for row in page.rows for text in row)  # blocks with that kernel
    assert page.row("random fifths")[1:] == ["161", "4.1", "66.1", "87.3", "0.991", "91"]
    assert "squeezenas-small at 64x128: 966 trials (12 valid) in " in page.words
    assert "159 careful timings, 0 disturbed, 0 failed." in page.words
    assert "No network was timed whole" in page.words


def test_names_from_files_are_text_and_nothing_else(profile_copy: Path, tmp_path: Path) -> None:
    header = json.loads((profile_copy / "table.json").read_text())
    header |= {"machine": HOSTILE, "made_by": HOSTILE}
    (profile_copy / "table.json").write_text(json.dumps(header))
    page = page_of(profile_copy, tmp_path / "page.html")
    assert page.words.count(HOSTILE) == 3  # and Page has asserted that the reports' own script is alone


def test_search_is_shown_with_the_numbers_of_its_files(searched: Path, tmp_path: Path) -> None:
    page = page_of(searched, tmp_path / "page.html")
    told = json.loads((searched / "search.json").read_text())
    lines = [line.split(",") for line in (searched / "networks.csv").read_text().splitlines()[1:]]
    for group, count in (
        ("judged networks", len(lines)),
        ("Pareto front", len(told["front"])),
        ("chosen", 1),
    ):
        assert sum(mark.startswith(f"{group}\n") for mark in page.marks) == count
    chosen = next(float(line[1]) for line in lines if line[-2] == "1")
    assert f"{chosen:.3f}" in next(row for row in page.rows if row[0].endswith(" (chosen)"))
    for index, block in enumerate(told["chosen"]["options"]):
        position, beside, distribution = [row for row in page.rows if row[0] == str(index)]
        assert beside[1].split()[0] == block
        own_s = told["latency_s"]["positions"][index][block]
        assert position[1:4] == [
            block,
            f"{told['choices'][index][block]:.0%}",
            f"{own_s * 1e3:.3f}" if own_s else "0",
        ]
        assert sum(bool(text) and not text.startswith("†") for text in distribution[1:]) == len(
            told["choices"][index]
        )
    assert told["removed"]
    assert page.text.count(">†") == len(told["removed"])
    assert page.text.count('class="on"') == len(told["chosen"]["options"])
    assert sum(name.startswith("position ") for name in page.charts) == 20
    assert sum(name.endswith(" by epoch") for name in page.charts) == 6
    assert len(page.charts) == 20 + 6 + 3  # the front, networks as trained, blocks beside published ones
    assert "latency 4 ms" in page.words
    assert f"squeezenas-tvm train {searched / 'chosen.yaml'} --data synthetic:4:64x64" in page.words


def test_search_that_has_not_ended_is_shown_as_far_as_it_went(search_copy: Path, tmp_path: Path) -> None:
    for name in ("networks.csv", "chosen.yaml"):
        (search_copy / name).unlink()
    told = json.loads((search_copy / "search.json").read_text())
    told |= {"finished": False, "chosen": None, "choices": [], "front": [], "removed": [], "expected": {}}
    (search_copy / "search.json").write_text(json.dumps(told))
    (search_copy / "curves.csv").write_text(
        "".join((search_copy / "curves.csv").read_text().splitlines(keepends=True)[:3])
    )
    page = page_of(search_copy, tmp_path / "page.html")
    assert "not finished: 2 of 3 epochs, 6 networks judged" in page.words
    assert "the command that started it goes on with --resume" in page.words
    assert "Final distribution" not in page.words
    (search_copy / "curves.csv").unlink()
    assert "No epoch has ended yet." in page_of(search_copy, tmp_path / "page.html").words


def test_search_without_search_json_is_shown_by_its_other_files(search_copy: Path, tmp_path: Path) -> None:
    (search_copy / "search.json").unlink()
    page = page_of(search_copy, tmp_path / "page.html")
    assert "There is no search.json here, so task and final distribution are not known." in page.words
    assert "searched on synthetic for jetson-xavier by gumbel, latency, budget 4 ms" in page.words
    assert sum(name.endswith(" by epoch") for name in page.charts) == 6
    assert "Accuracy and cost of the judged networks" in page.charts


def test_training_is_shown_with_its_scores(trained: Path, tmp_path: Path) -> None:
    page = page_of(trained, tmp_path / "page.html")
    best = json.loads((trained / "best.json").read_text())
    assert f"mIoU {best['miou_percent']:.2f} % on val of synthetic" in page.words
    for name, iou in best["iou_percent"].items():
        assert page.row(name)[1] == ("-" if iou is None else f"{iou:.2f}")
    assert page.charts == ["Loss by epoch", "Scores by epoch", "Learning rate by epoch"]
    assert f"deploy {trained / 'architecture.yaml'} --target" in page.words


def test_training_that_has_not_ended_says_so(train_copy: Path, tmp_path: Path) -> None:
    assert "2 of 2 epochs, " in page_of(train_copy, tmp_path / "page.html").words
    lines = (train_copy / "curves.csv").read_text().splitlines(keepends=True)
    (train_copy / "curves.csv").write_text("".join(lines[:2]))
    page = page_of(train_copy, tmp_path / "page.html")
    assert "on val of synthetic; not finished: 1 of 2 epochs" in page.words
    (train_copy / "best.json").unlink()
    words = page_of(train_copy, tmp_path / "page.html").words
    assert "no epoch has been evaluated yet, 1 of 2 are done" in words
    (train_copy / "recipe.yaml").unlink()
    words = page_of(train_copy, tmp_path / "page.html").words
    assert "1 epochs are done, and none was evaluated" in words


def test_page_lies_in_the_folder_unless_told_otherwise(
    train_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(train_copy)]) == 0
    assert f"Page: {train_copy / 'report.html'}, " in capsys.readouterr().out
    assert (train_copy / "report.html").exists()


def test_folders_that_are_none_of_these(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_refused([str(tmp_path / "no")], "no: no such folder; give the one that profile, search or", capsys)
    said = "neither a profile (table.json, kernels.csv) nor a search (search.json, curves.csv) nor a training"
    check_refused([str(tmp_path)], said, capsys)
    (tmp_path / "measurements.sqlite").touch()
    check_refused([str(tmp_path)], "a profile that has not ended, without a table; the same profile", capsys)
    check_refused([str(tmp_path), "--out", "page.pdf"], "--out page.pdf: must end in .html", capsys)


def test_page_that_cannot_be_written(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.html").mkdir()
    words = [str(trained), "--out", str(tmp_path / "page.html")]
    check_refused(words, "page.html: cannot be written (Is a directory); name another place", capsys)


def test_curves_of_the_second_release_are_read(search_copy: Path, tmp_path: Path) -> None:
    """Its columns had no units: seconds, counts and bytes."""
    now = page_of(search_copy, tmp_path / "now.html")
    with (search_copy / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {f"expected_{own.column}": (f"expected_{name}", own.size) for name, own in OBJECTIVES.items()}
    older = [
        {names[key][0] if key in names else key: float(value) * names[key][1] if key in names else value
         for key, value in row.items()}
        for row in rows
    ]  # fmt: skip
    with (search_copy / "curves.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(older[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(older)
    assert "expected_latency," in (search_copy / "curves.csv").read_text()
    again = page_of(search_copy, tmp_path / "again.html")
    assert (again.charts, again.marks) == (now.charts, now.marks)


def edited(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            edited("curves.csv", "\n1,", "\nsecond,"),
            "curves.csv, line 3: epoch is 'second', where a number is",
        ),
        (
            edited("curves.csv", "expected_latency_ms", "hoped"),
            "line 1: no column expected_latency_ms;",
        ),
        (edited("curves.csv", "\n2,", "\n"), "curves.csv, line 4: 10 cells, the header has 11; the search"),
        (edited("networks.csv", "miou_percent", "miou"), "networks.csv, line 1: no column miou_percent"),
        (edited("networks.csv", ",1,1,", ",1,0,"), "networks.csv: one line must be of the chosen network"),
        (edited("search.json", '"finished": true', '"finished": true,,'), "search.json: damaged, not JSON ("),
        (
            edited("search.json", '"schema_version": 2', '"schema_version": 9'),
            "search.json: schema 9, this program reads 1 to 2; ",
        ),
        (edited("chosen.yaml", "blocks:", "blocks: {"), "chosen.yaml: not YAML: "),
        (lambda folder: (folder / "networks.csv").unlink(), "networks.csv: cannot be read (No such file"),
    ],
)
def test_damaged_searches(
    damage: Callable[[Path], None], said: str, search_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(search_copy)
    check_refused([str(search_copy)], said, capsys)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (edited("best.json", '"seed": 0,', '"seed": 0'), "best.json, line 7: not JSON ("),
        (edited("best.json", '"schema_version": 1', '"schema_version": 3'), "schema 3, this program reads 1"),
        (edited("best.json", '"data"', '"date"'), "best.json: not what train writes of its best weights"),
        (edited("curves.csv", "only,2,", "only,,"), "curves.csv, line 3: epoch is '', where a number is"),
        (
            lambda folder: (folder / "curves.csv").write_bytes(b"\xff" * 9),
            "curves.csv: damaged, no text in UTF-8 (byte 0)",
        ),
    ],
)
def test_damaged_trainings(
    damage: Callable[[Path], None], said: str, train_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(train_copy)
    check_refused([str(train_copy)], said, capsys)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            edited("kernels.csv", "estimated", "guessed"),
            "kernels.csv: differs from its checksum in table.json",
        ),
        (edited("table.json", '"schema_version": 3', '"schema_version": 8'), "table.json: schema 8, this"),
        (edited("table.json", '"boards": []', '"boards": [{}]'), "table.json: boards are not what profile"),
        (
            edited("squeezenas-small-64x128.json", '"valid"', '"vali"'),
            "tuning.valid: missing",
        ),
        (lambda f: (f / "measurements.sqlite").write_bytes(b"no database"), "measurements.sqlite: "),
    ],
)
def test_damaged_profiles(
    damage: Callable[[Path], None], said: str, profile_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(profile_copy)
    check_refused([str(profile_copy)], said, capsys)


def test_a_page_of_others_is_not_written_over(searched: Path, tmp_path: Path, capfd: Any) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>mine</p>\n")
    given = [str(searched), "--out", str(page)]
    check_refused(given, "page.html: would be overwritten, and squeezenas-tvm did not write it so", capfd)
    assert page.read_text() == "<p>mine</p>\n"
    page.unlink()
    assert report.main(given) == 0
    assert report.main(given) == 0


def test_without_room_the_old_page_stays(
    searched: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    given = [str(searched), "--out", str(page)]
    page.write_text(sealed("<p>older</p>\n", HTML))
    before = page.read_bytes()
    with room_for(8192):
        check_refused(given, "page.html: cannot be written (File too large)", capfd)
    assert page.read_bytes() == before
    assert list(tmp_path.iterdir()) == [page]
