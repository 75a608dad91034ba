"""Are zoomed operations (resize to half, convolutions, resize back) scheduled as well as plain convolutions?

    python benchmarks/zoomed_operations.py --resolution 256x512 --folder zoomed-benchmark

Takes FasterSeg's cells at every scale, in the narrowest and the widest maps, and tunes each of their kernels
briefly (``--trials``, one store in the folder, gone on with). Then times all of them in rounds, one after the
other, with the default schedule and with the best that is on record, and prints by sort of kernel and by
operation what share of the roofline they reach: of the best rates that kernels of their kind reached in this
run, so 100 % is the best seen, not the best possible. An operation's share is that of the sums over its
kernels.

Default schedules of another checkout are timed in the same rounds:

    PYTHONPATH=../other python benchmarks/zoomed_operations.py --resolution 256x512 --save other.json
    python benchmarks/zoomed_operations.py --resolution 256x512 --folder zoomed-benchmark --beside other.json
"""

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plain_loop import build
from records import say
from refusals import run_benchmark

from cost_models.database.store import MeasurementStore
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Resize
from cost_models.kernel_models.roofline import PhysicalModel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.profiling.context import measure_context
from cost_models.profiling.profiler import measure
from cost_models.runner.runner import RunSettings, arguments_of, run_kernel
from cost_models.schedules.default import schedule_default
from cost_models.schedules.serialization import apply_schedule
from cost_models.tuning.effort import Effort
from cost_models.tvm_import import tvm
from search.resolution import Resolution
from search.spaces.fasterseg.grid import SKIP, Grid
from search.spaces.fasterseg.operations import cell_graph
from squeezenas_tvm.cli import table
from targets import load_target, open_session

SETTINGS = RunSettings(number=1, repeat=20, min_repeat_s=0.004)
GRID = Grid(ratio=8)
Rounds = Mapping[tuple[str, Kernel], Sequence[float]]  # by way and kernel: least seconds of each round


