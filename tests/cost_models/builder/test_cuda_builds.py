"""Kernels and networks for GPUs of boards, built here: the right machine code and nothing else."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cost_models.builder.pool import BuildPool
from cost_models.errors import LoweringError
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Activation, Add, ArgMax, Conv2d, Resize
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import Compiled, compile_lowered, export, kernels, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.schedules.default import schedule_default
from cost_models.schedules.serialization import apply_schedule
from cost_models.tuning.kernel_search import KernelSearch
from cost_models.tuning.settings import SearchSettings
from cost_models.tvm_import import tvm
from targets import MissingTool, load_target
from targets.toolchain.cubin import cubin_architectures
from targets.toolchain.cuda_compiler import find_cuda_compiler
from targets.toolchain.tools import Tools, find_tools

from ..some_kernels import argmax, convolution, depthwise, relu

ROOT = Path(__file__).parents[3]
EM_AARCH64, EM_X86_64 = 183, 62
XAVIER = load_target("jetson-xavier").tvm_target()
CONV = convolution(16, 32, 16, 32)
KERNELS = [
    CONV,
    convolution(3, 16, 16, 32, 3, stride=2),
    depthwise(16, 16, 32),
    argmax(16, 32),
    relu(8, 8, 8),
]


@pytest.fixture(scope="module")
def tools() -> Tools:
    try:
        found = find_tools(load_target("jetson-xavier"), "float16")
    except MissingTool as missing:
        pytest.skip(str(missing))
    found.install()
    return found


@pytest.fixture(scope="module")
def pool(tools: Tools) -> Iterator[BuildPool]:
    with BuildPool.of(tools) as opened:
        yield opened


@cache
def network() -> Any:
    """A small one, lowered: convolutions, one depthwise, a sum, a resize and the index of the best class."""
    net = GraphBuilder()
    x = net.add("a", Activation("relu"), net.conv_bn("stem", Conv2d(3, 8, 3, 2, 1), "x"))
    y = net.add("b", Activation("relu"), net.conv_bn("depthwise", Conv2d(8, 8, 3, 1, 1, 1, 8), x))
    y = net.add("sum", Add(), net.conv_bn("project", Conv2d(8, 8), y), x)
    y = net.add("resize", Resize(False, (16, 32)), net.conv_bn("head", Conv2d(8, 5), y))
    graph = net.build(net.add("classes", ArgMax(), y))
    return lower(to_onnx(graph, {"x": (1, 3, 16, 32)}, name="net"), XAVIER)


@cache
def compiled() -> Compiled:
    return compile_lowered(network(), XAVIER, {})


def check(path: Path, arch: str, machine: int = EM_AARCH64) -> bytes:
    """A shared object for ``machine`` whose GPU code is one program for ``arch``; returns what is in it."""
    data = path.read_bytes()
    assert int.from_bytes(data[18:20], "little") == machine
    assert cubin_architectures(data) == [arch]
    assert b"__global__" not in data
    assert b"__syncthreads" not in data
    return data


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_default_schedules(pool: BuildPool, dtype: str) -> None:
    modules = [kernel_module(kernel, XAVIER, dtype) for kernel in KERNELS]
    before = list(map(tvm.ir.save_json, modules))
    results = pool.build([schedule_default(mod, XAVIER) for mod in modules], XAVIER)
    for kernel, result in zip(KERNELS, results, strict=True):
        assert result.error is None, kernel.label
        assert result.path is not None
        assert b"main_kernel" in check(result.path, "sm_72")
    assert list(map(tvm.ir.save_json, modules)) == before  # they are shared


@pytest.mark.parametrize("kernel", [CONV, depthwise(16, 16, 32)], ids=lambda kernel: kernel.label)
def test_candidates_of_the_search(pool: BuildPool, kernel: Kernel) -> None:
    mod = kernel_module(kernel, XAVIER)
    search = KernelSearch(mod, XAVIER, SearchSettings(round_size=3, population=8, generations=1))
    proposals = search.propose(3)
    assert {proposal.origin for proposal in proposals} == {"tiles", "evolution"}
    for proposal, result in zip(proposals, pool.build([p.mod for p in proposals], XAVIER), strict=True):
        assert result.error is None
        assert result.path is not None
        check(result.path, "sm_72")
        tvm.ir.assert_structural_equal(apply_schedule(mod, XAVIER, proposal.schedule), proposal.mod)


@pytest.mark.parametrize(("arch", "cuda"), [("sm_87", "12.2"), ("sm_90", "12.9"), ("sm_90a", "12.9")])
def test_other_gpus(arch: str, cuda: str) -> None:
    try:
        compiler = find_cuda_compiler(arch, cuda)
    except MissingTool as missing:
        pytest.skip(str(missing))
    limits = {"max_threads_per_block": 1024, "max_shared_memory_per_block": 49152, "thread_warp_size": 32}
    target = tvm.target.Target({"kind": "cuda", "arch": arch, "host": {"kind": "llvm"}, **limits})
    with BuildPool(workers=1, setup=compiler.install) as builders:
        (result,) = builders.build([schedule_default(kernel_module(CONV, target), target)], target)
        assert result.error is None
        assert result.path is not None
        machine = int.from_bytes(Path(sys.executable).resolve().read_bytes()[18:20], "little")
        check(result.path, arch.rstrip("a"), machine)


def test_source_that_the_compiler_refuses_costs_only_the_candidate(tools: Tools) -> None:
    assert tools.cuda is not None
    wrong = replace(tools.cuda, arch="sm_1")
    with BuildPool(workers=1, setup=wrong.install) as builders:
        (result,) = builders.build([schedule_default(kernel_module(CONV, XAVIER), XAVIER)], XAVIER)
    assert result.path is None
    assert result.error is not None
    assert "invalid value for --gpu-architecture" in result.error


# --- networks


def test_a_network_runs_on_the_gpu_alone(tools: Tools, tmp_path: Path) -> None:
    made = compiled()
    assert made.tuned == ()
    export(made.executable, tmp_path / "net.so", tools)
    data = check(tmp_path / "net.so", "sm_72")
    for name in kernels(network()):
        assert f"{name}_kernel".encode() in data
    assert [path.name for path in tmp_path.iterdir()] == ["net.so"]


def test_a_tuned_kernel_is_built_as_it_was_tuned(tools: Tools) -> None:
    default = source(compiled())
    name, kernel = next(iter(kernels(network()).items()))
    (proposal,) = KernelSearch(kernel.mod, XAVIER, SearchSettings(population=8, generations=1)).propose(1)
    made = compile_lowered(network(), XAVIER, {kernel.hash: proposal.mod})
    assert made.tuned == (name,)
    (alone,) = tvm.compile(proposal.mod, XAVIER).mod.imports
    found, wanted = (
        function(source(made), f"{name}_kernel"),
        function(alone.inspect_source("cuda"), "main_kernel"),
    )
    assert found == wanted.replace("main_kernel", f"{name}_kernel")
    assert found != function(default, f"{name}_kernel")


def test_cuda_graphs_only_where_they_are_asked_for(tools: Tools) -> None:
    assert "cuda_graph" not in compiled().executable.as_text()
    graphs = compile_lowered(network(), XAVIER, {}, cuda_graphs=True).executable
    assert "vm.builtin.cuda_graph.run_or_capture" in graphs.as_text()


def test_a_kernel_without_threads_is_refused(pool: BuildPool, tools: Tools) -> None:
    """TVM would build it for the host, where it would crash."""
    name, kernel = next(iter(kernels(network()).items()))
    with pytest.raises(LoweringError) as caught:
        compile_lowered(network(), XAVIER, {kernel.hash: kernel.mod})
    said = " would run on the host, which cannot reach the GPU's memory"
    assert str(caught.value).startswith(f"{name}: no schedule for a GPU: ")
    assert str(caught.value).endswith(said)
    (result,) = pool.build([kernel.mod], XAVIER)
    assert result.error is not None
    assert result.error.startswith("LoweringError: kernel: no schedule for a GPU: ")


def test_code_for_another_gpu_does_not_leave(tools: Tools, tmp_path: Path) -> None:
    assert tools.cuda is not None
    other = replace(tools, cuda=replace(tools.cuda, arch="sm_87"))
    with pytest.raises(LoweringError) as caught:
        export(compiled().executable, tmp_path / "net.so", other)
    assert str(caught.value) == (
        f"{tmp_path / 'net.so'}: holds sm_72 for the GPU, allowed: machine code for sm_87 alone; "
        "see what TVM's CUDA runtime lacks here: squeezenas-tvm targets check NAME"
    )
    assert list(tmp_path.iterdir()) == []


WITHOUT_RUNTIME = """
import pickle, sys
from pathlib import Path
from cost_models.lowering.pipeline import compile_lowered, export
from cost_models.tvm_import import tvm
from targets.toolchain.tools import has_cuda_runtime
lowered, tools = tvm.ir.load_json(Path(sys.argv[1]).read_text()), pickle.loads(Path(sys.argv[2]).read_bytes())
tools.install()
print(has_cuda_runtime())
target = tvm.target.Target("nvidia/jetson-agx-xavier")
export(compile_lowered(lowered, target, {}).executable, Path(sys.argv[3]), tools)
"""


def test_source_text_does_not_leave(tools: Tools, tmp_path: Path) -> None:
    """What TVM makes where its CUDA runtime does not load: here, without a compiler to build stand-ins."""
    graph, pickled, out = tmp_path / "net.json", tmp_path / "tools", tmp_path / "out"
    graph.write_text(tvm.ir.save_json(network()))
    pickled.write_bytes(pickle.dumps(tools))
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RUNTIME, str(graph), str(pickled), str(out / "net.so")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": "", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stdout.strip() == "True":
        pytest.skip("this machine has NVIDIA's libraries")
    assert done.stderr.splitlines()[-1] == (
        f"cost_models.errors.LoweringError: {out / 'net.so'}: holds source text for the GPU, allowed: "
        "machine code for sm_72 alone; see what TVM's CUDA runtime lacks here: "
        "squeezenas-tvm targets check NAME"
    )
    assert list(out.iterdir()) == []


def source(made: Compiled) -> str:
    """The CUDA source that a network's machine code was compiled from."""
    (host,) = made.executable.mod.imports
    (gpu,) = host.imports
    return str(gpu.inspect_source("cuda"))


def function(text: str, name: str) -> str:
    """The definition of one kernel in source."""
    found = [part for part in text.split('extern "C" __global__') if f" {name}(" in part and "{" in part]
    assert len(found) == 1
    return found[0].strip()
