"""The wheel, away from the checkout: a home that cannot be written, no terminal, C locale, 80 columns."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import squeezenas_tvm
from squeezenas_tvm.cli import COMMANDS

ROOT = Path(squeezenas_tvm.__file__).parent.parent
PACKAGES = ("targets", "cost_models", "search", "squeezenas_tvm")
BUILD = "import sys; from setuptools import build_meta as b; b.build_sdist('made'); b.build_wheel('made')"
RECIPE = """
schema_version: 1
kind: random
name: tiny
summary: two paths
crop: [64, 64]
batch_size: 2
workers: 0
scoring: {kind: paths, epochs: 1, calibration_batches: 1}
candidates: 2
frames: 1
"""
TRAINING = """
schema_version: 1
name: tiny
summary: one step
stages:
  - kind: segmentation
    name: tiny
    epochs: 1
    batch_size: 2
    crop: [64, 64]
    optimizer: {learning_rate: 0.01}
    schedule: {kind: poly}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("sources")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, folder / name)
    (folder / "made").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "made"


@pytest.fixture(scope="module")
def installed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel; what it depends on is that of this one, without our sources."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True)
    (wheel,) = made.glob("*.whl")
    python = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        str(folder / "bin/python"),
    ]
    said = subprocess.run([*python, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=False)
    assert said.returncode == 0
    place = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    others = sysconfig.get_path(
        "purelib"
    )  # its .pth files, such as that of an editable install, do not count
    (place / "dependencies.pth").write_text(f"{others}\n", encoding="utf-8")
    return folder


def around() -> dict[str, str]:
    """The environment of somebody who has the wheel alone."""
    left_out = ("LC_ALL", "PYTHONUTF8", "PYTHONPATH", "TERM", "VIRTUAL_ENV")
    environ = {name: value for name, value in os.environ.items() if name not in left_out}
    return environ | {"HOME": "/proc/no-home", "LANG": "C", "COLUMNS": "80"}


def typed(installed: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command as somebody types it."""
    return subprocess.run(
        [str(installed / "bin/squeezenas-tvm"), *words],
        cwd=cwd,
        env=around(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )


def test_all_files_travel(made: Path) -> None:
    (wheel,), (sdist,) = made.glob("*.whl"), made.glob("*.tar.gz")
    assert sdist.stat().st_size > wheel.stat().st_size / 4
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    sources = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".md", ".so")
    }
    assert sources <= inside, sorted(sources - inside)
    assert not [name for name in inside if name.startswith(("tests/", "benchmarks/", "docs/"))]


def test_every_command_helps_from_elsewhere(installed: Path, tmp_path: Path) -> None:
    where = "import squeezenas_tvm as s, sys; from squeezenas_tvm.cli import COMMANDS, dispatch\n"
    where += "print(s.__file__); sys.exit(max(dispatch([name, '--help']) for name in COMMANDS))"
    done = subprocess.run(
        [str(installed / "bin/python"), "-c", where],
        cwd=tmp_path,
        env=around(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(installed))
    assert done.stdout.count("example:\n") == len(COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["--completion", "bash"],
        ["targets"],
        ["targets", "check", "local-cpu"],
        ["networks", "--space", "small"],
        ["predict", "squeezenas-lat-small", "--target", "local-cpu", "--resolution", "256x512"],
        ["compare", "squeezenas-lat-small", "squeezenas-mac-small", "--target", "jetson-xavier"],
    ],
)
def test_what_is_known_without_a_device(words: list[str], installed: Path, tmp_path: Path) -> None:
    done = typed(installed, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_whole_way(installed: Path, tmp_path: Path) -> None:
    """Search, train, evaluate, deploy, run, report, a profile that is asked for no trials, and its table."""
    (tmp_path / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "training.yaml").write_text(TRAINING, encoding="utf-8")
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "street.png")
    size, data = ["--resolution", "64x128"], ["--data", "synthetic:2:64x64"]
    steps = [
        [
            "search",
            "--strategy",
            "random",
            "--target",
            "local-cpu",
            *size,
            *data,
            "--recipe",
            "tiny.yaml",
            "--out",
            "found",
        ],
        ["train", "found/chosen.yaml", *data, "--recipe", "training.yaml", "--out", "found/trained"],
        ["evaluate", "found/trained/architecture.yaml", *data],
        ["deploy", "found/trained/architecture.yaml", "--target", "local-cpu", *size, "--out", "bundle"],
        ["run", "bundle", "street.png", "--out", "seen", "--profile"],
        ["evaluate", "bundle", *data],
        ["report", "found"],
        ["report", "seen"],
        ["profile", "bundle/network.onnx", "--target", "local-cpu", "--trials", "0", "--out", "table"],
        ["table", "export", "table", "--out", "table.zip"],
        ["table", "import", "table.zip", "--out", "again"],
    ]
    for words in steps:
        done = typed(installed, tmp_path, *words, "--json")
        assert done.returncode == 0, f"{words}: {done.stderr[-2000:]}"
        json.loads(done.stdout)
