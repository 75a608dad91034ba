"""What the commands answer to tables and predictors that are damaged, mixed, too small or asked too far."""

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cost_models.cost_model import CostModel
from cost_models.database.table import HEADER, ROWS, LatencyTable
from cost_models.errors import IncompatiblePredictor
from cost_models.kernel_models.features import FEATURES_VERSION
from cost_models.kernel_models.predictor import MANIFEST, TREES, Predictor
from cost_models.lookup import cost_model
from cost_models.tuning.effort import Effort
from squeezenas_tvm.predict import main
from squeezenas_tvm.profiling.measure import Wanted, measure_kernels
from targets import load_target

from .helpers import NAME, SIZE, fill, kernels_of, refused_by

Spoil = Callable[[Path], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a table of local-cpu with all kernels of Small at 64x128, by a formula."""
    folder = tmp_path_factory.mktemp("sound")
    fill(folder, load_target("local-cpu"), kernels_of())
    measure_kernels(load_target("local-cpu"), Wanted(kernels=[], effort=Effort.alone(0)), folder)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy to spoil: the table and its predictor."""
    for name in (HEADER, ROWS, MANIFEST, TREES):
        shutil.copy(sound / name, tmp_path)
    return tmp_path


def put_rows(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change the lines of the rows, and the checksum with them."""
    text = "\n".join(change((folder / ROWS).read_text(encoding="utf-8").splitlines())) + "\n"
    (folder / ROWS).write_text(text, encoding="utf-8")
    put(folder / HEADER, sha256={ROWS: hashlib.sha256(text.encode()).hexdigest()})


def put(path: Path, **values: object) -> None:
    """Change what a document says, and drop its own sum, as documents of older releases have none."""
    document = json.loads(path.read_text(encoding="utf-8")) | values
    document["sha256"].pop(path.name, None)
    path.write_text(json.dumps(document), encoding="utf-8")


def other_dtype(path: Path) -> None:
    put(path, fingerprint=json.loads(path.read_text(encoding="utf-8"))["fingerprint"] | {"dtype": "float16"})


def with_samples(lines: list[str], samples: str) -> list[str]:
    """The third row with other samples."""
    cells = lines[3].split(",")
    return [*lines[:3], ",".join([*cells[:3], samples, *cells[4:]]), *lines[4:]]


def first(lines: list[str], rows: int) -> list[str]:
    return lines[: 1 + rows]


OTHER_FEATURES = (
    f"features of version {FEATURES_VERSION + 1}, this program has version {FEATURES_VERSION}; profile"
)
SPOILT: dict[str, tuple[Spoil, str]] = {
    "nan": (lambda f: put_rows(f, partial(with_samples, samples="nan")), "row 3, "),
    "negative": (
        lambda f: put_rows(f, partial(with_samples, samples="0.1 -1")),
        "found (0.1, -1.0); profile",
    ),
    "twice": (
        lambda f: put_rows(f, lambda lines: [*lines, lines[7]]),
        "has a row already, allowed is one each",
    ),
    "dtype of the predictor": (
        lambda f: other_dtype(f / MANIFEST),
        "fitted in another environment: dtype 'float16' instead of 'float32'",
    ),
    "dtype of the table": (
        lambda f: other_dtype(f / HEADER),
        "target local-cpu: dtype is 'float16', allowed: float32",
    ),
    "features": (lambda f: put(f / MANIFEST, features_version=FEATURES_VERSION + 1), OTHER_FEATURES),
    "no trees": (lambda f: (f / TREES).unlink(), "residual.json: cannot be read (No such file"),
    "newer": (lambda f: put(f / MANIFEST, schema_version=99), "schema 99, this program reads "),
}


def put_text(path: Path, text: str, *keys: str) -> None:
    """Put text in the place of a number that a document holds below some keys; drop its own sum."""
    document = json.loads(path.read_text(encoding="utf-8"))
    document["sha256"].pop(path.name, None)
    inner = document
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = "HERE"
    path.write_text(json.dumps(document).replace('"HERE"', text), encoding="utf-8")


@pytest.mark.parametrize("text", ["NaN", '"fast"', "-1", "1e999"])
@pytest.mark.parametrize(
    "keys", [("base", "costs_s", "overhead"), ("machine", "macs_per_s"), ("intervals", "reach")]
)
def test_numbers_of_a_predictor_that_are_none_are_refused(
    keys: tuple[str, ...], text: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put_text(folder / MANIFEST, text, *keys)
    argv = [NAME, "--target", "local-cpu", "--table", str(folder), "--resolution", str(SIZE)]
    refused_by(main, argv, f"{folder / MANIFEST}: ", capfd)


def test_trees_that_would_end_the_process_are_refused(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / TREES).write_bytes(b'{"a":' * 100_000)
    put(folder / MANIFEST, sha256={TREES: hashlib.sha256((folder / TREES).read_bytes()).hexdigest()})
    argv = [NAME, "--target", "local-cpu", "--table", str(folder), "--resolution", str(SIZE)]
    refused_by(main, argv, "nested more than 64 deep", capfd)


@pytest.mark.parametrize("how", SPOILT)
def test_what_is_not_sound_is_refused_in_one_line(
    how: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spoil, said = SPOILT[how]
    spoil(folder)
    argv = [NAME, "--target", "local-cpu", "--table", str(folder), "--resolution", str(SIZE)]
    refused_by(main, argv, said, capfd)


def test_a_hole_is_predicted_and_says_so(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put_rows(folder, lambda lines: [line for line in lines if not line.startswith("dw3x3")])
    argv = [NAME, "--target", "local-cpu", "--table", str(folder), "--resolution", str(SIZE), "--json"]
    assert main(argv) == 0
    (network,) = json.loads(capfd.readouterr().out)["networks"]
    assert set(network["sources"]) == {"measured", "predicted"}
    by_source = {entry["kernel"]: entry["source"] for entry in network["kernels"]}
    assert all((source == "predicted") == key.startswith("dw3x3") for key, source in by_source.items())


def test_a_hole_without_a_predictor_is_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / MANIFEST).unlink()
    put_rows(folder, lambda lines: first(lines, 9))
    argv = [NAME, "--target", "local-cpu", "--table", str(folder), "--resolution", str(SIZE)]
    said = "not measured on local-cpu; measure it with: squeezenas-tvm profile --target local-cpu --space "
    refused_by(main, argv, f"{said}squeezenas-small --resolution {SIZE}", capfd)


def test_nine_kernels_make_a_table_and_no_predictor(tmp_path: Path) -> None:
    fill(tmp_path, load_target("local-cpu"), kernels_of()[:9])
    measured = measure_kernels(
        load_target("local-cpu"), Wanted(kernels=[], effort=Effort.alone(0)), tmp_path, hold_outs=True
    )
    assert len(measured.table.rows) == 9
    assert (measured.predictor, measured.hold_outs) == (None, {})
    assert not (tmp_path / MANIFEST).exists()


def test_far_from_what_was_measured_the_interval_is_wide_and_the_user_warned(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = [NAME, "--target", "local-cpu", "--table", str(folder), "--resolution", "2048x4096"]
    assert main(argv) == 0
    shown = capfd.readouterr()
    assert f"{NAME}: far from all that was measured: " in shown.err
    assert "more; measure them: profile its space at this resolution\n" in shown.err
    assert "far from" not in shown.out
    assert main([*argv, "--json"]) == 0
    captured = capfd.readouterr()
    assert captured.err == shown.err
    (network,) = json.loads(captured.out)["networks"]
    unsure = [entry for entry in network["kernels"] if entry["kernel"] in network["unsure"]]
    assert len(unsure) > len(network["kernels"]) / 2
    assert all(entry["high_ms"] > 1.2 * entry["low_ms"] for entry in unsure)


def test_a_table_and_a_predictor_of_different_types_never_meet(folder: Path) -> None:
    other_dtype(folder / MANIFEST)
    said = "dtype 'float16' instead of 'float32'"
    with pytest.raises(
        IncompatiblePredictor, match=f"fitted in another environment: {said}; use one of yours"
    ):
        cost_model(load_target("local-cpu"), folder)
    with pytest.raises(IncompatiblePredictor, match=f"environment than its table: {said}; use those of one"):
        CostModel("local-cpu", LatencyTable.load(folder), Predictor.load(folder))
