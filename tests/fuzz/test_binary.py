"""Weights, checkpoints, bundles and stores: whatever is in them, they are read or refused in one line."""

import hashlib
import io
import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_of

import cost_models
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.errors import CostModelError
from cost_models.ir.weights import random_weights
from search.architecture import Architecture
from search.errors import InvalidCheckpoint, InvalidWeights
from search.networks.weights import load_weights
from search.training.checkpoint import load_checkpoint
from squeezenas_tvm.bundles.manifest import (
    BundleError,
    file_sum,
    manifest_sum,
    read_kernels,
    read_labels,
    read_manifest,
)
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.shared_table import export_table, import_table
from targets import TargetError

from .mutations import ODD, bytes_like, documents, fuzz, is_one_line, json_like

pytestmark = pytest.mark.slow
SMALLEST = Architecture(
    space="squeezenas-small", blocks=["k3e1", "skip", "skip", "skip"] * 5, name="smallest"
)


def torch_file(value: Any) -> bytes:
    body = io.BytesIO()
    torch.save(value, body)
    return body.getvalue()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights(suffix: str, tmp_path: Path) -> None:
    state = {name: torch.from_numpy(values) for name, values in random_weights(SMALLEST.network()).items()}
    content = torch_file(state) if suffix == ".pth" else safetensors_of(state)
    path = tmp_path / f"w{suffix}"

    @fuzz(150)
    @given(bytes_like(content))
    def run(spoilt: bytes) -> None:
        path.write_bytes(spoilt)
        try:
            weights = load_weights(SMALLEST, path)
        except InvalidWeights as error:
            is_one_line(error, path)
        else:
            assert all(np.isfinite(values).all() for values in weights.values())

    run()


