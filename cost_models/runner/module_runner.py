"""Builds and times blocks as one module, with warm and with cold caches.

A kernel timed alone finds its data and weights where its last run left them. Inside a network they were moved
out by everything that ran since. A block whose caches are overwritten before every run is the upper bound of
that, the same block run after run the lower one.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from onnx import ModelProto

from cost_models.ir.graph import Graph
from cost_models.ir.ops import Shape
from cost_models.lowering.pipeline import Compiled, compile_lowered, export, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.runner.runner import DeviceSession, RunResult, RunSettings, uploaded
from cost_models.tvm_import import relax, tvm
from targets.support.text import brief
from targets.toolchain.tools import Tools

Cache = Literal["warm", "cold"]
CACHES: tuple[Cache, ...] = ("warm", "cold")

# About what a network moves between two runs of a block at our resolutions, and several times the private
# caches of a CPU. Larger shared caches stay warm, as they do inside a network.
FLUSH_BYTES = 32 << 20
_FILL = "tvm.contrib.random.random_fill_for_measure"


def build_block(
    graph: Graph,
    inputs: Mapping[str, Shape],
    tvm_target: Any,
    tuned_mods: Mapping[str, Any],
    path: Path,
    *,
    tools: Tools | None = None,
    dtype: str = "float32",
) -> Compiled:
    """Compile a block as ``deploy`` compiles a network, with random weights, and write it for ``time_block``.

    Args:
        graph: a block, a single kernel, or several blocks in a row.
        inputs: shape of every input.
        tuned_mods: as for `compile_lowered`.
        path: of the shared object.
        tools: as for `export`.
        dtype: as for ``to_onnx``.

    Returns:
        The module that was written, with the names of its tuned and default kernels.

    Raises:
        InvalidGraph: the shapes do not fit.
        LoweringError: TVM cannot build it, or it cannot be linked.
        CompileError: the target's linker failed.
    """
    return build_model(to_onnx(graph, inputs, name="block", dtype=dtype), tvm_target, tuned_mods, path, tools)


def build_model(
    model: ModelProto, tvm_target: Any, tuned_mods: Mapping[str, Any], path: Path, tools: Tools | None = None
) -> Compiled:
    """As ``build_block``, of an ONNX model."""
    lowered = lower(model, tvm_target)
    compiled = compile_lowered(_with_flushed(lowered), tvm_target, tuned_mods)
    export(compiled.executable, path, tools)
    return compiled


def _with_flushed(lowered: Any) -> Any:
    """Adds ``flushed(memory, ...)``, which calls ``main(...)`` and leaves ``memory`` to TVM's evaluator.

    The evaluator calls a preprocessing function before every sample with the arguments of the timed function,
    and the one that overwrites memory takes that memory as its first argument.
    """
    params = [relax.Var(param.name, param.ty) for param in lowered["main"].params]
    builder = relax.BlockBuilder(lowered)
    with builder.function("flushed", [relax.Var("memory", relax.ObjectType()), *params]):
        builder.emit_func_output(builder.emit(relax.Call(lowered.get_global_var("main"), params)))
    return builder.get()


def time_block(
    session: DeviceSession,
    path: Path,
    input_shapes: Mapping[str, Shape],
    settings: RunSettings,
    cache: Cache = "warm",
    *,
    dtype: str | Sequence[str] = "float32",
) -> RunResult:
    """Upload, load, warm up and time what ``build_block`` wrote: work for ``Fleet.submit``.

    Args:
        input_shapes: inputs that the block reads, in its order.
        settings: cold, a sample is a single run, so ``number`` and ``min_repeat_s`` do not count;
            ``timeout_s`` is kept by whoever runs the work.
        cache: ``warm``: run after run. ``cold``: before every run all cores that run kernels write
            ``FLUSH_BYTES`` of other memory (some 50 ms on a desktop core).
        dtype: of all inputs, or of each.

    Returns:
        Samples in seconds, or the error in one line where the block cannot be loaded or run.

    Raises:
        Exception: the session is lost, so this is no result of the block; of whatever type TVM has for it.
    """
    started = loaded = time.perf_counter()
    samples_s: tuple[float, ...] = ()
    error: str | None = None
    try:
        with uploaded(session, path) as library:
            loaded = time.perf_counter()
            dtypes = [dtype] * len(input_shapes) if isinstance(dtype, str) else dtype
            pairs = zip(input_shapes.values(), dtypes, strict=True)
            inputs = [tvm.runtime.empty(shape, kind, session.device) for shape, kind in pairs]
            samples_s = _samples(session, library, inputs, settings, cache)
    except Exception as reason:
        session.device.sync()  # raises where the session is the reason
        error = brief(reason)
    return RunResult(
        samples_s=samples_s,
        error=error,
        upload_s=loaded - started,
        run_s=time.perf_counter() - loaded,
    )


def _samples(
    session: DeviceSession, library: Any, inputs: Sequence[Any], settings: RunSettings, cache: Cache
) -> tuple[float, ...]:
    """Both ways call the same function, so that they differ in the caches alone."""
    machine = relax.VirtualMachine(library, session.device)
    fill = session.remote.get_function(_FILL)
    for tensor in inputs:
        fill(tensor)
    machine.save_function("flushed", "run", *inputs, include_return=False)
    memory = tvm.runtime.empty((FLUSH_BYTES // 8,), "float64", session.device)
    if cache == "cold":
        how = {"number": 1, "f_preproc": _FILL}
    else:
        how = {"number": settings.number, "min_repeat_ms": math.ceil(settings.min_repeat_s * 1e3)}
    evaluator = machine.time_evaluator(
        "run",
        session.device,
        repeat=settings.repeat,
        cooldown_interval_ms=math.ceil(settings.cooldown_s * 1e3),
        **how,
    )
    return tuple(evaluator(memory).results)
