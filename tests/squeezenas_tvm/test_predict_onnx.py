"""The predict command on ONNX files: ours, those that PyTorch exports, and those that it refuses."""

import json
import math
from pathlib import Path
from typing import Any

import onnx
import pytest

from cost_models.ir.fusion import split_into_kernels
from cost_models.lowering import pipeline as lowering
from cost_models.onnx_io.exporter import to_onnx
from cost_models.onnx_io.importer import read_onnx
from search.architecture import load_architecture
from squeezenas_tvm.predict import main
from targets import load_target

from .helpers import NAME, pretend_processor, refused_by
from .torch_networks import NETWORKS, export, macs

SIZE = (64, 128)
FULL = (256, 512)  # of the table that comes with the package


@pytest.fixture(autouse=True)
def _without_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def predicted(capfd: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, Any]]:
    assert main([*argv, "--json"]) == 0
    networks = json.loads(capfd.readouterr().out)["networks"]
    assert isinstance(networks, list)
    return networks


def convolutions_by_tvm(path: Path) -> tuple[int, int]:
    """Calls of kernels that hold a convolution or a matrix product, and of all kernels."""
    model = onnx.load_model(path)
    fused = lowering.kernels(lowering.lower(model, load_target("local-cpu").tvm_target()))
    products = [k.calls for name, k in fused.items() if "conv2d" in name or "matmul" in name]
    return sum(products), sum(kernel.calls for kernel in fused.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_pytorch_are_counted_and_cut_as_they_run(name: str, tmp_path: Path) -> None:
    path = export(name, tmp_path / "net.onnx", SIZE)
    network = read_onnx(path)
    kernels = split_into_kernels(network.graph, network.inputs)
    assert network.graph.macs(network.inputs) == sum(kernel.macs for kernel in kernels) == macs(name, SIZE)
    assert (sum(kernel.macs > 0 for kernel in kernels), len(kernels)) == convolutions_by_tvm(path)


@pytest.mark.parametrize("name", NETWORKS)
def test_open_sizes_make_the_same_kernels(name: str, tmp_path: Path) -> None:
    fixed = read_onnx(export(name, tmp_path / "fixed.onnx", SIZE))
    given = read_onnx(export(name, tmp_path / "open.onnx", (96, 96), open_sizes=True), SIZE)
    ours, others = (split_into_kernels(n.graph, n.inputs) for n in (fixed, given))
    assert [kernel.macs for kernel in ours] == [kernel.macs for kernel in others]
    assert [kernel.output_shape for kernel in ours] == [kernel.output_shape for kernel in others]


@pytest.mark.parametrize("target", ["local-cpu", "jetson-xavier"])
def test_every_network_has_a_latency(target: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = [str(export(name, tmp_path / f"{name}.onnx", SIZE)) for name in NETWORKS]
    networks = predicted(capfd, *files, "--target", target)
    assert [n["name"] for n in networks] == [f"{name}.onnx" for name in NETWORKS]
    for network in networks:
        latency = network["latency_ms"]
        assert 0 < latency["low"] < latency["median"] < latency["high"] < math.inf
        assert sum(network["sources"].values()) == pytest.approx(1)
        assert network["resolution"] == "64x128"


def test_what_no_table_knows_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(export("unet", tmp_path / "unet.onnx", SIZE))
    (network,) = predicted(capfd, path, "--target", "local-cpu")
    named = {entry["operation"]: entry for entry in network["outside"]}
    assert set(named) == {"ConvTranspose", "MaxPool"}
    assert named["ConvTranspose"]["names"] == ["up1", "up2"]
    assert named["ConvTranspose"]["kernels"] == 2
    foreign = [k for k in network["kernels"] if k["source"] == "prior"]
    assert {k["kernel"].split()[0] for k in foreign} == {"convtranspose+concat", "maxpool"}
    assert all(k["high_ms"] > 3 * k["median_ms"] > 9 * k["low_ms"] for k in foreign)
    own, all_ms = (sum(k["calls"] * k["median_ms"] for k in some) for some in (foreign, network["kernels"]))
    assert sum(entry["share"] for entry in network["outside"]) == pytest.approx(own / all_ms)
    assert not any("convtranspose" in key or "maxpool" in key for key in network["unsure"])
    assert main([path, "--target", "local-cpu"]) == 0
    said = capfd.readouterr().out
    assert "unet.onnx: estimated by the prior: " in said
    assert "ConvTranspose up1 and 1 more (2 kernels, " in said
    assert "prior: a physical model, work and traffic at the rates of those kernels" in said


def test_activations_of_others_are_predicted_with_their_convolution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend_processor(monkeypatch)
    (network,) = predicted(
        capfd, str(export("mobilenet", tmp_path / "m.onnx", SIZE)), "--target", "local-cpu"
    )
    assert [entry["operation"] for entry in network["outside"]] == ["Gemm"]
    sources = {k["source"] for k in network["kernels"] if "clip" in k["kernel"] or "sigmoid" in k["kernel"]}
    assert sources == {"predicted"}


def test_our_network_as_a_file_costs_what_it_does_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend_processor(monkeypatch)
    graph = load_architecture(NAME).camera_network()
    path = tmp_path / "lat-small.onnx"
    onnx.save_model(to_onnx(graph, {"frame": (1, *FULL, 3)}), path)
    ours, file = predicted(capfd, NAME, str(path), "--target", "local-cpu", "--resolution", "256x512")
    assert file["latency_ms"] == pytest.approx(ours["latency_ms"])
    assert file["sources"] == {"measured": pytest.approx(1)}
    assert file["outside"] == []


def test_open_sizes_take_the_resolution(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(export("unet", tmp_path / "unet.onnx", (96, 96), open_sizes=True))
    target = ["--target", "jetson-xavier"]
    small, large = (predicted(capfd, path, *target, "--resolution", r)[0] for r in ("64x128", "256x512"))
    assert small["latency_ms"]["median"] < large["latency_ms"]["median"]
    refused_by(main, [path, *target], f"{path}: input x has no fixed size; give one: --resolution", capfd)
    refused_by(main, [path, *target, "--resolution", "66x130"], "does not fit its inputs", capfd)


def test_files_that_are_no_networks_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = ["--target", "local-cpu"]
    refused_by(main, ["none.onnx", *target], "none.onnx: no such file", capfd)
    text = tmp_path / "text.ONNX"
    text.write_text("hello")
    refused_by(main, [str(text), *target], f"{text}: not an ONNX file", capfd)
    path = str(export("unet", tmp_path / "unet.onnx", SIZE))
    refused_by(
        main,
        [path, *target, "--resolution", "128x256"],
        "input x is for images of 64x128, not of 128x256; leave the resolution out",
        capfd,
    )
