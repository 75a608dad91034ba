"""Networks of other people as ``deploy`` makes them, beside onnxruntime and beside their prediction.

    python benchmarks/foreign_networks.py --json > benchmarks/results/foreign_networks-local-cpu.json
    python benchmarks/foreign_networks.py enet squeezenas-lat-small --resolution 256x512 --trials 64 --json

The networks of ``benchmarks/networks`` and some of the house's own, all as ONNX files from a normalised
image to logits at its size, with random weights. Each file is deployed; then the bundle and onnxruntime,
each in a process of its own, take turns with the same threads: compare ratios of one run. A row that fails
says why, and the run goes on. ``--out`` keeps finished rows; a run that was stopped goes on from there.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from deployed_networks import check_names
from networks.registry import NETWORKS
from records import Records, say
from refusals import run_benchmark
from served import Served, checked, failure, output_of, spread

from cost_models.errors import CostModelError
from search.architecture import load_architecture
from search.errors import SearchError
from search.resolution import Resolution
from squeezenas_tvm.errors import FailedWork
from targets import load_target
from targets.local_machine import LocalMachine
from targets.support.child_python import child_python

HERE = Path(__file__).parent
OWN = ("squeezenas-lat-small", "squeezenas-mac-small", "squeezenas-lat-large", "mobilenetv3-large-seg")
RUNTIMES = ("tvm", "onnxruntime")
CLOSE = 1e-4  # differences of float32 relative to the largest value
SLOWEST, LOOKS = 5, 3  # kernels of each network that are named, and runs in which they are timed


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What all rows of a run have in common.

    Attributes:
        rounds, runs: turns of each runtime, and timed runs of a turn.
        limit_s: of each step: writing the file, deploying, predicting, a turn.
    """

    target: str
    trials: int
    measurements: Path | None
    threads: int
    rounds: int
    runs: int
    limit_s: float


# --- a runtime's process


def serve(runtime: str, path: Path, outputs: Path, threads: int, runs: int) -> None:
    """Run the network once and keep what it gives; then answer each line with milliseconds of some runs."""
    try:
        run, more = (_tvm if runtime == "tvm" else _onnxruntime)(path, threads)
        np.savez(outputs, *run())
        print(json.dumps(more()), flush=True)
        for _ in sys.stdin:
            run()
            print(json.dumps({"samples_ms": [_timed_ms(run) for _ in range(runs)]}), flush=True)
    except Exception as error:
        print(json.dumps(failure(error)), flush=True)


def _timed_ms(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) * 1e3


def _image(shape: Sequence[int]) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


Made = tuple[Callable[[], list[Any]], Callable[[], dict[str, Any]]]


def _tvm(folder: Path, threads: int) -> Made:
    """The bundle's run, and one that names its slowest kernels."""
    os.environ["TVM_NUM_THREADS"] = str(threads)
    from squeezenas_tvm.bundles.runner import Bundle

    bundle = Bundle.load(folder)
    images = [_image(value["shape"]) for value in bundle.inputs]

    def run() -> list[Any]:
        return bundle.run(images)

    return run, lambda: {"slowest": _slowest(bundle._vm, run)}


def _slowest(machine: Any, run: Callable[[], Any]) -> list[dict[str, Any]]:
    """The kernels that take most of a run, all calls of each together; medians of several runs."""
    began: list[float] = []
    spent: dict[str, list[float]] = defaultdict(list)

    def instrument(_function: Any, name: str, before: bool, *_rest: Any) -> int:
        if before:
            began.append(time.perf_counter())
        else:
            spent[name].append((time.perf_counter() - began.pop()) * 1e3)
        return 0  # go on

    machine.set_instrument(instrument)
    for _ in range(LOOKS):
        run()
    machine.set_instrument(lambda *_: 0)
    in_runs = {name: np.reshape(ms, (LOOKS, -1)) for name, ms in spent.items()}
    found = {name: float(np.median(ms.sum(1))) for name, ms in in_runs.items()}
    total = sum(found.values())
    return [
        {"kernel": name, "calls": in_runs[name].shape[1], "ms": found[name], "share": found[name] / total}
        for name in sorted(found, key=lambda name: -found[name])[:SLOWEST]
    ]