def test_checkpoints(tmp_path: Path) -> None:
    state = {"schema_version": 1, "fingerprint": {"a": [1, 2]}, "epoch": 3, "rows": [{"loss": 0.5}]}
    path = tmp_path / "last.ckpt"

    @fuzz(200)
    @given(st.one_of(documents(state).map(torch_file), bytes_like(torch_file(state))))
    def run(body: bytes) -> None:
        path.write_bytes(
            b"squeezenas-tvm checkpoint " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body
        )
        try:
            assert load_checkpoint(path, state["fingerprint"])["fingerprint"] == state["fingerprint"]
        except InvalidCheckpoint as error:
            is_one_line(error, path)

    run()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The text files of a bundle; the rest is empty."""
    for name in ("model.so", "network.onnx", "run.py"):
        (tmp_path / name).write_bytes(b"")
    entry = {"index": 0, "id": 7, "name": "road", "color": [1, 2, 3]}
    (tmp_path / "labels.json").write_text(json.dumps({"schema_version": 1, "classes": [entry]}))
    return tmp_path


def seal(folder: Path, **changes: Any) -> dict[str, Any]:
    manifest = {
        "schema_version": 2,
        "name": "tiny",
        "target": {"name": "local-cpu", "device": "cpu", "runs_on": {"machine": "x86_64"}, "fingerprint": {}},
        "inputs": [{"name": "frame", "dtype": "uint8", "shape": [1, 64, 64, 3], "meaning": "frame"}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 2], "meaning": "tensor"}],
        "weights": {"source": None, "trained": False},
        "kernels": {},
        "files": {path.name: file_sum(path) for path in folder.iterdir() if path.name != "manifest.json"},
    } | changes
    write(folder, manifest)
    return manifest


def write(folder: Path, manifest: Any) -> None:
    blank = "0" * 64
    text = json.dumps({**manifest, "manifest_sha256": blank} if isinstance(manifest, dict) else manifest)
    (folder / "manifest.json").write_text(text.replace(blank, manifest_sum(text.encode(), blank)))


def test_manifests(bundle: Path) -> None:
    @fuzz(400)
    @given(documents(seal(bundle)))
    def run(manifest: Any) -> None:
        write(bundle, manifest)
        try:
            told = read_manifest(bundle)
        except BundleError as error:
            is_one_line(error, bundle)
        else:
            assert all(size > 0 for own in told["inputs"] + told["outputs"] for size in own["shape"])

    run()


def test_labels(bundle: Path) -> None:
    sound = json.loads((bundle / "labels.json").read_text())

    @fuzz(400)
    @given(json_like(sound))
    def run(content: bytes) -> None:
        (bundle / "labels.json").write_bytes(content)
        seal(bundle)
        try:
            classes = read_labels(bundle)
        except BundleError as error:
            is_one_line(error, bundle)
        else:
            assert all(0 <= entry["id"] <= 255 for entry in classes)

    run()


def test_lists_of_kernels(bundle: Path) -> None:
    kernel = {"kernel": "conv", "functions": ["fused_conv"], "macs": 5, "bytes_moved": None}
    peaks = {"macs_per_s": 1e9, "bytes_per_s": 2e9, "source": "a data sheet"}
    sound = {"schema_version": 1, "kernels": [kernel], "peaks": peaks}

    @fuzz(400)
    @given(json_like(sound))
    def run(content: bytes) -> None:
        (bundle / "kernels.json").write_bytes(content)
        try:
            told = read_kernels(bundle)
        except BundleError as error:
            is_one_line(error, bundle)
        else:
            assert all(own["functions"] for own in told["kernels"])
            assert told["peaks"] is None or told["peaks"]["macs_per_s"] > 0

    run()


def test_shared_tables(tmp_path: Path) -> None:
    there = LatencyTable.load(Path(cost_models.__file__).parent / "local-cpu")
    rows = dict([*there.rows.items()][:3])
    (tmp_path / "profiled").mkdir()
    small = replace(there, target="jetson-xavier", rows=rows, profiled=())
    small.save(tmp_path / "profiled", made_by="a test")
    sound = export_table(tmp_path / "profiled", tmp_path / "sound.zip").file
    spoilt, taken = tmp_path / "spoilt.zip", tmp_path / "taken"

    @fuzz(300)
    @given(bytes_like(sound.read_bytes()))
    def run(content: bytes) -> None:
        spoilt.write_bytes(content)
        try:
            import_table(spoilt, taken)
        except (UsageError, CostModelError, TargetError) as error:
            is_one_line(error, tmp_path)
            assert not taken.exists()
        else:
            assert LatencyTable.load(taken).rows == rows
            shutil.rmtree(taken)

    run()


def test_cells_of_a_store(tmp_path: Path) -> None:
    from cost_models.database.records import How, Measurement, Trial

    sound = tmp_path / "sound.sqlite"
    with MeasurementStore.open(sound) as store:
        here = store.add_environment({"device": "x"})
        store.add_kernel("k", {"op": "conv"})
        trial = store.add_trial(here, "k", Trial(schedule="[[],[]]", samples_s=(1e-3, 2e-3)))
        store.add_measurement(here, Measurement(kernel="k", how=How.TUNED, samples_s=(1e-3,)), trial=trial)
    columns = ("samples_s", "error", "origin", "run_s", "schedule", "reference_s", "notes", "how", "at")

    @fuzz(200)
    @given(
        st.sampled_from(["trials", "measurements"]),
        st.sampled_from(columns),
        st.one_of(ODD, json_like([1e-3])),
    )
    def run(table: str, column: str, value: Any) -> None:
        path = tmp_path / "spoilt.sqlite"
        shutil.copy(sound, path)
        db = sqlite3.connect(path)
        try:
            db.execute(f"DROP TRIGGER {table}_UPDATE")
            cell = value if isinstance(value, str | bytes | float | None) else json.dumps(value)
            db.execute(f"UPDATE {table} SET {column} = ?", (cell,))
            db.commit()
        except (sqlite3.Error, UnicodeEncodeError):
            return  # not what the schema, or SQLite, can hold
        finally:
            db.close()
        try:
            with MeasurementStore.open(path) as store:
                store.trials(here, "k")
                store.timings(here)
        except CostModelError as error:
            is_one_line(error, path)

    run()