def cells(resolution: Resolution) -> dict[str, list[list[Kernel]]]:
    """Operation -> kernels of its cells, which keep the scale and the width; and the resize to the image."""
    found: dict[str, list[list[Kernel]]] = {}
    for operation in (name for name in GRID.operations if name != SKIP):
        for place, scale in enumerate(GRID.scales):
            for width in (GRID.widths[0], GRID.widths[-1]):
                channels = GRID.channels(place, width)
                shape = (1, channels, resolution.height // scale, resolution.width // scale)
                graph = cell_graph(operation, channels, channels, down=False)
                found.setdefault(operation, []).append(split_into_kernels(graph, {"x": shape}))
    coarse = (1, 19, *(side // GRID.scales[0] for side in resolution))
    for corners in (True, False):  # with aligned corners, the last layer of every network
        net = GraphBuilder()
        graph = net.build(net.add("last", Resize(corners, (resolution.height, resolution.width)), "x"))
        found.setdefault("last resize", []).append(split_into_kernels(graph, {"x": coarse}))
    return found


def schedules(kernels: Iterable[Kernel], path: Path, trials: int) -> dict[tuple[str, Kernel], Any]:
    """Tune what lacks trials; modules by default schedule, and by the best on record where it is another."""
    target, modules = load_target("local-cpu"), {}
    wanted, tvm_target = list(kernels), target.tvm_target()
    with MeasurementStore.open(path) as store, measure_context(target, store) as context:
        measure(context, wanted, Effort.alone(trials))
        for kernel in wanted:
            mod = kernel_module(kernel, tvm_target)
            modules["default", kernel] = schedule_default(mod, tvm_target)
            trial, _ = context.history.fastest(kernel)
            if trial is not None:
                schedule = context.history.trials(kernel)[trial].schedule
                modules["tuned", kernel] = apply_schedule(mod, tvm_target, schedule)
    return modules


def time_all(modules: Mapping[tuple[str, Kernel], Any], rounds: int) -> dict[tuple[str, Kernel], list[float]]:
    """The fastest of 20 samples of every module, once a round; those of one kernel one after the other."""
    target = load_target("local-cpu")
    found: dict[tuple[str, Kernel], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, open_session(target, timeout_s=86400.0) as session:
        paths = {what: Path(folder) / f"{number}.so" for number, what in enumerate(modules)}
        for what, mod in modules.items():
            build(mod, target.tvm_target(), paths[what])
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for what, mod in modules.items():
                run = run_kernel(session, paths[what], arguments_of(mod), SETTINGS)
                if run.error is None:
                    found[what].append(min(run.samples_s))
    return found


def report(measured: Rounds, cells: Mapping[str, Sequence[Sequence[Kernel]]]) -> str:
    """Shares by sort and by operation, and default schedules beside those of the other checkout."""
    seconds = {what: statistics.median(samples) for what, samples in measured.items()}
    kernels = [kernel for way, kernel in seconds if way == "default"]
    best_s = {k: min(s for (_, other), s in seconds.items() if other == k) for k in kernels}
    default_s = {k: seconds["default", k] for k in kernels}
    model = PhysicalModel.fit(kernels, [best_s[k] for k in kernels])

    def share(kernels: Sequence[Kernel], found_s: Mapping[Kernel, float]) -> float:
        return sum(map(model.bound_s, kernels)) / sum(found_s[k] for k in kernels)

    def row(name: str, groups: Sequence[Sequence[Kernel]]) -> list[str]:
        shares = [[share(group, found_s) for group in groups] for found_s in (default_s, best_s)]
        return [name, f"{len(groups)}", *(text for own in shares for text in _cells(own))]

    sorts: dict[str, list[list[Kernel]]] = defaultdict(list)
    for kernel in kernels:
        sorts[kernel.label.rpartition(" ")[0]].append([kernel])
    head = ["", "count", "default, % of the roofline", "from to", "tuned, %", "from to"]
    lines = [table(head, [row(name, groups) for name, groups in (*sorts.items(), *cells.items())])]
    if before := [kernel for way, kernel in seconds if way == "before"]:
        lines += ["", _beside(before, measured)]
    return "\n".join(lines)


def _cells(shares: Sequence[float]) -> list[str]:
    ends = f"{100 * min(shares):.0f} to {100 * max(shares):.0f}"
    return [f"{100 * statistics.median(shares):.0f}", ends]


def _beside(kernels: Sequence[Kernel], measured: Rounds) -> str:
    """Default schedules of the other checkout over those of this one, the median and ends of all rounds."""
    rows = []
    for kernel in kernels:
        pairs = zip(measured["before", kernel], measured["default", kernel], strict=True)
        ratios = sorted(old / new for old, new in pairs)
        ends = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        rows.append([kernel.label, f"{statistics.median(ratios):.2f}", ends])
    return table(["default schedule", "times as fast as before", "rounds"], rows)


def main() -> None:
    """Tune, time, print; or save the default schedules for another checkout."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--resolution", default="256x512")
    parser.add_argument("--trials", type=int, default=16, help="for each kernel (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path("zoomed-benchmark"))
    parser.add_argument("--save", type=Path, help="write the default schedules there, and time nothing")
    parser.add_argument("--beside", type=Path, help="default schedules that another checkout saved")
    args = parser.parse_args()
    every = cells(Resolution.parse(args.resolution))
    own = list(dict.fromkeys(kernel for groups in every.values() for group in groups for kernel in group))
    if args.save:
        target = load_target("local-cpu").tvm_target()
        saved = {k.key: tvm.ir.save_json(schedule_default(kernel_module(k, target), target)) for k in own}
        args.save.write_text(json.dumps(saved), encoding="utf-8")
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    modules = schedules(own, args.folder / "measurements.sqlite", args.trials)
    saved = json.loads(args.beside.read_text(encoding="utf-8")) if args.beside else {}
    modules |= {
        ("before", k): tvm.ir.load_json(saved[k.key])
        for k in own
        if k.label.startswith("resize") and k.key in saved
    }
    in_turn = sorted(modules, key=lambda what: (own.index(what[1]), what[0]))
    print(report(time_all({what: modules[what] for what in in_turn}, args.rounds), every))


if __name__ == "__main__":
    run_benchmark(main)