def _onnxruntime(path: Path, threads: int) -> Made:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    images = {value.name: _image(value.shape) for value in session.get_inputs()}
    return lambda: list(session.run(None, images)), lambda: {"version": onnxruntime.__version__}


# --- a row


def row_of(name: str, size: Resolution, setting: Setting, folder: Path) -> dict[str, Any]:
    """One network at one size: what was found, or ``error``."""
    row = _key(name, size, setting)
    try:
        path = _write(name, size, folder / f"{name}.onnx", setting.limit_s)
        row |= _predicted(path, setting)
        started = time.monotonic()
        row |= _deployed(path, folder / "bundle", setting)
        row["deploy_s"] = time.monotonic() - started
        row |= _measured(path, folder, setting)
    except (FailedWork, CostModelError, SearchError) as error:
        row["error"] = str(error)
    return row


def _key(name: str, size: Resolution, setting: Setting) -> dict[str, Any]:
    """What a row is of."""
    how = {"target": setting.target, "trials": setting.trials, "threads": setting.threads}
    return {"network": name, "resolution": str(size), **how}


def _write(name: str, size: Resolution, path: Path, limit_s: float) -> Path:
    """The network's ONNX file. PyTorch stays in a process of its own."""
    if name in NETWORKS:
        script = str(HERE / "export_network.py")
        given = [name, "--resolution", str(size), "--out", str(path)]
        output_of([sys.executable, script, *given], limit_s, "export")
        return path
    import onnx

    from cost_models.onnx_io.exporter import to_onnx

    graph = load_architecture(name).network()
    (image,) = graph.inputs
    onnx.save(to_onnx(graph, {image: (1, 3, *size)}, name=name), path)
    return path


def _predicted(path: Path, setting: Setting) -> dict[str, Any]:
    options = ["--default-schedules"] if setting.trials == 0 else []
    options += ["--table", str(setting.measurements)] if setting.measurements else []
    (network,) = _command("predict", path, setting, *options)["networks"]
    told = {"predicted_ms": network["latency_ms"], "sources": network["sources"]}
    return {"macs": network["macs"], "params": network["params"], **told}


def _deployed(path: Path, bundle: Path, setting: Setting) -> dict[str, Any]:
    options = ["--trials", str(setting.trials), "--out", str(bundle)]
    options += ["--measurements", str(setting.measurements)] if setting.measurements else []
    found = _command("deploy", path, setting, *options)
    return {"tuned_kernels": found["tuned_kernels"], "default_kernels": found["default_kernels"]}


def _command(command: str, path: Path, setting: Setting, *options: str) -> dict[str, Any]:
    """The document of a command of ours."""
    given = ["squeezenas_tvm", command, str(path), "--target", setting.target, *options, "--json"]
    limit_s = setting.limit_s * (1 + setting.trials)
    document: dict[str, Any] = json.loads(output_of(child_python(*given), limit_s, command))
    return document


def _measured(path: Path, folder: Path, setting: Setting) -> dict[str, Any]:
    """Turns of both runtimes, and how far their numbers are apart."""
    outputs = {runtime: folder / f"{runtime}.npz" for runtime in RUNTIMES}
    served: dict[str, Served] = {}
    try:
        told: dict[str, Any] = {}
        for runtime, of in (("tvm", folder / "bundle"), ("onnxruntime", path)):
            given = ["--serve", runtime, "--of", str(of), "--outputs", str(outputs[runtime])]
            given += ["--runs", str(setting.runs), "--threads", str(setting.threads)]
            served[runtime] = Served([sys.executable, __file__, *given], os.environ)
            told |= checked(runtime, served[runtime].answer(setting.limit_s))
        samples: dict[str, list[float]] = {runtime: [] for runtime in RUNTIMES}
        for _ in range(setting.rounds):
            for runtime, process in served.items():
                samples[runtime] += checked(runtime, process.ask(setting.limit_s))["samples_ms"]
    finally:
        for process in served.values():
            process.end()
    found = {f"{runtime}_ms": spread(values) for runtime, values in samples.items()}
    ratio = found["tvm_ms"]["median"] / found["onnxruntime_ms"]["median"]
    apart, share = _apart(outputs["tvm"], outputs["onnxruntime"])
    differences = {"difference": apart, "differing": share}
    return {**found, "tvm_to_onnxruntime": ratio, **differences, "slowest": told["slowest"]}


