"""Networks of other people as ``deploy`` makes them, beside onnxruntime and beside their prediction.

    python benchmarks/foreign_networks.py --write nets
    squeezenas-tvm profile nets --target local-cpu --trials 0
    python benchmarks/foreign_networks.py --table results/local-cpu --out rows.jsonl --json
    python benchmarks/foreign_networks.py --again rows.jsonl --json
    python benchmarks/foreign_networks.py enet squeezenas-lat-small --resolution 256x512 --trials 64 --json

The networks of ``benchmarks/networks`` and some of the house's own, all as ONNX files from a normalised
image to logits at its size, with random weights. Each file is deployed; then the bundle and onnxruntime,
each in a process of its own, take turns with the same threads: compare ratios of one run. What goes in is
there before a run, and what comes out stays where it is, of both. A row that fails says why, and the run goes
on. ``--out`` keeps finished rows; a run that was stopped goes on from there, and tries failed rows again.

Predictions are of the shipped table unless ``--table`` names one of this machine. Where a network is among
those that its calibration was fitted to, it is told by a fit to the others (``left_out``). ``--again`` takes
the times of rows that a run has kept, and makes predictions alone anew: those of another table.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from deployed_networks import check_names
from foreign_runtimes import RUNTIMES
from networks.registry import NETWORKS
from records import Records, say
from refusals import run_benchmark
from served import Served, checked, output_of, spread

from cost_models.database.network_records import AboutFile
from cost_models.database.table import LatencyTable
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
CLOSE = 1e-4  # differences of float32 relative to the largest value


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


def _told_again(timed: Records) -> Callable[[str, Resolution, Setting, Path], dict[str, Any]]:
    """As ``row_of``, with the times that another run has kept."""

    def row_again(name: str, size: Resolution, setting: Setting, folder: Path) -> dict[str, Any]:
        key = _key(name, size, setting)
        row = timed.find(**key)
        if row is None or "error" in row:
            return {**key, "error": "not among the rows that were timed"}
        try:
            path = _write(name, size, folder / f"{name}.onnx", setting.limit_s)
            return {**row, "left_out": False, **_predicted(path, setting)}
        except (FailedWork, CostModelError, SearchError) as error:
            return {**key, "error": str(error)}

    return row_again


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
    options = ["--table", str(setting.measurements)] if setting.measurements else []
    options += ["--default-schedules"] if setting.trials == 0 and not setting.measurements else []
    (network,) = _command("predict", path, setting, *options)["networks"]
    told = {"predicted_ms": network["latency_ms"], "sources": network["sources"]}
    told |= {"outside": [entry["operation"] for entry in network["outside"]]}
    if by_others := left_out_ms(path, setting, network["latency_ms"]):
        told |= {"predicted_ms": by_others, "left_out": True}
    return {"macs": network["macs"], "params": network["params"], **told}


def left_out_ms(path: Path, setting: Setting, told_ms: Mapping[str, float]) -> dict[str, float] | None:
    """A prediction by a calibration that the network had no part in; None where it had none anyway.

    Args:
        told_ms: the prediction as it is; how wide its interval is stays.
    """
    from cost_models.network_models.network_model import MODEL, NetworkModel, load_networks
    from cost_models.onnx_io.importer import read_onnx

    folder = setting.measurements
    if folder is None or not (folder / MODEL).exists():
        return None
    model = NetworkModel.load(folder, fingerprint=LatencyTable.load(folder).fingerprint)
    digest = read_onnx(path).digest
    for network, (log, _) in zip(load_networks(folder), model.by_others(), strict=True):
        if isinstance(network.about, AboutFile) and network.about.digest == digest:
            median_ms = network.median_s * 1e3 * math.exp(log)
            return {end: median_ms * ms / told_ms["median"] for end, ms in told_ms.items()}
    return None


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
            given = [runtime, str(of), "--outputs", str(outputs[runtime])]
            given += ["--runs", str(setting.runs), "--threads", str(setting.threads)]
            served[runtime] = Served([sys.executable, str(HERE / "foreign_runtimes.py"), *given], os.environ)
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


def summary_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All rows together: how well they were predicted, and how fast they are beside onnxruntime."""
    ran = [row for row in rows if "error" not in row]
    ratios = {f"{row['network']} {row['resolution']}": row["tvm_to_onnxruntime"] for row in ran}
    pairs = [(row["predicted_ms"], row["tvm_ms"]["median"]) for row in ran]
    errors = [abs(told["median"] / took - 1) for told, took in pairs]
    return {
        "networks": len(rows),
        "ran": len(ran),
        "inside": float(np.mean([told["low"] <= took <= told["high"] for told, took in pairs])),
        "median_error": float(np.median(errors)),
        "interval_factor": float(np.median([told["high"] / told["median"] for told, _ in pairs])),
        "left_out": sum(bool(row.get("left_out")) for row in ran),
        "tvm_to_onnxruntime": {"median": float(np.median([*ratios.values()])), **ratios},
        "worst_difference": max(row["difference"] for row in ran),
    }


