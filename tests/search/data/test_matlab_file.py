"""MATLAB's files: SciPy writes them, and whatever is in them they are read or refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from search.data import matlab_file
from search.data.matlab_file import Element, Structures, read_matlab
from search.errors import InvalidData

NESTED = {
    "release": {
        "names": np.array(["a.jpg", "übergang.jpg"], dtype=object),
        "sizes": np.arange(6.0).reshape(2, 3),
        "flags": np.array([1, 0, 1], np.uint8),
        "people": np.array([(1.5, "1"), (2.5, 0)], dtype=[("x", "O"), ("seen", "O")]),
        "nothing": np.zeros((0, 0)),
    },
    "alone": np.array([[-3]], np.int32),
}


def written(path: Path, **how: Any) -> Path:
    scipy.io.savemat(path, NESTED, **how)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_writes_is_read(compressed: bool, tmp_path: Path) -> None:
    found = read_matlab(written(tmp_path / "a.mat", do_compression=compressed))
    assert set(found) == {"release", "alone"}
    assert found["alone"].value.tolist() == [[-3]]
    (release,) = found["release"].value
    assert [name.value for name in release["names"].value] == ["a.jpg", "übergang.jpg"]
    np.testing.assert_array_equal(release["sizes"].value, NESTED["release"]["sizes"])
    assert release["flags"].value.tolist() == [[1, 0, 1]]
    people = release["people"].value
    assert isinstance(people, Structures)
    assert (len(people), people.fields) == (2, ("x", "seen"))
    assert [person["x"].value.item() for person in people] == [1.5, 2.5]
    assert [person["seen"].value for person in people] == ["1", [[0]]]
    assert release["nothing"].value.size == 0


def test_other_files_are_refused(tmp_path: Path) -> None:
    for content, said in (
        (b"no matlab at all", "no file of MATLAB; allowed"),
        (b"MATLAB 7.3 MAT-file".ljust(126) + b"IM", "of version 7.3, which is HDF5"),
    ):
        path = tmp_path / "other.mat"
        path.write_bytes(content)
        with pytest.raises(InvalidData, match=said):
            read_matlab(path)
    with pytest.raises(InvalidData, match="cannot be read"):
        read_matlab(tmp_path / "missing.mat")


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.mat"
    scipy.io.savemat(path, {"zeros": np.zeros(1 << 16)}, do_compression=True)
    monkeypatch.setattr(matlab_file, "MOST_BYTES", 1 << 17)
    with pytest.raises(InvalidData, match="unpacks to more than"):
        read_matlab(path)


def walked(element: Element, deep: int = 0) -> None:
    value = element.value
    if isinstance(value, Structures):
        for fields in value:
            for inner in fields.values():
                walked(inner, deep + 1)
    elif isinstance(value, list):
        for inner in value:
            walked(inner, deep + 1)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("change", ["cut", "bytes", "sizes"])
def test_damaged_files_are_read_or_refused(compressed: bool, change: str, tmp_path: Path) -> None:
    sound = written(tmp_path / "a.mat", do_compression=compressed).read_bytes()
    random, path = np.random.default_rng(0), tmp_path / "b.mat"
    changes: dict[str, Callable[[bytearray], bytes]] = {
        "cut": lambda raw: bytes(raw[: random.integers(len(raw))]),
        "bytes": lambda raw: _changed(raw, random.integers(128, len(raw), 3), random.integers(0, 256, 3)),
        "sizes": lambda raw: _changed(raw, random.integers(128, len(raw), 1), np.array([255])),
    }
    for _ in range(60):
        path.write_bytes(changes[change](bytearray(sound)))
        assert "\n" not in _refusal(path)


def _refusal(path: Path) -> str:
    """Why a file is refused; nothing where it is read."""
    try:
        for element in read_matlab(path).values():
            walked(element)
    except InvalidData as error:
        return str(error)
    return ""


def _changed(raw: bytearray, places: np.ndarray, values: np.ndarray) -> bytes:
    for place, value in zip(places.tolist(), values.tolist(), strict=True):
        raw[place] = value
    return bytes(raw)
