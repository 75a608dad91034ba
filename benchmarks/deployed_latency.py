"""What ships beside what a user would pick instead: every runtime with the same networks, in turns.

    python benchmarks/deployed_latency.py --resolution 512x1024 --threads 2 --json
    python benchmarks/deployed_latency.py squeezenas-lat-small --trials 64 --out rows.jsonl --json

Each network is one ONNX file from a camera's frame (uint8) to the class of each pixel, and once more without
the last resize and what follows (``scores``). Ours is what ``deploy`` makes of that file, with default
schedules and, by ``--trials``, tuned; the others are those of ``benchmarks/runtimes.py`` with the settings
that their manuals name as the fastest for one frame at a time in float32. Each runtime is a process of its
own; they take turns: compare ratios of one run. Runtimes that are not installed or take no such network
say so.
``--out`` keeps finished rows; a run that was stopped goes on from there.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from deployed_networks import FORMS, OWN, Form, check_names, write_network
from networks.registry import NETWORKS
from records import Records, say
from refusals import run_benchmark
from runtimes import RUNTIMES
from served import Served, output_of, spread

from search.resolution import Resolution
from squeezenas_tvm.errors import FailedWork
from targets import load_target
from targets.local_machine import LocalMachine
from targets.support.child_python import child_python

HERE = Path(__file__).parent
OURS = ("tvm", "tvm-tuned")
OTHERS = tuple(name for name in RUNTIMES if name != "tvm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What all rows of a run have in common.

    Attributes:
        target: this machine's.
        trials: of each kernel of ``tvm-tuned``; 0: there is no such.
        measurements: where tuned schedules are kept.
        others: runtimes to compare with.
        rounds, runs: turns of each runtime, and timed runs of a turn.
        limit_s: of each step: converting, deploying without trials, a turn.
    """

    target: str
    trials: int
    measurements: Path | None
    others: tuple[str, ...]
    rounds: int
    runs: int
    limit_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A row's key."""

    network: str
    resolution: str
    form: Form
    threads: int


def row_of(case: Case, files: Mapping[str, Path], setting: Setting, folder: Path) -> dict[str, Any]:
    """A network in every runtime: medians, agreement with onnxruntime, ours to the best of the others."""
    found: dict[str, dict[str, Any]] = {}
    served: dict[str, Served] = {}
    outputs = {name: folder / f"{name}-{case.threads}.npz" for name in files}
    try:
        for name, file in files.items():
            served[name] = _process(name, file, outputs[name], case.threads, setting.runs)
            answer = served[name].answer(setting.limit_s)
            found[name] = {"samples_ms": []} if "error" not in answer else answer
        for _ in range(setting.rounds):
            for name in (name for name in files if "error" not in found[name]):
                answer = served[name].ask(setting.limit_s)
                if "error" in answer:
                    found[name] = answer
                else:
                    found[name]["samples_ms"] += answer["samples_ms"]
    finally:
        for process in served.values():
            process.end()
    known = {name: _summed_up(told, outputs, name) for name, told in found.items()}
    return {**asdict(case), "trials": setting.trials, "runtimes": known, **ratios(known)}


def _process(name: str, file: Path, outputs: Path, threads: int, runs: int) -> Served:
    runtime = "tvm" if name in OURS else name
    given = [runtime, str(file), "--threads", str(threads), "--runs", str(runs), "--outputs", str(outputs)]
    return Served([sys.executable, str(HERE / "runtimes.py"), *given], os.environ)


def _summed_up(told: Mapping[str, Any], outputs: Mapping[str, Path], name: str) -> dict[str, Any]:
    if "error" in told:
        return dict(told)
    reference = outputs.get("onnxruntime")
    agrees = agreement(outputs[name], reference) if reference and reference.exists() else None
    return {"ms": spread(told["samples_ms"]), "agrees": agrees}


def agreement(ours: Path, reference: Path) -> float:
    """Of classes the share of pixels that have the same; of scores 1 less the largest difference relative to
    the largest score; 0 where shapes differ."""
    with np.load(ours) as mine, np.load(reference) as theirs:
        (found,), (wanted,) = mine.values(), theirs.values()
    if found.size != wanted.size:
        return 0.0
    found = found.reshape(wanted.shape)
    if wanted.dtype == np.uint8:
        return float((found == wanted).mean())
    return 1 - float(np.abs(found - wanted).max() / np.abs(wanted).max())


