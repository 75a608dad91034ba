"""Folders and shapes that stand beside the names of ONNX files."""

from pathlib import Path

import pytest

from squeezenas_tvm.bundles.network_files import shapes_of, with_folders
from squeezenas_tvm.errors import UsageError

from ..onnx_networks import uneven, up


def test_a_folder_is_its_files_and_a_bundle_is_itself(tmp_path: Path) -> None:
    for name in ("b.onnx", "a.ONNX", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").touch()
    files = [str(tmp_path / name) for name in ("a.ONNX", "b.onnx")]
    assert with_folders(["x.onnx", str(tmp_path), str(tmp_path / "bundle")]) == [
        "x.onnx",
        *files,
        str(tmp_path / "bundle"),
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: a folder without"):
        with_folders([str(tmp_path / "empty")])


def test_each_file_gets_the_shapes_of_its_inputs(tmp_path: Path) -> None:
    one, two = up(tmp_path / "up.onnx"), uneven(tmp_path / "uneven.onnx")
    image, gain = (1, 3, 16, 32), (1,)
    assert shapes_of([one, two], {}) == {one: {}, two: {}}
    assert shapes_of([one, two], {"image": image, "gain": gain}) == {
        one: {"image": image},
        two: {"image": image, "gain": gain},
    }
    with pytest.raises(UsageError, match="--shape gian: no such input, did you mean gain"):
        shapes_of([one, two], {"gian": gain})
