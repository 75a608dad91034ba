"""The predict command on other people's ONNX files: types, sizes, schedules, and what TVM cannot import."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from cost_models.lookup import results_folder
from squeezenas_tvm.api import load_target, predict_network
from squeezenas_tvm.predict import main

from ..cost_models.onnx_models import CONV, WEIGHTS, ints, model, node, random
from .helpers import NAME, pretend_processor, refused_by

RELU = node("Relu", ["c"], ["y"])


@pytest.fixture(autouse=True)
def _without_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def saved(name: str, made: onnx.ModelProto) -> str:
    Path(name).write_bytes(made.SerializeToString())
    return name


def in_type(name: str, dtype: int, kind: type) -> str:
    made = model([CONV, RELU], {"w": WEIGHTS["w"].astype(kind)}, dtype=dtype)
    made.graph.output[0].type.tensor_type.elem_type = dtype
    return saved(name, made)


def told(capfd: pytest.CaptureFixture[str], *argv: str, exit_code: int = 0) -> dict[str, Any]:
    assert main([*argv, "--json"]) == exit_code
    (network,) = json.loads(capfd.readouterr().out)["networks"]
    assert isinstance(network, dict)
    return network


@pytest.mark.parametrize("target", ["local-cpu", "jetson-xavier"])
def test_a_type_has_its_own_bytes_latency_and_word(target: str, capfd: pytest.CaptureFixture[str]) -> None:
    types = {
        "float16": (TensorProto.FLOAT16, np.float16),
        "float32": (TensorProto.FLOAT, np.float32),
        "float64": (TensorProto.DOUBLE, np.float64),
    }
    found = {
        name: told(capfd, in_type(f"{name}.onnx", *kind), "--target", target) for name, kind in types.items()
    }
    for half, whole in (("float16", "float32"), ("float32", "float64")):
        for counted in ("bytes_moved", "peak_memory_bytes", "planned_memory_bytes"):
            assert found[whole][counted] == 2 * found[half][counted]
        assert found[whole]["latency_ms"]["high"] > found[half]["latency_ms"]["low"]
    assert found["float64"]["latency_ms"]["median"] > found["float32"]["latency_ms"]["median"]
    assert [found[name]["dtype"] for name in types] == [*types]
    assert main(["float16.onnx", "--target", target]) == 0
    assert "in float16." in capfd.readouterr().out


def test_a_jetson_is_faster_in_float16_as_far_as_its_peaks_say(capfd: pytest.CaptureFixture[str]) -> None:
    network = [NAME, "--target", "jetson-xavier", "--resolution", "256x512"]
    single, half = (told(capfd, *network, "--dtype", dtype) for dtype in ("float32", "float16"))
    assert (
        0.5 * single["latency_ms"]["median"] <= half["latency_ms"]["median"] < single["latency_ms"]["median"]
    )
    assert 2 * half["peak_memory_bytes"] == pytest.approx(single["peak_memory_bytes"], rel=0.1)


def test_a_type_that_was_not_measured_is_told_by_another_in_wider_intervals(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend_processor(monkeypatch)
    half = told(capfd, in_type("half.onnx", TensorProto.FLOAT16, np.float16), "--target", "local-cpu")
    single = told(capfd, in_type("single.onnx", TensorProto.FLOAT, np.float32), "--target", "local-cpu")
    assert half["notes"] == ["float16 is told by latencies of float32, since none of its own are known"]
    assert single["notes"] == []
    assert half["latency_ms"]["high"] > 1.5 * single["latency_ms"]["high"]
    assert set(half["sources"]) == {"predicted"}
    assert not results_folder("local-cpu", None, "float16").exists()


def test_a_type_that_the_target_does_not_list_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    asked = [NAME, "--target", "local-cpu", "--dtype", "float16"]
    refused_by(main, asked, "error: target local-cpu: dtype is 'float16', allowed: float32", capfd)


def test_other_peoples_networks_have_sizes_of_their_own(capfd: pytest.CaptureFixture[str]) -> None:
    path = saved("line.onnx", model([CONV, RELU], shape=[1, 8, "h", "w"]))
    network = told(capfd, path, "--target", "jetson-xavier", "--resolution", "32x10000")
    assert network["resolution"] == "32x10000"
    target = load_target("jetson-xavier")
    assert predict_network(path, target, (32, 10000)).median_s * 1e3 == network["latency_ms"]["median"]
    asked = [NAME, "--target", "jetson-xavier", "--resolution", "32x320"]
    refused_by(main, asked, "resolution 32x320: sides must be 64 to 8192 pixels", capfd)
    asked = [path, "--target", "jetson-xavier", "--resolution", "0x32"]
    refused_by(main, asked, "leaves nothing of its input; give a larger size", capfd)
    refused_by(main, [*asked[:-1], "9" * 5000 + "x1"], "write HEIGHTxWIDTH in pixels", capfd)


def product() -> str:
    nodes = [
        CONV,
        node("Reshape", ["c", "s"], ["r"]),
        node("MatMul", ["r", "m"], ["y"]),
    ]
    return saved("product.onnx", model(nodes, WEIGHTS | {"s": ints(1, 128, 32), "m": random(32, 4096)}))


def test_numbers_say_whether_they_are_of_tuned_kernels(capfd: pytest.CaptureFixture[str]) -> None:
    asked = [product(), "--target", "local-cpu"]
    assert main(asked) == 0
    said = capfd.readouterr().out
    assert "Latencies are of tuned kernels; without tuning: --default-schedules." in said
    tuned, default = told(capfd, *asked), told(capfd, *asked, "--default-schedules")
    assert default["notes"] == ["latencies are of default schedules"]
    # products have default schedules of their own: their factor is a small one, like that of kernels
    assert 1.1 < default["latency_ms"]["median"] / tuned["latency_ms"]["median"] < 2
    ours, theirs = (entry["kernels"][0]["median_ms"] for entry in (tuned, default))
    assert ours < theirs < 2 * ours
    assert main([*asked, "--default-schedules"]) == 0
    said = capfd.readouterr().out
    assert "product.onnx: latencies are of default schedules." in said
    assert "tuned" not in said
    by_api = predict_network(asked[0], load_target("local-cpu"), default_schedules=True)
    assert by_api.median_s * 1e3 == default["latency_ms"]["median"]


def test_what_is_not_there_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    made = model([CONV, RELU])
    made.graph.initializer[0].ClearField("raw_data")
    path = saved("bare.onnx", made)
    assert main([path, "--target", "jetson-xavier"]) == 0
    assert "bare.onnx: weights are not there (w): told by their shapes." in capfd.readouterr().out


def test_files_that_tvm_cannot_import_are_named(capfd: pytest.CaptureFixture[str]) -> None:
    sound = saved("sound.onnx", model([CONV, RELU], shape=[1, 8, "h", "w"]))
    heads = [node("Attention", ["c", "c", "c"], ["y"], name="look")]
    strange = saved("strange.onnx", model([CONV, *heads], opset=23))
    asked = ["--target", "local-cpu", "--resolution", "16x32"]
    assert main([sound, *asked]) == 0
    assert "Whether TVM imports ONNX files was not tried: --check." in capfd.readouterr().out
    assert told(capfd, sound, *asked)["tvm"] is None
    assert told(capfd, sound, *asked, "--check")["tvm"] == {"imports": True, "fault": None}
    assert main([sound, strange, *asked, "--check"]) == 1
    said = capfd.readouterr().out
    assert "sound.onnx: TVM imports it.\nstrange.onnx: TVM cannot import it: " in said


def test_a_kernel_of_any_length_is_named_in_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    chain = [node("Sigmoid", [f"v{index}"], [f"v{index + 1}"]) for index in range(300)]
    first = node("Conv", ["x", "w"], ["v0"])
    path = saved("chain.onnx", model([first, *chain, node("Relu", ["v300"], ["y"])]))
    assert main([path, "--target", "local-cpu"]) == 0
    assert max(map(len, capfd.readouterr().err.splitlines())) < 300


def test_a_network_of_one_kernel_has_no_overhead_of_forty(capfd: pytest.CaptureFixture[str]) -> None:
    network = told(capfd, saved("one.onnx", model([CONV, RELU])), "--target", "local-cpu")
    (kernel,) = network["kernels"]
    assert kernel["median_ms"] < network["latency_ms"]["median"] < kernel["median_ms"] + 0.02