def ratios(known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Ours to the fastest of the others that gives the same."""
    medians = {
        name: told["ms"]["median"]
        for name, told in known.items()
        if "ms" in told and (told["agrees"] is None or told["agrees"] > 0.99)
    }
    others = {name: ms for name, ms in medians.items() if name not in OURS}
    if not others:
        return {}
    best = min(others, key=lambda name: others[name])
    return {
        "best": best,
        "ours_to_best": {name: medians[name] / others[best] for name in OURS if name in medians},
    }


# --- files


def prepared(name: str, size: Resolution, form: Form, setting: Setting, folder: Path) -> dict[str, Path]:
    """The file or folder that each runtime takes; ours are deployed here."""
    path = folder / f"{name}-{form}.onnx"
    write_network(name, size, form, path)
    files = {"tvm": _deployed(path, 0, setting, folder / "default")}
    if setting.trials:
        files["tvm-tuned"] = _deployed(path, setting.trials, setting, folder / "tuned")
    return files | dict.fromkeys(setting.others, path)


def _deployed(path: Path, trials: int, setting: Setting, out: Path) -> Path:
    kept = (setting.measurements or out.parent / "measurements") if trials else out.parent / "none"
    given = ["squeezenas_tvm", "deploy", str(path), "--target", setting.target, "--trials", str(trials)]
    given += ["--measurements", str(kept), "--out", str(out)]
    output_of(child_python(*given), setting.limit_s * (1 + trials), "deploy")
    return out


# --- the run


def line_of(row: Mapping[str, Any]) -> str:
    """A row for people."""
    times = [
        f"{name} {told['ms']['median']:.3g}" if "ms" in told else f"{name}: {told['error']}"
        for name, told in row["runtimes"].items()
    ]
    ratios = [f"{name} {ratio:.2f} of {row['best']}" for name, ratio in row.get("ours_to_best", {}).items()]
    head = f"{row['network']} {row['resolution']} {row['form']}, {row['threads']} threads, ms"
    return f"{head}: {', '.join(times)}" + (f"; {', '.join(ratios)}" if ratios else "")


def main() -> None:
    """Measure and print."""
    args = _parser().parse_args()
    names = args.networks or [*OWN, *NETWORKS]
    check_names(names)
    sizes = [Resolution.parse(size) for size in args.resolution]
    keys = ("target", "trials", "measurements", "rounds", "runs", "limit_s")
    setting = Setting(others=tuple(args.runtimes), **{key: getattr(args, key) for key in keys})
    cases = [(name, size, form) for size in sizes for name in names for form in args.forms]
    rows = list(_rows(cases, args.threads, setting, Records(args.out)))
    if args.json:
        machine = load_target(args.target).fingerprint().as_dict()
        print(json.dumps({"machine": machine, "rows": rows}, indent=2))
    if not any("ours_to_best" in row for row in rows):
        raise FailedWork("no network ran in ours and in another runtime, see above")


def _rows(
    cases: Sequence[tuple[str, Resolution, Form]], threads: Sequence[int], setting: Setting, records: Records
) -> Iterator[dict[str, Any]]:
    for name, size, form in cases:
        wanted = [Case(network=name, resolution=str(size), form=form, threads=count) for count in threads]
        known = {case: records.find(**asdict(case), trials=setting.trials) for case in wanted}
        with tempfile.TemporaryDirectory() as folder:
            files: dict[str, Path] = {}
            for case in wanted:
                row = known[case]
                if row is None:
                    files = files or prepared(name, size, form, setting, Path(folder))
                    row = records.add(row_of(case, files, setting, Path(folder)))
                say(line_of(row))
                yield row


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", help=f"of {', '.join((*OWN, *NETWORKS))} (default all)")
    parser.add_argument("--target", default="local-cpu", help="this machine's (default %(default)s)")
    parser.add_argument(
        "--resolution", nargs="+", default=["256x512", "512x1024", "1024x2048"], metavar="HxW"
    )
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--runtimes", nargs="+", choices=OTHERS, default=OTHERS, metavar="RUNTIME")
    cores = LocalMachine.detect().physical_cores
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, cores}))
    parser.add_argument("--trials", type=int, default=0, help="of each kernel, for tuned modules (default 0)")
    parser.add_argument("--measurements", type=Path, metavar="DIR", help="where tuned schedules are kept")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each runtime (default %(default)s)")
    parser.add_argument("--runs", type=int, default=10, help="timed runs of a turn (default %(default)s)")
    parser.add_argument("--limit-s", type=float, default=600, help="of each step (default %(default)s)")
    parser.add_argument("--out", type=Path, help="file that keeps finished rows, a line each")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser


if __name__ == "__main__":
    run_benchmark(main)
