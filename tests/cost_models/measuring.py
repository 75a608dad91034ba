"""What the tests of the profiler share: a target that is timed quickly, small kernels, a look at a store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from cost_models.database.records import Measurement, Trial
from cost_models.database.store import MeasurementStore
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Activation, Conv2d
from cost_models.lowering.pipeline import structural_hash
from cost_models.profiling.context import MeasureContext
from cost_models.schedules.serialization import trace_text
from cost_models.tvm_import import tvm
from targets import Target, load_target

ROOT = Path(__file__).parents[2]
MEASURE = """{number: 1, repeat: 3, min_repeat_ms: 1, cooldown_ms: 0, interval_width: 0.5, drift: 0.5,
  budget_s: 0.05, timeout_s: TIMEOUT}"""
QUICK = f"""
schema_version: 1
name: quick-cpu
summary: this machine with as few samples as the schema allows
kind: local
tvm: {{kind: llvm}}
rpc: {{key: quick-cpu}}
dtypes: [float32, float16, int8]
measure: {MEASURE.replace("TIMEOUT", "30")}
"""


def quick_target(folder: Path, text: str = QUICK) -> Target:
    path = folder / "quick.yaml"
    path.write_text(text, encoding="utf-8")
    return load_target(path)


def kernel_of(channels: int, size: int = 16) -> Kernel:
    """A 3x3 depthwise convolution with ReLU."""
    net = GraphBuilder()
    value = net.conv_bn("conv", Conv2d(channels, channels, kernel=3, padding=1, groups=channels), "x")
    graph = net.build(net.add("act", Activation("relu"), value))
    (kernel,) = split_into_kernels(graph, {"x": (1, channels, size, size)})
    return kernel


def split(mod: Any, factor: int) -> str:
    """The text of a schedule that splits the innermost loop of a kernel."""
    schedule = tvm.s_tir.Schedule(mod)
    block = schedule.get_child_blocks(schedule.get_sblock("root"))[-1]
    schedule.split(schedule.get_loops(block)[-1], [None, factor])
    return trace_text(schedule)


def refused(mod: Any) -> Any:
    """A kernel of the same arguments for which TVM generates no code: it reads a variable from nowhere."""
    body = tvm.tirx.Evaluate(tvm.tirx.call_extern("int32", "abs", tvm.tirx.Var("nowhere", "int32")))
    return tvm.IRModule({"main": mod["main"].with_body(body)})


def failing_for(module: Any, schedule_default: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """``schedule_default`` that makes of one kernel's module what TVM refuses."""

    def schedule(mod: Any, target: Any) -> Any:
        scheduled = schedule_default(mod, target)
        return refused(scheduled) if structural_hash(mod) == structural_hash(module) else scheduled

    return schedule


def trials_of(context: MeasureContext, kernel: Kernel) -> dict[int, Trial]:
    return context.history.trials(kernel)


def timings_of(context: MeasureContext, kernel: Kernel) -> dict[int | None, list[Measurement]]:
    return context.history.timings(kernel)


Contents = tuple[dict[str, dict[int, Trial]], dict[int, Measurement]]


def contents(store: MeasurementStore) -> Contents:
    """All trials, by kernel, and all measurements of a store's only environment."""
    (environment,) = store.environments()
    trials = {key: store.trials(environment, key) for key in store.kernels()}
    return trials, store.measurements(environment)


def is_kept(before: Contents, after: Contents) -> bool:
    """Whether everything that was stored before is there unchanged, and what is new came after it."""
    old, new = [*before[0].values(), before[1]], [after[0][key] for key in before[0]]
    return all(
        list(now.items())[: len(then)] == list(then.items())
        for then, now in zip(old, [*new, after[1]], strict=True)
    )


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after some time; one that nobody has reaped does not run."""
    _, left = psutil.wait_procs(processes, timeout=10)
    return [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
