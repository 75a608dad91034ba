"""Making bundles: whole or not at all, and every change noticed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from unittest.mock import ANY

import pytest

from search.data.classes import CLASSES, unnamed
from squeezenas_tvm.bundles.assemble import FILES, assemble, label_entries, runs_on, seal
from squeezenas_tvm.bundles.machine import processor
from squeezenas_tvm.bundles.manifest import REQUIRED, BundleError, file_sum, read_manifest
from squeezenas_tvm.bundles.runner import Bundle
from squeezenas_tvm.errors import UsageError
from targets import LocalMachine, load_target

from ...faults import kill, run_killed
from ..conftest import rewrite_manifest, tiny_manifest


def fill(folder: Path, content: bytes = b"x") -> None:
    for name in ("model.so", "network.onnx"):
        (folder / name).write_bytes(content)


def test_manifest_says_what_the_bundle_is(sealed_bundle: Path) -> None:
    manifest = read_manifest(sealed_bundle)
    assert manifest["schema_version"] == 2
    assert manifest["target"] == {
        "name": "local-cpu",
        "device": "cpu",
        "runs_on": {"machine": processor()},
        "fingerprint": {"device": "test"},
    }
    frame = {"name": "frame", "dtype": "uint8", "shape": [1, 64, 64, 3], "meaning": "frame"}
    assert manifest["inputs"] == [frame]
    classes = {"name": "classes", "dtype": "uint8", "shape": [1, 64, 64], "meaning": "class index"}
    assert manifest["outputs"] == [classes]
    assert manifest["normalisation"] == {"mean": [0.5] * 3, "std": [1.0] * 3}
    assert manifest["weights"] == {"source": None, "sha256": None, "trained": False}
    assert manifest["kernels"] == {"tuned": 0, "default": 1, "untuned": False}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", manifest["created_at"])
    assert manifest["files"] == {name: file_sum(sealed_bundle / name) for name in FILES}


def test_bundle_holds_its_files_and_nothing_else(sealed_bundle: Path) -> None:
    found = [p.relative_to(sealed_bundle).as_posix() for p in sealed_bundle.rglob("*") if p.is_file()]
    assert sorted(found) == sorted([*FILES, "manifest.json"])
    assert {"run.py", "images.py", "cpp/main.cc", "cpp/CMakeLists.txt"} < set(FILES)
    assert [p.name for p in sealed_bundle.parent.iterdir()] == ["tiny"]
    labels = json.loads((sealed_bundle / "labels.json").read_text(encoding="utf-8"))
    assert labels["classes"][0] == {"index": 0, "id": 7, "name": "road", "color": [128, 64, 128]}


@pytest.mark.parametrize(("dataset", "count"), [("cityscapes", 19), ("camvid", 11)])
def test_classes_are_told_apart(dataset: str, count: int) -> None:
    entries = label_entries(CLASSES[dataset])
    assert [entry["index"] for entry in entries] == list(range(count))
    for key in ("id", "name", "color"):
        assert len({str(entry[key]) for entry in entries}) == count


@pytest.mark.parametrize(("count", "dataset"), [(2, "orchard"), (255, None)])
def test_labels_are_those_of_the_network(count: int, dataset: str | None, tmp_path: Path) -> None:
    with assemble(tmp_path / "bundle") as folder:
        fill(folder)
        seal(folder, tiny_manifest(), classes=unnamed(count), dataset=dataset)
    labels = json.loads((tmp_path / "bundle" / "labels.json").read_text(encoding="utf-8"))
    assert labels["dataset"] == dataset
    assert len(labels["classes"]) == count
    assert labels["classes"][1] == {"index": 1, "id": 1, "name": "class 1", "color": [0, 128, 0]}


def test_error_while_assembling_leaves_nothing(tmp_path: Path) -> None:
    def build() -> None:
        with assemble(tmp_path / "new") as folder:
            fill(folder)
            raise RuntimeError("compiler crashed")

    with pytest.raises(RuntimeError, match="compiler crashed"):
        build()
    assert list(tmp_path.iterdir()) == []


def test_unsealed_bundle_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no manifest\.json"), assemble(tmp_path / "new") as folder:
        fill(folder)
    assert list(tmp_path.iterdir()) == []


def test_second_deploy_replaces_the_bundle_and_failed_one_does_not(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    for content in (b"first", b"second"):
        with assemble(out) as folder:
            fill(folder, content)
            seal(folder, tiny_manifest(), classes=CLASSES["camvid"], dataset="camvid")
    assert (out / "model.so").read_bytes() == b"second"
    with pytest.raises(BundleError), assemble(out) as folder:
        fill(folder, b"third")
    read_manifest(out)
    assert (out / "model.so").read_bytes() == b"second"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("manifest", [None, '{"name": "my web app", "manifest_version": 3}', "[]", "no JSON"])
def test_other_folders_are_not_overwritten(manifest: str | None, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "thesis.tex").touch()
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with (
        pytest.raises(UsageError, match=r"exists and is not a bundle; name a new folder: there is .*thesis"),
        assemble(tmp_path),
    ):
        pytest.fail("work was begun")
    assert (tmp_path / "src" / "thesis.tex").exists()


def changed_example(bundle: Path) -> None:
    with (bundle / "cpp" / "main.cc").open("a") as file:
        file.write("// mine\n")


@pytest.mark.parametrize(
    ("add", "named"),
    [
        (lambda bundle: (bundle / "notes.txt").touch(), "notes.txt"),
        (lambda bundle: (bundle / "cpp" / "build").symlink_to("/"), "cpp/build"),
        (changed_example, "cpp/main.cc"),
    ],
)
def test_a_bundle_with_something_of_the_user_is_not_replaced(
    add: Callable[[Path], None], named: str, bundle_copy: Path
) -> None:
    add(bundle_copy)
    before = sorted(bundle_copy.rglob("*"))
    refused = f"holds what deploy did not put there, or what was changed since: {named}; move that away, or"
    with pytest.raises(UsageError, match=refused), assemble(bundle_copy):
        pytest.fail("work was begun")
    assert sorted(bundle_copy.rglob("*")) == before


def test_what_the_user_adds_while_a_bundle_is_made_is_not_lost(bundle_copy: Path) -> None:
    def build() -> None:
        with assemble(bundle_copy) as folder:
            fill(folder)
            seal(folder, tiny_manifest(), classes=CLASSES["camvid"], dataset="camvid")
            (bundle_copy / "notes.txt").touch()

    with pytest.raises(UsageError, match=r"notes\.txt"):
        build()
    read_manifest(bundle_copy)
    assert (bundle_copy / "notes.txt").exists()


def test_a_bundle_that_ran_or_lost_a_file_is_replaced(bundle_copy: Path) -> None:
    """Python compiles what ``run.py`` imports."""
    (bundle_copy / "cpp" / "main.cc").unlink()
    (bundle_copy / "__pycache__").mkdir()
    (bundle_copy / "__pycache__" / "images.cpython-311.pyc").touch()
    with assemble(bundle_copy) as folder:
        fill(folder, b"new")
        seal(folder, tiny_manifest(), classes=CLASSES["camvid"], dataset="camvid")
    assert (bundle_copy / "model.so").read_bytes() == b"new"
    assert not (bundle_copy / "__pycache__").exists()


def test_what_a_killed_deploy_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    def work() -> None:
        with assemble(tmp_path / "b") as folder:
            fill(folder)
            kill()

    run_killed(work)
    (left,) = tmp_path.iterdir()
    with pytest.raises(BundleError), assemble(tmp_path / "b"):
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_out_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match=r"cannot be written: .*; name another folder"),
        assemble(tmp_path / "file" / "b"),
    ):
        pass


@pytest.mark.parametrize("name", FILES)
def test_flipped_byte_is_noticed(bundle_copy: Path, name: str) -> None:
    content = bytearray((bundle_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / name).write_bytes(content)
    with pytest.raises(
        BundleError, match=f"{name} is not what was deployed; copy the bundle again, or deploy"
    ):
        read_manifest(bundle_copy)


def test_any_flipped_byte_of_the_manifest_is_noticed(bundle_copy: Path) -> None:
    path = bundle_copy / "manifest.json"
    good = path.read_bytes()
    for position in range(0, len(good), 7):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(BundleError, match=r"manifest\.json"):
            read_manifest(bundle_copy)


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing; copy the bundle again, or deploy again"):
        read_manifest(bundle_copy)


def test_newer_schema_is_refused(bundle_copy: Path) -> None:
    rewrite_manifest(bundle_copy, {**read_manifest(bundle_copy), "schema_version": 3})
    with pytest.raises(BundleError, match="has schema_version 3, this program reads up to 2; use a newer"):
        read_manifest(bundle_copy)


def test_bundle_of_the_first_release_still_loads(bundle_copy: Path) -> None:
    """It has no C++ example and no images.py, and says what goes in and comes out in other words."""
    manifest = read_manifest(bundle_copy)
    for name in set(FILES) - set(REQUIRED):
        (bundle_copy / name).unlink()
        del manifest["files"][name]
    del manifest["target"]["runs_on"], manifest["inputs"], manifest["outputs"]
    manifest |= {"schema_version": 1, "input": {"dtype": "uint8", "shape": [1, 64, 64, 3]}}
    del manifest["kernels"]["untuned"]
    rewrite_manifest(bundle_copy, manifest)
    bundle = Bundle.load(bundle_copy)
    told = {name: value for name, value in bundle.manifest.items() if name not in ("inputs", "outputs")}
    assert told == {**manifest, "manifest_sha256": ANY}
    assert (bundle.height, bundle.width, len(bundle.outputs)) == (64, 64, 1)


def test_bundle_says_what_it_runs_on() -> None:
    flags = list(LocalMachine.detect().vector_extensions)
    assert runs_on(load_target("local-cpu")) == {"machine": processor(), "cpu_flags": flags}
    assert runs_on(load_target("raspberry-pi-4")) == {"machine": "aarch64", "cpu_flags": ["asimd", "fp"]}
    flags = ["asimd", "asimdhp", "asimdrdm", "atomics", "fp", "fphp"]
    xavier = {"machine": "aarch64", "cpu_flags": flags, "cuda_arch": "sm_72", "cuda": "11.4"}
    assert runs_on(load_target("jetson-xavier")) == runs_on(load_target("jetson-xavier-maxn")) == xavier
    assert runs_on(load_target("jetson-orin"))["cuda_arch"] == "sm_87"


def test_what_is_no_bundle_learns_what_one_is(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest\.json; a bundle is a folder"):
        read_manifest(tmp_path)
    with pytest.raises(BundleError, match=r"no bundle at .*nowhere; a bundle is a folder with"):
        read_manifest(tmp_path / "nowhere")


def test_class_ids_fit_a_gray_png() -> None:
    assert all(0 <= entry.id <= 255 for classes in CLASSES.values() for entry in classes)