def _apart(ours: Path, theirs: Path) -> tuple[float, float]:
    """The largest difference of any output, relative to its largest value; what share of values are apart by
    more than ``CLOSE``: a few where ENet's maxima are all but ties, many where something is wrong."""
    with np.load(ours) as mine, np.load(theirs) as reference:
        if [mine[key].shape for key in mine] != [reference[key].shape for key in reference]:
            raise FailedWork("outputs have other shapes than onnxruntime's")
        pairs = [(mine[key], reference[key]) for key in reference]
    if not all(np.isfinite(values).all() for pair in pairs for values in pair):
        raise FailedWork("outputs hold values that are no numbers")
    apart = np.concatenate([(np.abs(a - b) / np.abs(b).max()).ravel() for a, b in pairs])
    return float(apart.max()), float((apart > CLOSE).mean())


# --- the run


def line_of(row: dict[str, Any]) -> str:
    """A row for people."""
    head = f"{row['network']} at {row['resolution']}:"
    if "error" in row:
        return f"{head} {row['error']}"
    ours, theirs, told = row["tvm_ms"]["median"], row["onnxruntime_ms"]["median"], row["predicted_ms"]
    return (
        f"{head} {ours:.3g} ms, onnxruntime {theirs:.3g} ms ({row['tvm_to_onnxruntime']:.2f}), predicted "
        f"{told['median']:.3g} ({told['low']:.3g} to {told['high']:.3g}), apart {row['difference']:.1e} "
        f"({row['differing']:.2%} of the values by more than {CLOSE:g}), "
        f"slowest {row['slowest'][0]['kernel']} ({row['slowest'][0]['share']:.0%})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", help=f"of {', '.join((*NETWORKS, *OWN))} (default all)")
    parser.add_argument("--target", default="local-cpu", help="this machine's (default %(default)s)")
    parser.add_argument("--resolution", nargs="+", default=["512x1024", "256x512"], metavar="HxW")
    parser.add_argument("--trials", type=int, default=0, help="of each kernel (default 0: none is tuned)")
    parser.add_argument("--measurements", type=Path, metavar="DIR", help="default results/TARGET")
    parser.add_argument("--threads", type=int, default=LocalMachine.detect().physical_cores)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each runtime (default %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of a turn (default %(default)s)")
    parser.add_argument("--limit-s", type=float, default=600, help="of each step (default %(default)s)")
    parser.add_argument("--out", type=Path, help="file that keeps finished rows, a line each")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--serve", choices=RUNTIMES, help=argparse.SUPPRESS)
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--outputs", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.of, args.outputs, args.threads, args.runs)
        return
    names = args.networks or [*NETWORKS, *OWN]
    check_names(names)
    sizes = [Resolution.parse(size) for size in args.resolution]
    names_of = ("target", "trials", "measurements", "threads", "rounds", "runs", "limit_s")
    setting = Setting(**{field: getattr(args, field) for field in names_of})
    rows = _rows(names, sizes, setting, Records(args.out))
    if args.json:
        machine = load_target(args.target).fingerprint().as_dict()
        print(json.dumps({"machine": machine, "threads": args.threads, "rows": rows}, indent=2))
    if all("error" in row for row in rows):
        raise FailedWork("no network ran, see above")


def _rows(
    names: Sequence[str], sizes: Sequence[Resolution], setting: Setting, records: Records
) -> list[dict[str, Any]]:
    rows = []
    for size in sizes:
        for name in names:
            row = records.find(**_key(name, size, setting))
            if row is None or "error" in row:
                with tempfile.TemporaryDirectory() as folder:
                    row = records.add(row_of(name, size, setting, Path(folder)))
            say(line_of(row))
            rows.append(row)
    return rows


if __name__ == "__main__":
    run_benchmark(main)
