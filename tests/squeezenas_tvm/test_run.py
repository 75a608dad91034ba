"""The run command, from its arguments to the files it writes and the numbers it prints."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data.classes import CLASSES
from squeezenas_tvm import report
from squeezenas_tvm.bundles.assemble import assemble, label_entries, seal
from squeezenas_tvm.bundles.manifest import read_manifest
from squeezenas_tvm.bundles.values import dataset_ids
from squeezenas_tvm.run import UNTUNED, main

from .conftest import expected_labels, rewrite_manifest, tiny_manifest
from .helpers import refused_by


@pytest.fixture
def street(tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    return path


def test_pictures_and_table(
    sealed_bundle: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "wide.jpg"
    Image.new("RGB", (100, 50), (20, 130, 40)).save(other)
    out = tmp_path / "seen"
    assert main([str(sealed_bundle), str(street), str(other), "--out", str(out), "--repeats", "4"]) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "street-labels.png",
        "street-overlay.png",
        "wide-labels.png",
        "wide-overlay.png",
    ]
    ids = np.asarray(Image.open(out / "street-labels.png"))
    expected = expected_labels(np.asarray(Image.open(street)))
    assert np.array_equal(ids, dataset_ids(expected, label_entries(CLASSES["cityscapes"])))
    assert Image.open(out / "wide-labels.png").size == (100, 50)
    said = capsys.readouterr()
    header = next(line for line in said.out.splitlines() if line.startswith("file"))
    assert header.split() == ["file", "median", "p10", "p90", "min", "n"]
    row = next(line for line in said.out.splitlines() if line.startswith("street.png")).split()
    assert float(row[4]) <= float(row[1])
    assert row[-1] == "4"
    assert f"{out}/NAME-overlay.png" in said.out
    assert "The weights are not trained: what comes out means nothing yet" in said.out
    assert "wide.jpg: resized from 100x50 to the module's 64x64" in said.err
    assert said.err.count("squeezed: ") == 1
    assert (
        "wide.jpg: squeezed: the network of 64x64 sees everything 2 times narrower than it is; crop"
        in said.err
    )


def test_json_is_one_document(
    sealed_bundle: Path, street: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seen"
    assert main([str(sealed_bundle), str(street), "--out", str(out), "--repeats", "3", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["trained"] is False
    assert document["resolution"] == [64, 64]
    (entry,) = document["images"]
    assert Path(entry["overlay"]).is_file()
    assert Path(entry["labels"]).is_file()
    assert len(entry["samples_ms"]) == entry["latency_ms"]["n"] == 3
    assert entry["latency_ms"]["min"] == min(entry["samples_ms"])


def test_kernels_are_timed_and_shown_on_a_page(
    sealed_bundle: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seen"
    words = [str(sealed_bundle), str(street), "--out", str(out), "--repeats", "3", "--profile"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "All kernels take " in said
    assert "Roofline: " in said
    assert f"Page: squeezenas-tvm report {out}" in said
    assert main([*words, "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)["profile"]
    assert sum(kernel["share"] for kernel in profile["kernels"]) == pytest.approx(1)
    kept = json.loads((out / "profile.json").read_text())
    assert kept["kernels"] == profile["kernels"]
    assert (kept["network"], kept["runs"], kept["overlays"]) == ("tiny", 3, ["street-overlay.png"])
    assert report.main([str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "run"
    page = (out / "report.html").read_text()
    assert "Where the time goes" in page
    assert kept["kernels"][0]["kernel"] in page
    assert "data:image/jpeg" in page


def test_kernels_on_a_board_are_timed_there(
    sealed_bundle: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(sealed_bundle), str(street), "--out", str(tmp_path / "seen"), "--profile"]
    assert main([*words, "--tracker", "127.0.0.1:1"]) == 2
    said = capsys.readouterr().err
    assert f"there: python {sealed_bundle.name}/run.py FILE --profile" in said


def test_a_profile_of_others_stays(
    sealed_bundle: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "profile.json").write_text("mine")
    words = [str(sealed_bundle), str(street), "--out", str(tmp_path), "--profile"]
    assert main(words) == 2
    assert "profile.json: there already, and not written here; name another --out" in capsys.readouterr().err
    assert (tmp_path / "profile.json").read_text() == "mine"


def test_trained_weights_give_no_warning(
    sealed_bundle: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with assemble(tmp_path / "trained") as folder:
        for name in ("model.so", "network.onnx"):
            shutil.copyfile(sealed_bundle / name, folder / name)
        seal(folder, tiny_manifest(trained=True), classes=CLASSES["camvid"], dataset="camvid")
    assert main([str(tmp_path / "trained"), str(street), "--out", str(tmp_path / "o"), "--repeats", "1"]) == 0
    assert "not trained" not in capsys.readouterr().out


check_refused = partial(refused_by, main)


def test_missing_bundle(street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(tmp_path / "none"), str(street), "--out", str(tmp_path / "o")]
    check_refused(arguments, "none; a bundle is a folder with manifest.json, model.so", capsys)


def test_broken_bundle(
    bundle_copy: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (bundle_copy / "network.onnx").open("ab") as file:
        file.write(b"x")
    arguments = [str(bundle_copy), str(street), "--out", str(tmp_path / "o")]
    check_refused(arguments, "network.onnx is not what was deployed; copy the bundle again", capsys)


def test_missing_image(sealed_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(sealed_bundle), str(tmp_path / "no.png"), "--out", str(tmp_path / "o")]
    check_refused(arguments, "no image at", capsys)
    assert not (tmp_path / "o").exists()


def test_image_that_is_none(sealed_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.png").write_text("to do", encoding="utf-8")
    arguments = [str(sealed_bundle), str(tmp_path / "notes.png"), "--out", str(tmp_path / "o")]
    check_refused(arguments, "notes.png: damaged, or no PNG, JPEG, BMP, TIFF or WEBP image", capsys)


def test_two_images_of_one_name(
    sealed_bundle: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b").mkdir()
    twin = Path(shutil.copyfile(street, tmp_path / "b" / "street.png"))
    arguments = [str(sealed_bundle), str(street), str(twin), "--out", str(tmp_path / "o")]
    check_refused(arguments, "would both write street-... into one folder; run them one by one", capsys)


def test_out_that_cannot_be_written(
    sealed_bundle: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(sealed_bundle), str(street), "--out", str(street)]
    check_refused(arguments, f"--out {street} cannot be written: File exists; name another folder", capsys)
    if os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        arguments[-1] = str(tmp_path / "locked")
        check_refused(arguments, "cannot be written: Permission denied; name another folder", capsys)


@pytest.mark.parametrize("count", ["0", "-1", "many", "1.5"])
def test_wrong_repeats(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_refused(
        ["b", "i.png", "--out", "o", f"--repeats={count}"], "is not a whole number of 1 or more", capsys
    )


def test_untuned_bundle_says_so(
    bundle_copy: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_manifest(bundle_copy)
    rewrite_manifest(bundle_copy, {**manifest, "kernels": {**manifest["kernels"], "untuned": True}})
    given = [str(bundle_copy), str(street), "--out", str(tmp_path / "seen"), "--repeats", "1"]
    assert main(given) == 0
    assert UNTUNED in capsys.readouterr().out.splitlines()
    assert main([*given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["untuned"] is True


def seen(bundle: Path, *images: Path, out: Path) -> list[str]:
    return [str(bundle), *map(str, images), "--out", str(out), "--repeats", "1", "--warmup", "1"]


def test_pictures_of_ours_are_written_anew(sealed_bundle: Path, street: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert main(seen(sealed_bundle, street, out=tmp_path / "seen")) == 0


def test_an_image_that_is_read_is_never_overwritten(
    sealed_bundle: Path, street: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(seen(sealed_bundle, street, out=tmp_path)) == 0
    overlay = tmp_path / "street-overlay.png"
    before = overlay.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    capfd.readouterr()
    given = seen(sealed_bundle, street, overlay, out=tmp_path / "link")
    check_refused(given, "street-overlay.png is one of the files to read and would be overwritten", capfd)
    assert overlay.read_bytes() == before
    assert not (tmp_path / "street-overlay-labels.png").exists()


@pytest.mark.parametrize("name", ["street-labels.png", "street-overlay.png"])
@pytest.mark.parametrize("ours", [False, True], ids=["of others", "ours, changed"])
def test_ground_truth_and_other_pictures_are_not_overwritten(
    name: str,
    ours: bool,
    sealed_bundle: Path,
    street: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if ours:
        assert main(seen(sealed_bundle, street, out=tmp_path)) == 0
    Image.new("L", (64, 64)).save(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    capfd.readouterr()
    check_refused(seen(sealed_bundle, street, out=tmp_path), f"{name} is there already, and was not", capfd)
    assert (tmp_path / name).read_bytes() == before
