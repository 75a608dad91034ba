"""Single operators with their default schedules, beside onnxruntime and beside an older checkout.

    python benchmarks/operators.py --json > benchmarks/results/operators-local-cpu.json
    python benchmarks/operators.py --before ../older --json    # a checkout: git worktree add ../older COMMIT
    python benchmarks/operators.py matmul 'strided-*'

Each operator is an ONNX model of its own with random inputs. Every runtime has it in a process of its own;
these take turns with the same threads, so compare ratios of one run. A share is of a roofline: the time
that an operator's multiply-adds, or its inputs and results in bytes, would take at the highest rates that
this run saw in a product of two 1024x1024 matrices and in a sum of two maps (whichever is longer), by the
time that it took. ``--out`` keeps finished rows; a run that was stopped goes on from there.
"""

import argparse
import fnmatch
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from operator_models import MODELS
from records import Records, say
from refusals import run_benchmark
from served import Served, checked, failure, spread

from squeezenas_tvm.errors import FailedWork, UsageError
from targets import load_target
from targets.local_machine import LocalMachine
from targets.support.text import near_miss

CLOCKS: Mapping[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
TURN_MS = 300
PEAKS = ("peak-product", "peak-sum")
Run = Callable[[], Any]


# --- a runtime's process


def serve(runtime: str, path: Path, setting: argparse.Namespace) -> None:
    """Run a model once and keep what it gives; then answer each line with milliseconds of some runs."""
    seconds = CLOCKS[setting.clock]
    try:
        with np.load(path.with_suffix(".npz")) as given:
            inputs = {key: given[key] for key in given}
        if runtime == "onnxruntime":
            first, run = _onnxruntime(path, inputs, setting.threads)
        else:
            first, run = _tvm(path, inputs, setting.threads, setting.target)
        np.save(path.with_suffix(f".{runtime}.npy"), first)
        print(json.dumps({}), flush=True)
        for _ in sys.stdin:
            run()
            print(json.dumps({"samples_ms": _samples_ms(run, setting.runs, seconds)}), flush=True)
    except Exception as error:
        print(json.dumps(failure(error)), flush=True)


def _samples_ms(run: Run, runs: int, seconds: Callable[[], float]) -> list[float]:
    """Fewer runs where they are long."""
    samples: list[float] = []
    while len(samples) < runs and sum(samples) < TURN_MS:
        started = seconds()
        run()
        samples.append((seconds() - started) * 1e3)
    return samples


def _tvm(path: Path, inputs: Mapping[str, Any], threads: int, name: str) -> tuple[Any, Run]:
    """By the checkout that stands first on the path."""
    os.environ["TVM_NUM_THREADS"] = str(threads)
    import onnx

    from cost_models.lowering import compile_lowered, lower
    from cost_models.tvm_import import relax, tvm

    target = load_target(name).tvm_target()
    compiled = compile_lowered(lower(onnx.load(path), target), target, {})
    main = relax.VirtualMachine(compiled.executable, tvm.cpu())["main"]
    tensors = [tvm.runtime.tensor(array) for array in inputs.values()]
    return main(*tensors).numpy(), lambda: main(*tensors)


def _onnxruntime(path: Path, inputs: Mapping[str, Any], threads: int) -> tuple[Any, Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))[0], lambda: session.run(None, dict(inputs))


# --- a row


def row_of(name: str, before: Path | None, setting: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One operator: what was found, or ``error``."""
    import onnx

    model, path = MODELS[name](), folder / f"{name}.onnx"
    onnx.save(model.proto(), path)
    np.savez(path.with_suffix(".npz"), **model.inputs())
    row: dict[str, Any] = {"operator": name, "threads": setting.threads, "clock": setting.clock}
    row |= {"macs": model.macs, "bytes": model.moved_bytes}
    roots = {"tvm": None, "onnxruntime": None} | ({"before": before} if before else {})
    served: dict[str, Served] = {}
    try:
        for runtime, root in roots.items():
            served[runtime] = _process(runtime, root, path, setting)
            checked(runtime, served[runtime].answer(setting.limit_s))
        samples: dict[str, list[float]] = {runtime: [] for runtime in served}
        for _ in range(setting.rounds):
            for runtime, process in served.items():
                samples[runtime] += checked(runtime, process.ask(setting.limit_s))["samples_ms"]
    except FailedWork as error:
        return row | {"error": str(error)}
    finally:
        for process in served.values():
            process.end()
    made = {runtime: np.load(path.with_suffix(f".{runtime}.npy")) for runtime in served}
    wanted = made.pop("onnxruntime")
    row |= {f"{runtime}_ms": spread(values) for runtime, values in samples.items()}
    return row | {"difference": max(_apart(values, wanted) for values in made.values())}


def _process(runtime: str, root: Path | None, path: Path, setting: argparse.Namespace) -> Served:
    command = [sys.executable, __file__, "--serve", runtime, "--of", str(path)]
    command += ["--runs", str(setting.runs), "--threads", str(setting.threads), "--clock", setting.clock]
    command += ["--target", setting.target]
    where = {} if root is None else {"PYTHONPATH": str(root.resolve())}
    return Served(command, {**os.environ, **where})


def _apart(ours: Any, theirs: Any) -> float:
    """The largest difference relative to the largest value."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return float("inf")
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-9))