def summary_line(told: dict[str, Any]) -> str:
    """For people."""
    ratios = told["tvm_to_onnxruntime"].values()
    return (
        f"{told['ran']} of {told['networks']} networks ran; {told['inside']:.0%} inside their 90 % interval "
        f"(up to {told['interval_factor']:.2f} times the prediction in the median), median error "
        f"{told['median_error']:.1%}, {told['left_out']} of them by a fit to others; "
        f"{told['tvm_to_onnxruntime']['median']:.2f} of onnxruntime's time in the median "
        f"({min(ratios):.2f} to {max(ratios):.2f}), largest difference {told['worst_difference']:.1e}"
    )


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
    parser.add_argument(
        "--table",
        "--measurements",
        dest="measurements",
        type=Path,
        metavar="DIR",
        help="of a profile on this machine: what is told, and schedules to deploy with (default: what "
        "predict and deploy find)",
    )
    parser.add_argument("--write", type=Path, metavar="DIR", help="write the ONNX files there, and end")
    parser.add_argument("--threads", type=int, default=LocalMachine.detect().physical_cores)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each runtime (default %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of a turn (default %(default)s)")
    parser.add_argument("--limit-s", type=float, default=600, help="of each step (default %(default)s)")
    parser.add_argument("--out", type=Path, help="file that keeps finished rows, a line each")
    parser.add_argument("--again", type=Path, metavar="ROWS", help="what --out kept: predict alone, anew")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    args = parser.parse_args()
    names = args.networks or [*NETWORKS, *OWN]
    check_names(names)
    sizes = [Resolution.parse(size) for size in args.resolution]
    names_of = ("target", "trials", "measurements", "threads", "rounds", "runs", "limit_s")
    setting = Setting(**{field: getattr(args, field) for field in names_of})
    if args.write:
        _write_all(names, sizes, args.write, setting.limit_s)
        return
    rows = _rows(names, sizes, setting, Records(args.out), Records(args.again) if args.again else None)
    if all("error" in row for row in rows):
        raise FailedWork("no network ran, see above")
    summary = summary_of(rows)
    say(summary_line(summary))
    if args.json:
        machine = load_target(args.target).fingerprint().as_dict()
        told = {"machine": machine, "threads": args.threads, "summary": summary, "rows": rows}
        print(json.dumps(told, indent=2))


def _write_all(names: Sequence[str], sizes: Sequence[Resolution], folder: Path, limit_s: float) -> None:
    """Files that are there already are left as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for size in sizes:
        for name in names:
            if not (path := folder / f"{name}-{size}.onnx").exists():
                say(str(_write(name, size, path, limit_s)))


def _rows(
    names: Sequence[str],
    sizes: Sequence[Resolution],
    setting: Setting,
    records: Records,
    timed: Records | None = None,
) -> list[dict[str, Any]]:
    """Args: timed: rows whose times are taken."""
    rows = []
    for size in sizes:
        for name in names:
            row = records.find(**_key(name, size, setting))
            if row is None or "error" in row:
                with tempfile.TemporaryDirectory() as folder:
                    make = row_of if timed is None else _told_again(timed)
                    row = records.add(make(name, size, setting, Path(folder)))
            say(line_of(row))
            rows.append(row)
    return rows


if __name__ == "__main__":
    run_benchmark(main)
