"""What each kernel of a deployed network asks of its device: of machine code that was compiled here."""

from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Activation, Conv2d
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import compile_lowered, export, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.schedules import default
from cost_models.schedules.launches import Launch, launches
from cost_models.schedules.sblocks import scheduled_module
from squeezenas_tvm import deploy
from squeezenas_tvm.bundles.assemble import Manifest
from squeezenas_tvm.bundles.deploy import Deployed
from squeezenas_tvm.bundles.kernel_profile import KernelProfile, network_roofline_s, profile_kernels
from targets import MissingTool, Target, load_target
from targets.toolchain.tools import find_tools

INPUTS = {"x": (1, 8, 16, 32)}
GPU = """
schema_version: 1
name: near-gpu
summary: a GPU of this machine's kind of processor
kind: board
model: mine
tvm:
  kind: cuda
  arch: sm_72
  max_threads_per_block: 1024
  max_shared_memory_per_block: 49152
  host: {kind: llvm}
rpc: {key: near-gpu}
dtypes: [float32, float16]
measure: {number: 1, repeat: 3, min_repeat_ms: 1, cooldown_ms: 0, timeout_s: 30}
peaks:
  memory_bandwidth_gb_per_s: 100
  gmacs_per_s: {float32: 0.001}
  source: made up, so that arithmetic is what limits
toolchain: {cuda: "11.4"}
"""


def network() -> Any:
    """Three times the same convolution, and another one."""
    net, value = GraphBuilder(), "x"
    for index in range(3):
        value = net.add(
            f"r{index}", Activation("relu"), net.conv_bn(f"c{index}", Conv2d(8, 8, 3, 1, 1), value)
        )
    return net.build(net.conv_bn("last", Conv2d(8, 5), value))


def profiled(target: Target, folder: Path, dtype: str = "float32") -> list[KernelProfile]:
    try:
        tools = find_tools(target, dtype)
    except MissingTool as missing:
        pytest.skip(str(missing))
    tools.install()
    graph, tvm_target = network(), target.tvm_target()
    compiled = compile_lowered(
        lower(to_onnx(graph, INPUTS, name="n", dtype=dtype), tvm_target), tvm_target, {}
    )
    export(compiled.executable, folder / "model.so", tools)
    kernels = list(dict.fromkeys(split_into_kernels(graph, INPUTS)))
    return profile_kernels(compiled, kernels, target, dtype, folder / "model.so")


@cache
def gpu(folder: Path) -> Target:
    (folder / "gpu.yaml").write_text(GPU, encoding="utf-8")
    return load_target(folder / "gpu.yaml")


def test_kernels_of_a_gpu(tmp_path: Path) -> None:
    three, last = profiled(gpu(tmp_path), tmp_path)
    assert (three.calls, last.calls) == (3, 1)
    assert three.kernel == "conv3x3+relu 8x16x32->8x16x32"
    assert (three.macs, last.macs) == (9 * 8 * 8 * 16 * 32, 8 * 5 * 16 * 32)
    assert three.bytes_moved == 4 * (2 * 8 * 16 * 32 + 9 * 8 * 8 + 8)
    assert three.macs is not None
    assert three.roofline_s == pytest.approx(three.macs / 1e6)
    assert last.roofline_s is not None
    assert network_roofline_s([three, last]) == pytest.approx(3 * three.roofline_s + last.roofline_s)
    for kernel in (three, last):
        (launch,) = kernel.launches
        assert launch.registers is not None
        assert 0 < launch.registers <= 255
        assert launch.blocks * launch.threads >= 5 * 16 * 32 / 64
        assert launch.occupancy is not None
        assert 0 < launch.occupancy <= 1


def test_float16_has_no_peak_here_and_half_the_bytes(tmp_path: Path) -> None:
    three, last = profiled(gpu(tmp_path), tmp_path, "float16")
    assert three.bytes_moved == 2 * (2 * 8 * 16 * 32 + 9 * 8 * 8 + 8)
    assert three.roofline_s is None
    assert network_roofline_s([three, last]) is None


def test_kernels_of_a_cpu(tmp_path: Path) -> None:
    target = load_target("local-cpu")
    three, last = profiled(target, tmp_path)
    assert (three.calls, three.launches, last.launches) == (3, (), ())
    text = printed([three, last], target)
    header, _, first, *_, total = text.splitlines()[-5:]
    assert header.split() == ["kernel", "schedule", "calls", "MMAC", "kB", "roofline", "us"]
    assert first.split() == ["conv3x3+relu", "8x16x32->8x16x32", "default", "3", "0.29", "35.1", "-"]
    assert total == (
        "2 distinct kernels, 4 calls: 0.9 MMAC, 0.1 MB; "
        "target local-cpu tells no peaks of this dtype, so there is no roofline"
    )


def test_a_row_for_each_launch(tmp_path: Path) -> None:
    three, last = profiled(gpu(tmp_path), tmp_path)
    (launch,) = three.launches
    spilled = replace(launch, blocks=7, threads=64, stack_bytes=400, occupancy=0.25)
    unknown = replace(launch, blocks=9, registers=None, occupancy=None)
    text = printed([replace(three, launches=(spilled, unknown)), last], gpu(tmp_path))
    header, _, first, second, _, total = text.splitlines()[-6:]
    assert header.split()[3:9] == ["blocks", "threads", "registers", "spilled", "B", "shared"]
    row = first.split()
    assert row[:5] == ["conv3x3+relu", "8x16x32->8x16x32", "default", "3", "7"]
    assert (row[5], row[7], row[9]) == ("64", "400", "0.25")
    assert second.split()[:3] == ["launch", "2", "9"]
    assert second.split()[4] == "-"
    assert second.split()[-1] == "-"
    assert total.endswith("MB; roofline 905.216 ms, every map through memory once")


def printed(profile: list[KernelProfile], target: Target) -> str:
    frame = {"name": "frame", "dtype": "uint8", "shape": [1, 64, 128, 3], "meaning": "frame"}
    classes = {"name": "classes", "dtype": "uint8", "shape": [1, 64, 128], "meaning": "class index"}
    known = {"name": "n", "target": target.name, "inputs": [frame], "outputs": [classes]}
    counts = {"tuned_kernels": 0, "default_kernels": 1, "untuned": False}
    manifest = Manifest(**{field.name: None for field in fields(Manifest)} | known | counts)  # type: ignore[arg-type]
    return deploy._text(Deployed(Path("out"), manifest, None, profile), target)


def test_launches_of_a_schedule_in_two_parts(tmp_path: Path) -> None:
    target = gpu(tmp_path).tvm_target()
    (kernel, *_) = split_into_kernels(network(), INPUTS)
    mod = kernel_module(kernel, target)
    scheduled = scheduled_module(default._gpu_rules()["Fallback"](mod, target))
    assert launches(scheduled) == (Launch(4, 1024), Launch(4, 1024))
    assert launches(mod) == ()
