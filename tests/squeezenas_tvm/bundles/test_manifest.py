"""Bundles whose sums are right, and which this program could not use: refused before anything is loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from squeezenas_tvm.bundles.manifest import BundleError, file_sum, own_manifest, read_labels, read_manifest
from squeezenas_tvm.run import main

from ..conftest import rewrite_manifest
from ..helpers import refused_by

Spoil = Callable[[dict[str, Any]], object]
MANIFESTS: dict[str, tuple[Spoil, str]] = {
    "device": (lambda m: m["target"].update(device="foo"), "target.device: not one of cpu, cuda, "),
    "no target": (lambda m: m.pop("target"), "target: missing"),
    "target": (lambda m: m.update(target=[1]), "target: not a JSON object; target: no JSON object"),
    "shape": (lambda m: m["inputs"][0].update(shape=[1, 0, 64, 3]), "inputs: not 1 to 64 of name, dtype"),
    "size": (lambda m: m["inputs"][0].update(shape=[1, 64, 10**9, 3]), "inputs: not 1 to 64 of"),
    "frame": (lambda m: m["inputs"][0].update(dtype="float32"), "inputs: not 1 to 64 of"),
    "number": (lambda m: m["outputs"][0].update(dtype="object"), "outputs: not 1 to 64 of"),
    "meaning": (lambda m: m["outputs"][0].update(meaning="fate"), "outputs: not 1 to 64 of"),
    "many": (lambda m: m.update(outputs=m["outputs"] * 65), "outputs: not 1 to 64 of"),
    "one name": (lambda m: m.update(outputs=m["outputs"] * 2), "outputs: not 1 to 64 of"),
    "no outputs": (lambda m: m.pop("outputs"), "outputs: missing"),
    "trained": (lambda m: m["weights"].update(trained="no"), "weights: not source and trained"),
    "cores": (lambda m: m["target"]["fingerprint"].update(cores="many"), "target.fingerprint: not cores and"),
    "flags": (lambda m: m["target"]["runs_on"].update(cpu_flags="avx"), "target.runs_on: not machine"),
    "above": (lambda m: m["files"].update({"../x": "0" * 64}), "files: '../x' does not lie in the bundle"),
    "absolute": (lambda m: m["files"].update({"/etc/passwd": "0"}), "files: '/etc/passwd' does not lie"),
    "sums": (lambda m: m.update(files=["model.so"]), "files: not sums by name"),
    "version": (lambda m: m.update(schema_version=True), "is not what was deployed"),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_manifests_that_nobody_could_use_are_refused(what: str, bundle_copy: Path) -> None:
    spoil, said = MANIFESTS[what]
    manifest = own_manifest(bundle_copy)
    spoil(manifest)
    rewrite_manifest(bundle_copy, manifest)
    with pytest.raises(BundleError) as caught:
        read_manifest(bundle_copy)
    assert str(caught.value).startswith(str(bundle_copy / "manifest.json"))
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": Infinity}', '{"a":' * 100_000, "\udcff"])
def test_manifests_that_are_none(text: str, bundle_copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (bundle_copy / "manifest.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    (bundle_copy.parent / "street.png").touch()
    argv = [
        str(bundle_copy),
        str(bundle_copy.parent / "street.png"),
        "--out",
        str(bundle_copy.parent / "seen"),
    ]
    refused_by(main, argv, "manifest.json is not what was deployed", capfd)


LABELS: dict[str, tuple[Spoil, str]] = {
    "schema": (lambda x: x.update(schema_version=3), "is of a schema that this program does not read"),
    "none": (lambda x: x.pop("classes"), "classes: missing, or no list of up to 65536"),
    "colour": (lambda x: x["classes"][3].update(color=[1, 2]), "classes[3].color: not a colour"),
    "index": (lambda x: x["classes"][3].update(index=1 << 16), "classes[3].index: not 0 to 65535"),
    "twice": (lambda x: x["classes"][3].update(index=2), "classes: an index is given twice"),
    "id": (lambda x: x["classes"][3].update(id=-1), "classes[3].id: not 0 to 65535"),
    "name": (lambda x: x["classes"][3].pop("name"), "classes[3].name: missing"),
    "entry": (lambda x: x["classes"].append(None), "classes[19]: no JSON object"),
}


@pytest.mark.parametrize("what", LABELS)
def test_labels_of_another_shape_are_refused(what: str, bundle_copy: Path) -> None:
    spoil, said = LABELS[what]
    path = bundle_copy / "labels.json"
    labels = json.loads(path.read_text(encoding="utf-8"))
    spoil(labels)
    path.write_text(json.dumps(labels), encoding="utf-8")
    manifest = own_manifest(bundle_copy)
    rewrite_manifest(bundle_copy, {**manifest, "files": {**manifest["files"], path.name: file_sum(path)}})
    read_manifest(bundle_copy)
    with pytest.raises(BundleError) as caught:
        read_labels(bundle_copy)
    assert said in str(caught.value)


def test_sound_ones_are_read(sealed_bundle: Path) -> None:
    assert len(read_labels(sealed_bundle)) == 19
    assert own_manifest(sealed_bundle) == read_manifest(sealed_bundle)
