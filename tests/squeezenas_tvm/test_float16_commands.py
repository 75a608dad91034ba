"""Commands in float16, on a target of this machine that lists it."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from cost_models.database.environment import environment
from cost_models.database.history import History
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.lookup import results_folder
from cost_models.tuning.effort import Effort
from search.networks.weights import save_weights
from squeezenas_tvm.bundles.runner import Bundle
from squeezenas_tvm.deploy import main as deploy
from squeezenas_tvm.profile import main as profile
from squeezenas_tvm.profiling.measure import Wanted, measure_kernels
from targets import load_target

from .helpers import NAME, QUICK, SIZE, kernels_of, refused_by
from .test_deploy import agreement, labels_of, random_network, scenes


@pytest.fixture(scope="module")
def yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("target") / "quick-cpu.yaml"
    path.write_text(QUICK.replace("[float32]", "[float32, float16]"), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_bundle_in_float16_sees_what_the_network_sees(
    yaml: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network, weights = random_network(), tmp_path / "random.safetensors"
    save_weights(weights, {name: values.numpy() for name, values in network.state_dict().items()})
    place = ["--target", str(yaml), "--resolution", str(SIZE), "--out", str(tmp_path / "bundle")]
    given = [NAME, *place, "--weights", str(weights), "--dtype", "float16", "--json"]
    assert deploy([*given, "--measurements", str(tmp_path)]) == 0
    assert json.loads(capfd.readouterr().out)["dtype"] == "float16"
    bundle, seen = Bundle.load(tmp_path / "bundle"), set()
    for frame in scenes():
        labels = bundle.segment(frame)
        assert agreement(labels, labels_of(network, frame)) > 0.98
        seen |= set(np.unique(labels))
    assert len(seen) == 19  # or the comparison would say little
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["target"]["fingerprint"] == environment(load_target(yaml), "float16")
    assert (manifest["input"]["dtype"], manifest["output"]["dtype"]) == ("uint8", "uint8")
    model = onnx.load(tmp_path / "bundle" / "network.onnx")
    weighs = [tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 4]
    assert weighs.count(onnx.TensorProto.FLOAT16) == sum(
        isinstance(module, torch.nn.Conv2d) for module in network.modules()
    )


def test_measurements_of_two_types_stand_side_by_side(yaml: Path, tmp_path: Path) -> None:
    """In one store under two environments; a table is of one of them."""
    target, kernels = load_target(yaml), kernels_of()[:2]
    for dtype in ("float32", "float16"):
        found = measure_kernels(
            target, Wanted(kernels=kernels, effort=Effort.alone(0)), tmp_path, dtype=dtype
        )
        assert found.problems == {}
        assert LatencyTable.load(tmp_path).fingerprint == environment(target, dtype)
    with MeasurementStore.open(tmp_path / "measurements.sqlite", create=False) as store:
        assert len(store.environments()) == 2
        for dtype in ("float32", "float16"):
            table = LatencyTable.from_history(History.of(store, environment(target, dtype)), target.name)
            assert all(table.statistics(kernel).median_s > 0 for kernel in kernels)


def test_tables_of_two_types_have_folders_of_their_own() -> None:
    assert results_folder("jetson-orin") == Path("results/jetson-orin")
    assert results_folder("jetson-orin", dtype="float16") == Path("results/jetson-orin-float16")
    assert results_folder("jetson-orin", Path("mine"), "float16") == Path("mine")


def test_a_target_that_does_not_list_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    usual = ["--target", "local-cpu", "--resolution", str(SIZE), "--dtype", "float16"]
    said = "target local-cpu: dtype is 'float16', allowed: float32"
    refused_by(profile, usual, said, capfd)
    refused_by(deploy, [NAME, *usual, "--out", "bundle"], said, capfd)
    assert not (tmp_path / "bundle").exists()
