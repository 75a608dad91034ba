"""Networks as they are deployed beside the same networks in PyTorch, in turns, in one run.

    python benchmarks/beside_torch.py --target local-cuda --out beside_torch.jsonl
    python benchmarks/beside_torch.py squeezenas-lat-small --target local-cpu --resolution 256x512

Every form takes a camera's frame and gives class indices at its size. Each lives in a process of its own;
when all are made, they take turns: compare ratios of one run. PyTorch's clocks are CUDA's events, TVM's its
own evaluator on the device; on a CPU both are the host's clock. TVM runs the schedules that are on record in
``--measurements``, else the default ones. One line of JSON a network is added to ``--out``.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from deployed_networks import weights_of
from refusals import run_benchmark
from served import Served, failure

from search.architecture import load_architecture
from search.resolution import Resolution
from squeezenas_tvm.errors import FailedWork
from targets import Target, load_target
from targets.emulated_cuda.libraries import VARIABLE
from targets.local_machine import LocalMachine

NETWORKS = ("squeezenas-lat-small", "squeezenas-mac-large")
WARM_UP = 3
FORMS = (
    "tvm-float32",
    "tvm-float32-graphs",
    "tvm-float16-graphs",
    "torch-eager",
    "torch-eager-autocast",
    "torch-compile-autocast",
    "torch-compile-autocast-graphs",
)
"""``graphs``: CUDA graphs; ``autocast``: in half precision, channels last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What all forms of a network have in common."""

    architecture: str
    target: str
    resolution: str
    measurements: Path | None
    runs: int = 10  # of a turn


class Form:
    """A network made to run.

    Attributes:
        labels: of the frame that every form is given.
        device: its name.
        sample: milliseconds of some runs.
    """

    def __init__(self, labels: Any, device: str, sample: Callable[[int], list[float]]) -> None:
        self.labels, self.device, self.sample = labels, device, sample


def frame_of(resolution: Resolution) -> Any:
    return np.random.default_rng(0).integers(0, 256, (1, *resolution, 3), dtype=np.uint8)


def make_tvm(setting: Setting, dtype: str, *, graphs: bool) -> Form:
    """Compiled as ``deploy`` does."""
    from cost_models.database.environment import environment
    from cost_models.ir.fusion import split_into_kernels
    from cost_models.lookup import results_folder
    from cost_models.lowering.pipeline import compile_lowered, export, lower
    from cost_models.onnx_io.exporter import to_onnx
    from cost_models.tvm_import import relax, tvm
    from squeezenas_tvm.bundles.deploy import tuned_on_record
    from targets.toolchain.tools import find_tools

    architecture, target = load_architecture(setting.architecture), load_target(setting.target)
    frame, tvm_target = frame_of(Resolution.parse(setting.resolution)), target.tvm_target()
    tools, graph = find_tools(target, dtype), architecture.camera_network()
    tools.install()
    kernels = list(dict.fromkeys(split_into_kernels(graph, {"frame": frame.shape})))
    records = results_folder(target.name, setting.measurements, dtype)
    tuned = tuned_on_record(kernels, environment(target, dtype), tvm_target, records)
    weights = weights_of(architecture)
    model = to_onnx(graph, {"frame": frame.shape}, weights, name=architecture.name, dtype=dtype)
    compiled = compile_lowered(lower(model, tvm_target), tvm_target, tuned, cuda_graphs=graphs)
    with tempfile.TemporaryDirectory() as folder:
        export(compiled.executable, Path(folder) / "model.so", tools)
        library = tvm.runtime.load_module(str(Path(folder) / "model.so"))
    device = tvm.device("cuda" if target.uses_cuda else "cpu", 0)
    machine, given = relax.VirtualMachine(library, device), tvm.runtime.tensor(frame, device)
    machine.save_function("main", "run", given, include_return=False)

    def sample(count: int) -> list[float]:
        timed = machine.time_evaluator("run", device, number=1, repeat=count)()
        return [seconds * 1e3 for seconds in timed.results]

    labels = machine["main"](given)
    labels = labels if hasattr(labels, "numpy") else labels[0]
    name = str(device.device_name) if target.uses_cuda else "cpu"
    return Form(labels.numpy(), f"{name}, {len(compiled.tuned)} kernels tuned", sample)


def make_torch(setting: Setting, *, compiled: bool, autocast: bool, graphs: bool) -> Form:
    """As PyTorch runs it on the same kind of device."""
    import torch

    from search.networks.graph_module import GraphModule

    architecture, target = load_architecture(setting.architecture), load_target(setting.target)
    device = "cuda" if target.uses_cuda and torch.cuda.is_available() else "cpu"
    module = GraphModule(architecture.camera_network()).eval()
    state = {name: torch.from_numpy(values) for name, values in weights_of(architecture).items()}
    module.load_state_dict(state, strict=False)
    network: Any = module.to(device)
    if autocast:
        network = network.to(memory_format=torch.channels_last)
    if compiled:
        network = torch.compile(network, mode="reduce-overhead" if graphs else "default")
    frame = torch.from_numpy(frame_of(Resolution.parse(setting.resolution))).to(device)
    half = torch.float16 if device == "cuda" else torch.bfloat16

    def run() -> Any:
        with torch.inference_mode(), torch.autocast(device, half, enabled=autocast):
            return network(frame)

    def sample(count: int) -> list[float]:
        samples_ms = []
        for _ in range(count):
            if device == "cuda":
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
                begin.record()
                run()
                end.record()
                torch.cuda.synchronize()
                samples_ms.append(begin.elapsed_time(end))
            else:
                started = time.perf_counter()
                run()
                samples_ms.append((time.perf_counter() - started) * 1e3)
        return samples_ms

    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return Form(run().cpu().numpy(), f"{name}, torch {torch.__version__}", sample)


def make(form: str, setting: Setting) -> Form:
    kind, *how = form.split("-")
    if kind == "tvm":
        return make_tvm(setting, how[0], graphs="graphs" in how)
    compiled, autocast = "compile" in how, "autocast" in how
    return make_torch(setting, compiled=compiled, autocast=autocast, graphs="graphs" in how)


# --- a form's process


def serve(form: str, setting: Setting, labels: Path) -> None:
    """Make the form and write its labels; then answer each line with the milliseconds of some runs."""
    started = time.monotonic()
    try:
        made = make(form, setting)
        made.sample(min(WARM_UP, setting.runs))
        np.save(labels, made.labels)
        print(json.dumps({"made_s": time.monotonic() - started, "device": made.device}), flush=True)
        for _ in sys.stdin:
            print(json.dumps({"samples_ms": made.sample(setting.runs)}), flush=True)
    except Exception as error:
        print(json.dumps(failure(error)), flush=True)


def start(form: str, setting: Setting, target: Target, labels: Path) -> Served:
    """The form in a process of its own; its labels are there once it has answered."""
    given = ["--target", setting.target, "--resolution", setting.resolution, "--runs", str(setting.runs)]
    given += ["--measurements", str(setting.measurements)] * (setting.measurements is not None)
    command = [sys.executable, __file__, setting.architecture, *given]
    environment = {VARIABLE: target.emulated_gpu} if target.emulated_gpu and "tvm" in form else {}
    threads = str(LocalMachine.detect().physical_cores)
    return Served(
        [*command, "--serve", form, "--labels", str(labels)],
        {"TVM_NUM_THREADS": threads, **os.environ, **environment},
    )


def labels_of(form: str, folder: Path) -> Path:
    return folder / f"{form}.npy"


@contextlib.contextmanager
def served(
    forms: Sequence[str], setting: Setting, folder: Path, at_once: int, limit_s: float
) -> Iterator[tuple[dict[str, Served], dict[str, dict[str, Any]]]]:
    """Processes of the forms, so many made at once, and what each said when it was made."""
    target, made, said = load_target(setting.target), {}, {}
    end = time.monotonic() + limit_s
    try:
        for first in range(0, len(forms), at_once):
            for form in forms[first : first + at_once]:
                made[form] = start(form, setting, target, labels_of(form, folder))
            for form in forms[first : first + at_once]:
                said[form] = made[form].answer(end - time.monotonic())
                print(
                    f"{setting.architecture}: {form}: {json.dumps(said[form])}", file=sys.stderr, flush=True
                )
        yield made, said
    finally:
        for one in made.values():
            one.end()


# --- the run


def compare(
    setting: Setting, forms: Sequence[str], rounds: int, at_once: int, limit_s: float
) -> dict[str, Any]:
    """Turns of all forms, and what they came to."""
    samples: dict[str, list[float]] = {form: [] for form in forms}
    with (
        tempfile.TemporaryDirectory() as scratch,
        served(forms, setting, Path(scratch), at_once, limit_s) as (processes, said),
    ):
        for _ in range(rounds):
            for form in forms:
                if "error" not in said[form]:
                    answer = processes[form].ask(limit_s)
                    said[form] |= {"error": answer["error"]} if "error" in answer else {}
                    samples[form] += answer.get("samples_ms", [])
        places = {form: labels_of(form, Path(scratch)) for form in forms}
        labels = {form: np.load(place) for form, place in places.items() if place.exists()}
    return report(setting, said, samples, labels)


def report(
    setting: Setting,
    said: Mapping[str, Mapping[str, Any]],
    samples: Mapping[str, Sequence[float]],
    labels: Mapping[str, Any],
) -> dict[str, Any]:
    """Medians, ratios to the fastest form of PyTorch, and how many labels are those of eager PyTorch."""
    reference = labels.get("torch-eager")
    medians = {form: statistics.median(values) for form, values in samples.items() if values}
    torch = min((value for form, value in medians.items() if form.startswith("torch")), default=None)
    forms: dict[str, dict[str, Any]] = {}
    for form, told in said.items():
        forms[form] = dict(told)
        if form in medians:
            forms[form] |= {
                "median_ms": medians[form],
                "p90_ms": float(np.percentile(samples[form], 90)),
                "runs": len(samples[form]),
            }
            if torch is not None:
                forms[form]["torch_to_this"] = torch / medians[form]
        if form in labels and reference is not None:
            forms[form]["same_labels"] = float((labels[form] == reference).mean())
    about = {"network": setting.architecture, "target": setting.target, "resolution": setting.resolution}
    if caution := load_target(setting.target).caution:
        about["caution"] = caution
    return {**about, "forms": forms}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("architectures", nargs="*", default=list(NETWORKS))
    parser.add_argument("--target", default="local-cuda")
    parser.add_argument("--resolution", default="512x1024")
    parser.add_argument("--measurements", type=Path, help="default results/TARGET")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each form")
    parser.add_argument("--runs", type=int, default=10, help="of a turn")
    parser.add_argument("--at-once", type=int, default=len(FORMS), help="forms that are made at a time")
    parser.add_argument("--limit-s", type=float, default=120, help="for making the forms of a network")
    parser.add_argument("--out", type=Path, help="file to which a line of JSON is added for each network")
    parser.add_argument("--serve", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--labels", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    resolution = str(Resolution.parse(args.resolution))
    settings = [
        Setting(
            architecture=name,
            target=args.target,
            resolution=resolution,
            measurements=args.measurements,
            runs=args.runs,
        )
        for name in args.architectures
    ]
    if args.serve:
        serve(args.serve, settings[0], args.labels)
        return
    silent = []
    for setting in settings:
        found = compare(setting, args.forms, args.rounds, args.at_once, args.limit_s)
        print(json.dumps(found), flush=True)
        if args.out:
            with args.out.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(found)}\n")
        silent += [form for form, told in found["forms"].items() if "error" in told]
    if len(silent) == len(settings) * len(args.forms):
        raise FailedWork("no form of any network ran, see above; raise --limit-s if they were too slow")


if __name__ == "__main__":
    run_benchmark(main)
