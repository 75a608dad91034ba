"""Documents that are kept as JSON: whatever is in them, they are read or refused in one line."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import cost_models
from cost_models.database.profiled_networks import FILE, ProfiledNetworks
from cost_models.database.table import HEADER, TableDocument
from cost_models.device_models.prior import Prior
from cost_models.errors import CostModelError
from cost_models.kernel_models.predictor import MANIFEST, TREES, Predictor
from cost_models.kernel_models.tree_text import check_trees
from cost_models.network_models.energy import EnergyReadings
from cost_models.network_models.network_model import MODEL, NetworkModelDocument
from search.errors import SearchError
from search.results import document as search_document
from search.results.distribution import read_distribution
from search.results.record import read_record
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.tvm_records import RECORDS, WORKLOADS, read_records, read_workloads
from squeezenas_tvm.reports.write import write_report
from targets.rpc.session import BoardReading

from ..cost_models.some_kernels import convolution
from .mutations import fuzz, is_one_line, json_like

pytestmark = pytest.mark.slow
SHIPPED = Path(cost_models.__file__).parent / "local-cpu"
SEARCHED = Path(__file__).parents[2] / "benchmarks/results/camvid/search-local-cpu/search.json"
ENERGY = {
    "schema_version": 1,
    "made_by": "run",
    "sha256": {},
    "readings": [
        {
            "network": "a",
            "fingerprint": {"device": "x"},
            "when": "2024-01-01",
            "reading": {"sensor": "s", "idle_w": 1.0, "busy_w": 2.0, "latency_s": 0.1},
        }
    ],
}


def sound(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_lists_of_networks(tmp_path: Path) -> None:
    kernel = convolution(3, 8, 16, 32, 3)
    network = {"name": "net.onnx", "inputs": {"x": [1, 3, 16, 32]}, "digest": "a"}
    network |= {"kernels": [kernel.key], "reads": [[]]}
    told = {"schema_version": 1, "fingerprint": {}, "networks": [network]}
    told |= {"descriptions": {kernel.key: kernel.description}}

    @fuzz(150)
    @given(json_like(json.loads(json.dumps(told))))
    def run(content: bytes) -> None:
        (tmp_path / FILE).write_bytes(content)
        try:
            _ = ProfiledNetworks.in_folder(tmp_path, {}).graphs
        except CostModelError as error:
            is_one_line(error, tmp_path)

    run()


def test_records_of_tvms_tuner(tmp_path: Path) -> None:
    target = {"kind": "cuda", "tag": "", "host": {"kind": "llvm"}}
    workload, record = ["1", "bW9kdWxl"], [0, [[[], []], [1e-3], target, None]]

    @fuzz(300)
    @given(json_like(workload), json_like(record))
    def run(workloads: bytes, records: bytes) -> None:
        (tmp_path / WORKLOADS).write_bytes(workloads)
        (tmp_path / RECORDS).write_bytes(records)
        try:
            list(read_records(tmp_path, len(read_workloads(tmp_path))))
        except UsageError as error:
            is_one_line(error, tmp_path)

    run()


@pytest.mark.parametrize("name", [HEADER, MODEL, "prior.json", "energy.json"])
def test_documents(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    source = SHIPPED if name != "prior.json" else SHIPPED.parent / "jetson-xavier"
    load = {
        HEADER: lambda: TableDocument.load(path),
        MODEL: lambda: NetworkModelDocument.load(path),
        "prior.json": lambda: Prior.load(path),
        "energy.json": lambda: EnergyReadings.load(path),
    }[name]

    @fuzz(150)
    @given(json_like(ENERGY if name == "energy.json" else sound(source / name)))
    def run(content: bytes) -> None:
        path.write_bytes(content)
        try:
            load()
        except CostModelError as error:
            is_one_line(error, tmp_path)

    run()


def test_a_predictor_that_is_read_predicts(tmp_path: Path) -> None:
    told = sound(SHIPPED / MANIFEST)
    told["known"] = told["known"][:3]
    (tmp_path / TREES).write_bytes((SHIPPED / TREES).read_bytes())

    @fuzz(150)
    @given(json_like(told))
    def run(content: bytes) -> None:
        (tmp_path / MANIFEST).write_bytes(content)
        try:
            (estimate,) = Predictor.load(tmp_path).predict([convolution(4, 8, 6, 16)])
        except CostModelError as error:
            is_one_line(error, tmp_path / MANIFEST)
        else:
            assert estimate.median_s > 0

    with np.errstate(over="ignore"):  # of costs that are far too large, and told as that by whoever sums them
        run()


def test_trees() -> None:
    told = sound(SHIPPED / TREES)
    model = told["learner"]["gradient_booster"]["model"]
    model.update(trees=model["trees"][:2], tree_info=[0, 0], iteration_indptr=[0, 1, 2])
    model["gbtree_model_param"]["num_trees"] = "2"
    check_trees(json.dumps(told).encode())
    xgboost = pytest.importorskip("xgboost")

    @fuzz(300)
    @given(json_like(told))
    def run(content: bytes) -> None:
        try:
            check_trees(content)
        except ValueError:
            return
        names = told["learner"]["feature_names"]
        try:
            trees = xgboost.Booster(model_file=bytearray(content))
        except xgboost.core.XGBoostError:
            return
        trees.predict(xgboost.DMatrix(np.zeros((2, len(names)))), validate_features=False)

    run()


def test_searches(tmp_path: Path) -> None:
    path = tmp_path / search_document.FILE

    @fuzz(100)
    @given(json_like(sound(SEARCHED)))
    def run(content: bytes) -> None:
        path.write_bytes(content)
        try:
            search_document.load(tmp_path)
        except SearchError as error:
            is_one_line(error, tmp_path)

    run()


def test_records(tmp_path: Path) -> None:
    path = tmp_path / "judged.jsonl"

    @fuzz(200)
    @given(json_like({"options": ["a", "b"], "score": 0.5}))
    def run(content: bytes) -> None:
        path.write_bytes(content + b"\n" + b'{"options": ["c"], "score": 0.25}\n')
        try:
            found = list(read_record(path))
        except SearchError as error:
            is_one_line(error, tmp_path)
        else:
            assert (("c",), 0.25) in found
            assert np.isfinite([score for _, score in found]).all()

    run()


def test_choices(tmp_path: Path) -> None:
    path = tmp_path / "choices.jsonl"

    @fuzz(200)
    @given(json_like({"epoch": 1, "choices": [{"a": 0.5, "b": 0.5}]}))
    def run(content: bytes) -> None:
        path.write_bytes(b'{"epoch": 0, "choices": [{"a": 1.0}]}\n' + content + b"\n")
        try:
            found = read_distribution(path)
        except SearchError as error:
            is_one_line(error, tmp_path)
        else:
            assert [own.epoch for own in found] == list(range(len(found)))

    run()


def test_evaluations(tmp_path: Path) -> None:
    told = {"schema_version": 1, "network": "n", "weights": None, "resolution": "1x1", "runs": "r"}
    told |= {"data": "d", "split": "val", "frames": 2, "scores": {"miou_percent": 50.0}, "shown": []}
    told |= {"classes": [{"name": "a", "color": [1, 2, 3]}], "confusion": [[4]]}

    @fuzz(60)
    @given(json_like(told))
    def run(content: bytes) -> None:
        (tmp_path / "evaluation.json").write_bytes(content)
        try:
            write_report(tmp_path)
        except UsageError as error:
            is_one_line(error, tmp_path)

    run()


def test_states_of_boards() -> None:
    told = {"model": "x", "power_mode": "y", "clocks_mhz": {"cpu": 1000.0}, "temperatures_c": {"a": 40.0}}

    @fuzz(300)
    @given(json_like(told))
    def run(content: bytes) -> None:
        with suppress(ValueError):
            str(BoardReading.from_json(content.decode("utf-8", "replace")))

    run()


@pytest.mark.parametrize("name", ["search.json", "best.json"])
def test_reports(name: str, tmp_path: Path) -> None:
    best = {
        "schema_version": 1,
        "architecture": "a",
        "recipe": "r",
        "seed": 0,
        "data": "camvid",
        "stage": "only",
        "epoch": 2,
        "chosen_by": "mIoU on val",
        "split": "val",
        "miou_percent": 50.0,
        "pixel_accuracy_percent": 70.0,
        "iou_percent": {"road": 50.0, "car": None},
        "weights": "best.safetensors",
        "weights_sha256": "0",
    }
    for other in ("networks.csv", "curves.csv"):
        if name == "search.json":
            (tmp_path / other).write_bytes((SEARCHED.parent / other).read_bytes())

    @fuzz(60)
    @given(json_like(best if name == "best.json" else sound(SEARCHED)))
    def run(content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        try:
            write_report(tmp_path)
        except (UsageError, SearchError) as error:
            is_one_line(error, tmp_path)

    run()
