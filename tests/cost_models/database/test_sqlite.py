import contextlib
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cost_models.database.store import MeasurementStore
from cost_models.errors import IncompatibleStore, StoreError

from ..storing import BOARD, KERNEL, OPENER, finish, start, trial
from ..version_1 import make_version_1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "measurements.sqlite"


# --- places that cannot be written ---


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Root may write anywhere: inside, it is a user who may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users can reach; those of pytest they cannot."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        Path(folder).chmod(0o755)


@pytest.mark.parametrize(("folder", "file"), [(0o755, 0o444), (0o555, 0o666), (0o777, 0o444)])
def test_a_version_1_that_cannot_be_written(place: Path, folder: int, file: int) -> None:
    path = place / "m.sqlite"
    make_version_1(path)
    before = path.read_bytes()
    path.chmod(file)
    place.chmod(folder)
    for create in (True, False):
        with pytest.raises(StoreError) as caught, without_rights():
            MeasurementStore.open(path, create=create)
        assert str(caught.value) == (
            f"{path}: attempt to write a readonly database; "
            "the file and its folder must be there and writable, even to read"
        )
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_entered(place: Path) -> None:
    place.chmod(0o600)
    with (
        pytest.raises(StoreError, match=r"its folder cannot be made or entered \(Permission denied\)"),
        without_rights(),
    ):
        MeasurementStore.open(place / "m.sqlite")


def test_a_read_only_file_system(mount: Callable[[str], Path]) -> None:
    disk = mount("size=1m")
    MeasurementStore.open(disk / "there.sqlite").close()
    make_version_1(disk / "old.sqlite")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for name in ("there.sqlite", "old.sqlite", "new.sqlite"):
        with pytest.raises(StoreError, match=r"the file and its folder must be there and writable, even to"):
            MeasurementStore.open(disk / name)
    with pytest.raises(StoreError, match=r"its folder cannot be made or entered \(Read-only file system\)"):
        MeasurementStore.open(disk / "folder" / "new.sqlite")


# --- files that are not a store of this release ---


def test_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    MeasurementStore.open(path).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 3")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(
        IncompatibleStore,
        match=r"has schema 3, this squeezenas_tvm reads schema 2; use the release that wrote it, or a newer",
    ):
        MeasurementStore.open(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE bookmarks (url TEXT)")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(IncompatibleStore, match="another program's database, not a measurement store"):
        MeasurementStore.open(path)
    assert path.read_bytes() == before


def test_a_text_file_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("kernel,latency_ms\nconv,1.5\n" * 100)
    with pytest.raises(IncompatibleStore, match=r"not a sound measurement store \(file is not a database\)"):
        MeasurementStore.open(path)
    assert path.read_text() == "kernel,latency_ms\nconv,1.5\n" * 100


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is a folder; name a file, such as .*/measurements.sqlite"):
        MeasurementStore.open(tmp_path)


def test_a_missing_or_empty_file_is_refused_unless_it_may_be_made(tmp_path: Path) -> None:
    missing = tmp_path / "new" / "m.sqlite"
    with pytest.raises(StoreError, match=r"no measurements there; make them with: squeezenas-tvm profile"):
        MeasurementStore.open(missing, create=False)
    assert not missing.parent.exists()
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(IncompatibleStore, match="is empty, not a measurement store"):
        MeasurementStore.open(empty, create=False)
    MeasurementStore.open(empty).close()
    MeasurementStore.open(missing).close()
    MeasurementStore.open(missing, create=False).close()


def test_processes_that_open_new_stores_at_the_same_moment(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.sqlite" for number in range(20)]
    finish([start(OPENER, *paths) for _ in range(4)])
    for path in paths:
        with MeasurementStore.open(path, create=False) as store:
            environment = store.add_environment(BOARD)
            store.add_kernel(KERNEL, {})
            assert store.add_trial(environment, KERNEL, trial()) == 1
