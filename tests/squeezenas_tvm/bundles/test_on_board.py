"""``run --tracker``: a bundle on a board over RPC, for which this machine stands in."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data.classes import CLASSES
from squeezenas_tvm.bundles.assemble import seal
from squeezenas_tvm.bundles.machine import processor
from squeezenas_tvm.bundles.manifest import BundleError
from squeezenas_tvm.bundles.on_board import open_bundle
from squeezenas_tvm.bundles.values import dataset_ids
from squeezenas_tvm.run import main

from ...targets.boards import BoardFiles, serving
from ...targets.conftest import open_yard
from ..conftest import SIZE, expected_labels, tiny_manifest
from ..helpers import refused_by

IMAGE = np.random.default_rng(3).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def tracker() -> Iterator[str]:
    with open_yard() as yard:
        yard.board(key="local-cpu")
        yield yard.address


@pytest.fixture
def image(tmp_path: Path) -> str:
    Image.fromarray(IMAGE).save(tmp_path / "street.png")
    return str(tmp_path / "street.png")


def test_labels_and_latency_come_from_the_board(
    sealed_bundle: Path, tracker: str, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(sealed_bundle), image, "--out", str(tmp_path / "seen"), "--tracker", tracker]
    assert main([*given, "--repeats", "7", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["images"]
    assert len(result["samples_ms"]) == 7
    assert min(result["samples_ms"]) > 0
    classes = json.loads((sealed_bundle / "labels.json").read_bytes())["classes"]
    found = np.asarray(Image.open(result["labels"]))
    np.testing.assert_array_equal(found, dataset_ids(expected_labels(IMAGE), classes))
    assert main(given) == 0
    assert f"latency in ms on a board at {tracker}" in capsys.readouterr().out


def test_images_may_be_timed_and_segmented_in_any_order(sealed_bundle: Path, tracker: str) -> None:
    with open_bundle(sealed_bundle, None, tracker) as bundle:
        assert len(bundle.time_ms(bundle.frame(IMAGE), repeats=2, warmup=1)) == 2
        for image in (IMAGE, IMAGE[::-1], np.zeros_like(IMAGE)):
            np.testing.assert_array_equal(bundle.segment(image), expected_labels(image))
            assert len(bundle.time_ms(bundle.frame(image), repeats=1, warmup=1)) == 1


def test_a_board_is_given_back(sealed_bundle: Path, tracker: str) -> None:
    for _ in range(3):
        with open_bundle(sealed_bundle, "local-cpu", tracker) as bundle:
            bundle.segment(IMAGE)


def test_a_board_without_the_instructions_gets_no_module(bundle_copy: Path, tmp_path: Path) -> None:
    needs = {"machine": processor(), "cpu_flags": ["avx4096"]}
    manifest = replace(tiny_manifest(), runs_on=needs)
    seal(bundle_copy, manifest, classes=CLASSES["cityscapes"], dataset="cityscapes")
    files = BoardFiles(tmp_path)
    with (
        open_yard() as yard,
        serving(files.path, yard.address) as name,
        pytest.raises(BundleError, match=f"with avx4096, which board {name} has not; deploy on that machine"),
        open_bundle(bundle_copy, str(files.path), yard.address),
    ):
        pass


def test_no_board_is_one_line(
    sealed_bundle: Path, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(sealed_bundle), image, "--out", str(tmp_path / "seen")]
    refused_by(main, [*given, "--tracker", "127.0.0.1:1"], "Connection refused", capsys, exit_code=1)
    refused_by(main, [*given, "--tracker", "nowhere"], "allowed: HOST:PORT", capsys)


def test_a_target_without_a_tracker_is_refused(
    sealed_bundle: Path, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(sealed_bundle), image, "--out", str(tmp_path / "seen")]
    refused_by(main, [*given, "--target", "local-cpu"], "--target is for --tracker HOST:PORT", capsys)


def test_a_module_that_does_not_load_there_is_one_line(
    bundle_copy: Path, tracker: str, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle_copy / "model.so").write_bytes(b"no library")
    seal(bundle_copy, tiny_manifest(), classes=CLASSES["cityscapes"], dataset="cityscapes")
    given = [str(bundle_copy), image, "--out", str(tmp_path / "seen"), "--tracker", tracker]
    refused_by(main, given, "does not load on board 127.0.0.1:", capsys, exit_code=1)
