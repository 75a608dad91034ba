"""The predict command: shipped tables, priors, tables of one's own, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from cost_models.tuning.effort import Effort
from search.architecture import load_architecture
from search.costs.kernel_table import network_kernels
from search.resolution import Resolution
from squeezenas_tvm.predict import main
from squeezenas_tvm.profiling.measure import Wanted, measure_kernels
from targets import load_target

from .helpers import SIZE, fill, kernels_of, pretend_processor, refused_by

NAME = "squeezenas-lat-small"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a table of local-cpu with all kernels of Small at 64x128, by a formula."""
    folder = tmp_path_factory.mktemp("table")
    fill(folder, load_target("local-cpu"), kernels_of())
    measure_kernels(load_target("local-cpu"), Wanted(kernels=[], effort=Effort.alone(0)), folder)
    return folder


def predicted(capfd: pytest.CaptureFixture[str], *argv: str) -> tuple[dict[str, Any], str]:
    assert main([*argv, "--json"]) == 0
    captured = capfd.readouterr()
    return json.loads(captured.out), captured.err


def test_latency_of_each_network_with_its_kernels(table: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = [NAME, "squeezenas-mac-small", "--target", "local-cpu", "--table", str(table)]
    document, _ = predicted(capfd, *given, "--resolution", str(SIZE))
    assert document["target"] == "local-cpu"
    assert [network["name"] for network in document["networks"]] == [NAME, "squeezenas-mac-small"]
    for network in document["networks"]:
        latency = network["latency_ms"]
        assert network["resolution"] == str(SIZE)
        assert network["sources"] == {"measured": pytest.approx(1)}
        assert network["unsure"] == []
        kernels = network_kernels(load_architecture(network["name"]), SIZE)
        assert sum(entry["calls"] for entry in network["kernels"]) == len(kernels)
        total = sum(entry["calls"] * entry["median_ms"] for entry in network["kernels"])
        assert latency["median"] == pytest.approx(total)
        assert latency["low"] < latency["median"] < latency["high"]


def test_a_device_nobody_has_attached_is_told_by_its_prior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    document, _ = predicted(capfd, NAME, "squeezenas-mac-small", "--target", "jetson-xavier")
    lat, mac = document["networks"]
    assert lat["sources"] == mac["sources"] == {"prior": pytest.approx(1)}
    assert lat["latency_ms"]["median"] < mac["latency_ms"]["median"]  # as published
    assert len(lat["unsure"]) == len(lat["kernels"])
    assert main([NAME, "--target", "jetson-xavier"]) == 0
    captured = capfd.readouterr()
    assert "prior: a physical model, nothing measured there by us: " in captured.out
    assert "far from" not in captured.err  # that is said of everything already


def test_the_shipped_table_serves_where_nothing_was_profiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pretend_processor(monkeypatch)
    document, said = predicted(capfd, NAME, "--target", "local-cpu", "--resolution", "256x512")
    assert document["networks"][0]["sources"] == {"measured": pytest.approx(1)}
    assert "this device is not profiled yet; latencies are of the shipped table" in said


def test_text_says_what_the_number_is_of(table: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = [NAME, "--target", "local-cpu", "--table", str(table), "--resolution", str(SIZE)]
    assert main(given) == 0
    said = capfd.readouterr().out
    assert "100% measured" in said
    assert "On local-cpu, from camera frame to class indices: sums of kernels" in said
    assert f"{NAME}  {SIZE}" in said


def refused(argv: list[str], words: str, capfd: pytest.CaptureFixture[str]) -> None:
    refused_by(main, argv, words, capfd)


def test_wrong_words_are_refused(table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    refused(["squeezenas-lat-smal", "--target", "local-cpu"], "did you mean squeezenas-lat-small?", capfd)
    refused([NAME, "--target", "jetson-xaver"], "did you mean jetson-xavier", capfd)
    refused([NAME, "--target", "local-cpu", "--resolution", "7x7"], "the nearest that works is 64x64", capfd)
    refused([NAME, "--target", "local-cpu", "--table", str(tmp_path)], "table cannot be read", capfd)
    refused(
        [NAME, "--target", "jetson-xavier", "--table", str(table)],
        "is a table of local-cpu, not of jetson-xavier",
        capfd,
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [("x.pth", "holds weights"), ("x.safetensors", "holds weights"), ("x.tflite", "is not ONNX")],
)
def test_files_of_other_formats_are_told_what_is_wanted(
    name: str, what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    said = f"{name}: {what}"
    refused([name, "--target", "local-cpu"], said, capfd)
    refused([name, "--target", "local-cpu"], "torch.onnx.export(network, example_input, 'x.onnx')", capfd)


def test_any_file_that_is_no_network_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("", encoding="utf-8")
    refused([str(path), "--target", "local-cpu"], f"{path}: is not ONNX; allowed: architectures", capfd)


def test_kernels_of_a_network_come_in_order_and_as_often_as_they_run() -> None:
    kernels = network_kernels(load_architecture(NAME), Resolution(64, 128))
    assert len(kernels) > len(set(kernels)) > 20


def test_counts_follow_from_the_layers(table: Path, capfd: pytest.CaptureFixture[str]) -> None:
    document, _ = predicted(
        capfd, NAME, "--target", "local-cpu", "--table", str(table), "--resolution", str(SIZE)
    )
    (network,) = document["networks"]
    graph, kernels = load_architecture(NAME).network(), network_kernels(load_architecture(NAME), SIZE)
    assert network["macs"] == graph.macs({"x": (1, 3, *SIZE)})
    assert network["params"] == graph.num_parameters
    assert network["bytes_moved"] == sum(kernel.bytes_moved for kernel in kernels)
    logits = 19 * SIZE.height * SIZE.width * 4
    # scores of the image's size never exist
    assert logits / 4 < network["peak_memory_bytes"] < network["planned_memory_bytes"] < logits
    assert network["energy_mj"] is None
