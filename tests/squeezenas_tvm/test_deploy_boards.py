"""The deploy command for boards that are not here: what it builds for them, and what it refuses early."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cost_models.database.environment import environment
from cost_models.database.records import Measurement, Trial
from cost_models.database.store import MeasurementStore
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.lowering.best_schedules import kernel_module
from cost_models.schedules.conv_template import find_conv
from cost_models.schedules.sblocks import blocks_of, spatial_shape
from cost_models.schedules.serialization import tile_text, trace_text
from cost_models.schedules.tile_model import Cpu, choose_tile
from cost_models.tvm_import import tvm
from search.architecture import load_architecture
from squeezenas_tvm.bundles.manifest import read_manifest
from squeezenas_tvm.deploy import main
from squeezenas_tvm.run import main as run
from targets import MissingTool, load_target
from targets.toolchain.cubin import cubin_architectures
from targets.toolchain.tools import find_tools

from .helpers import NAME, SIZE, refused_by

EM_AARCH64 = 183
NETWORK = [NAME, "--resolution", str(SIZE)]

BOARD = """
schema_version: 1
name: my-board
summary: a board of one's own
kind: board
model: mine
tvm: {tvm}
rpc: {{key: my-board, tracker_env: MY_TRACKER}}
dtypes: [float32]
measure: {{number: 1, repeat: 3, min_repeat_ms: 1, cooldown_ms: 0, timeout_s: 30}}
toolchain: {toolchain}
"""


def need_tools(name: str) -> None:
    try:
        find_tools(load_target(name))
    except MissingTool as error:
        pytest.skip(str(error))


def deploy_for(target: str, folder: Path, capture: pytest.CaptureFixture[str], *more: str) -> tuple[str, str]:
    """Deploy into ``folder / 'out'``; what went to stdout and to stderr."""
    given = [*NETWORK, "--target", target, "--out", str(folder / "out"), "--measurements", str(folder), *more]
    code = main(given)
    said = capture.readouterr()
    assert code == 0, said.err
    return said.out, said.err


def check_elf(module: Path) -> None:
    head = module.read_bytes()[:20]
    assert head[:4] == b"\x7fELF"
    assert int.from_bytes(head[18:20], "little") == EM_AARCH64


def record(target_name: str, folder: Path, schedule: Callable[[Any, Any], str]) -> None:
    """A store in which one kernel of the network has a tuned schedule that nothing beats."""
    target = load_target(target_name)
    graph = load_architecture(NETWORK[0]).camera_network()
    kernels = split_into_kernels(graph, {"frame": (1, *SIZE, 3)})
    kernel: Kernel = next(kernel for kernel in kernels if kernel.kind == "depthwise")
    text = schedule(kernel_module(kernel, target.tvm_target()), target.tvm_target())
    with MeasurementStore.open(folder / "measurements.sqlite") as store:
        where = store.add_environment(environment(target))
        store.add_kernel(kernel.key, kernel.description)
        store.add_measurement(where, Measurement(kernel=kernel.key, how="default", samples_s=(1e-3,)))
        trial = store.add_trial(where, kernel.key, Trial(schedule=text, samples_s=(1e-6,)))
        tuned = Measurement(kernel=kernel.key, how="tuned", samples_s=(1e-6,))
        store.add_measurement(where, tuned, trial=trial)


def tile(mod: Any, tvm_target: Any) -> str:
    conv = find_conv(mod)
    return tile_text(choose_tile(conv, Cpu.of(tvm_target)))


def threads(mod: Any, tvm_target: Any) -> str:
    """A GPU schedule that differs from the default one: a thread for each value of each stage."""
    schedule = tvm.s_tir.Schedule(mod)
    for block in blocks_of(schedule):
        loops = schedule.get_loops(block)[: len(spatial_shape(schedule, block))]
        outer, inner = schedule.split(schedule.fuse(*loops), [None, 32])
        schedule.bind(outer, "blockIdx.x")
        schedule.bind(inner, "threadIdx.x")
    return trace_text(schedule)


# --- what it builds ---


def test_board_with_a_cpu_and_records(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    need_tools("raspberry-pi-4")
    record("raspberry-pi-4", tmp_path, tile)
    out, said = deploy_for("raspberry-pi-4", tmp_path, capfd, "--json")
    document = json.loads(out)
    count = document["default_kernels"]
    assert (document["target"], document["untuned"], document["tuned_kernels"]) == (
        "raspberry-pi-4",
        False,
        1,
    )
    assert f"{count} of {count + 1} kernels run on default schedules: nothing better is on record" in said
    manifest = read_manifest(tmp_path / "out")
    assert manifest["kernels"] == {"tuned": 1, "default": count, "untuned": False}
    assert manifest["target"]["device"] == "cpu"
    assert manifest["target"]["runs_on"] == {"machine": "aarch64", "cpu_flags": ["asimd", "fp"]}
    assert manifest["target"]["fingerprint"]["device"] == "Raspberry Pi 4 Model B"
    check_elf(tmp_path / "out" / "model.so")


def test_gpu_without_records_is_loudly_untuned(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    need_tools("jetson-xavier")
    out, said = deploy_for("jetson-xavier", tmp_path, capfd, "--profile", "--no-check")
    manifest = read_manifest(tmp_path / "out")
    count = manifest["kernels"]["default"]
    assert out.splitlines()[-1].startswith(f"{count} distinct kernels, ")
    warning = (
        f"UNTUNED: all {count} kernels run on default GPU schedules, which were made without a GPU; "
        "tune them on the device: the same command with --trials 64 --tracker HOST:PORT"
    )
    assert warning in said.splitlines()
    assert warning in out.splitlines()
    assert f"next: copy {tmp_path / 'out'} to the device, and there: python out/run.py IMAGE" in out
    unchecked = {"kernels": 0, "emulated_gpu": None, "why_not": "--no-check"}
    assert manifest["kernels"] == {"tuned": 0, "default": count, "untuned": True, "checked": unchecked}
    assert "kernels not checked: --no-check" in out
    assert manifest["target"]["device"] == "cuda"
    needs = manifest["target"]["runs_on"]
    assert (needs["machine"], needs["cuda_arch"], needs["cuda"]) == ("aarch64", "sm_72", "11.4")
    assert "asimdhp" in needs["cpu_flags"]
    check_elf(tmp_path / "out" / "model.so")
    module = (tmp_path / "out" / "model.so").read_bytes()
    assert set(cubin_architectures(module)) == {"sm_72"}
    assert b"__global__" not in module
    (tmp_path / "street.ppm").write_bytes(b"P6 1 1 255\n123")
    given = [str(tmp_path / "out"), str(tmp_path / "street.ppm"), "--out", str(tmp_path / "seen")]
    refused_by(run, given, "made for jetson-xavier", capfd)


@pytest.mark.slow
def test_gpu_with_records_is_not_untuned(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    need_tools("jetson-xavier")
    record("jetson-xavier", tmp_path, threads)
    out, said = deploy_for("jetson-xavier", tmp_path, capfd, "--json", "--no-check")
    document = json.loads(out)
    count = document["default_kernels"]
    assert (document["untuned"], document["tuned_kernels"]) == (False, 1)
    assert "UNTUNED" not in said
    assert f"{count} of {count + 1} kernels run on default schedules: nothing better is on record" in said


# --- what it refuses ---


def board(folder: Path, tvm_target: str, toolchain: str) -> list[str]:
    path = folder / "my-board.yaml"
    path.write_text(BOARD.format(tvm=tvm_target, toolchain=toolchain), encoding="utf-8")
    return [NAME, "--target", str(path), "--out", str(folder / "out")]


def test_missing_linker(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ziglang", None)  # counts as not installed
    given = board(tmp_path, "{kind: llvm, mtriple: riscv64-none-elf}", "{triple: riscv64-none-elf}")
    refused_by(main, given, "no linker for riscv64-none-elf; install one: pip install ziglang, or", capfd)
    assert not (tmp_path / "out").exists()


def test_missing_cuda_compiler(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = board(tmp_path, "{kind: cuda, arch: sm_70, host: {kind: llvm}}", '{cuda: "9.2"}')
    refused_by(main, given, "no compiler for sm_70 and CUDA 9.2: NVRTC found here: ", capfd)
    assert not (tmp_path / "out").exists()


def test_trials_on_a_board_need_its_tracker(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_TRACKER", raising=False)
    given = [*board(tmp_path, "{kind: llvm}", "{glibc: '2.31'}"), "--trials", "2"]
    said = "--trials 2 needs the board: target my-board: no tracker address; give --tracker HOST:PORT"
    refused_by(main, given, said, capfd)
    assert not (tmp_path / "out").exists()