# --- the run


def with_shares(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with what share of the roofline each runtime reaches, by the rates of the two peaks among them."""
    found = {row["operator"]: row for row in rows if "error" not in row}
    if any(name not in found for name in PEAKS):
        return list(rows)
    product, total = (found[name] for name in PEAKS)
    rates = {
        "macs": max(product["macs"] / ms for ms in _best_ms(product)),
        "bytes": max(total["bytes"] / ms for ms in _best_ms(total)),
    }
    told = []
    for row in rows:
        if "error" not in row:
            least_ms = max(row[what] / rate for what, rate in rates.items())
            medians = {key[:-3]: row[key]["median"] for key in row if key.endswith("_ms")}
            row = row | {"share": {key: least_ms / median for key, median in medians.items()}}
        told.append(row)
    return told


def _best_ms(row: Mapping[str, Any]) -> list[float]:
    return [row[key]["p10"] for key in row if key.endswith("_ms")]


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as Markdown: milliseconds, shares of the roofline in brackets."""
    lines = [
        "| operator | before, ms | now, ms | onnxruntime, ms | now to onnxruntime |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['operator']} | {row['error']} | | | |")
            continue
        cells = [_cell(row, runtime) for runtime in ("before", "tvm", "onnxruntime")]
        ratio = row["tvm_ms"]["median"] / row["onnxruntime_ms"]["median"]
        lines.append(f"| {' | '.join([row['operator'], *cells])} | {ratio:.2f} |")
    return "\n".join(lines)


def _cell(row: Mapping[str, Any], runtime: str) -> str:
    if f"{runtime}_ms" not in row:
        return ""
    share = f" ({row['share'][runtime]:.0%})" if "share" in row else ""
    return f"{row[f'{runtime}_ms']['median']:.3g}{share}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "operators", nargs="*", help=f"of {', '.join(MODELS)}; 'max-*' is several (default all)"
    )
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="an older checkout, measured beside this one"
    )
    parser.add_argument(
        "--target", default="local-cpu", help="to build for: %(default)s, or a file like its own"
    )
    parser.add_argument("--threads", type=int, default=LocalMachine.detect().physical_cores)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each runtime (default %(default)s)")
    parser.add_argument("--runs", type=int, default=7, help="timed runs of a turn (default %(default)s)")
    parser.add_argument(
        "--clock",
        choices=tuple(CLOCKS),
        default="wall",
        help="cpu: of the process alone, for one thread on a machine that others use (default %(default)s)",
    )
    parser.add_argument("--limit-s", type=float, default=300, help="of each step (default %(default)s)")
    parser.add_argument("--out", type=Path, help="file that keeps finished rows, a line each")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.of, args)
        return
    asked = args.operators or ["*"]
    if unknown := [word for word in asked if not fnmatch.filter(MODELS, word)]:
        near = near_miss(unknown[0], MODELS)
        raise UsageError(f"no operator is {unknown[0]}{near}; allowed: {', '.join(MODELS)}")
    names = [name for name in MODELS if any(fnmatch.fnmatchcase(name, word) for word in asked)]
    if args.before and not (args.before / "cost_models").is_dir():
        raise UsageError(f"--before {args.before}: no checkout of this project; give the folder of one")
    if args.clock == "cpu" and args.threads != 1:
        raise UsageError(f"--clock cpu adds up {args.threads} threads; give --threads 1")
    rows = with_shares(_rows(names, args))
    if args.json:
        machine = load_target(args.target).fingerprint().as_dict()
        how = {"threads": args.threads, "clock": args.clock}
        print(json.dumps({"machine": machine, **how, "rows": rows}, indent=2))
    else:
        print(table_of(rows))
    if all("error" in row for row in rows):
        raise FailedWork("no operator ran, see above")


def _rows(names: Sequence[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    records, rows = Records(args.out), []
    for name in names:
        row = records.find(operator=name, threads=args.threads, clock=args.clock)
        if row is None or "error" in row:
            with tempfile.TemporaryDirectory() as folder:
                row = records.add(row_of(name, args.before, args, Path(folder)))
        say(table_of([row]).splitlines()[-1])
        rows.append(row)
    return rows


if __name__ == "__main__":
    run_benchmark(main)
