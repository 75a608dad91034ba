"""Training steps of the supernet: 13 candidates in turn, together, and together after pruning to 4.

    python benchmarks/supernet_step.py --json
    python benchmarks/supernet_step.py --size 256 --forms plain fused --dtype bfloat16
    python benchmarks/supernet_step.py --space fasterseg-student --json
    python benchmarks/supernet_step.py --space fasterseg-student --crop 128x256 --layers 8 --base 6
    python benchmarks/supernet_step.py --space gas --size 320

A step is: draw weights, forward, loss, backward, SGD of the weights, Adam of the logits; of FasterSeg's grid
see ``grid_training.py``. Each form lives in a process of its own (in one process they disturb each other's
allocator); they take turns, a step each a round, and are compared round by round: compare ratios of one run;
steps per second are of the machine and its load. ``cpu_s`` are seconds of all threads, which other processes
lengthen less. Memory is, on a CPU, how much a form's peak resident size grows from before the first step, on
a GPU the peak that PyTorch allocated. ``plain`` takes images as PyTorch has them by default,
``plain-channels-last`` in the memory format that the fused form has too; ``published``, of the grid alone, is
``plain`` with one backward for all passes of a step and gradients of all parameters, as the authors train.
"""

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from grid_training import GridTraining
from refusals import run_benchmark
from torch.nn import functional

from search.resolution import Resolution
from search.spaces.chain import ChainSpace
from search.spaces.fasterseg.space import FastersegSpace
from search.spaces.gas.space import GasSpace
from search.spaces.registry import SPACES, get_space
from search.strategies.gas.draw import drawn
from search.supernet import Supernet
from search.supernet.gas.supernet import CellSupernet
from squeezenas_tvm.cli import positive_int
from targets.local_machine import LocalMachine

CLASSES, LEFT, WARM_UP = 11, 4, 2
FORMS = ("plain", "plain-channels-last", "fused", "pruned")
GRID_FORMS = ("published", "plain", "plain-channels-last", "fused")
_OF_GRIDS, _OF_CHAINS = (
    ("crop", "layers", "base"),
    ("size", "dtype", "device", "paths", "compile", "checkpointing", "per_batch"),
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Setting:
    """What all forms have in common.

    Attributes:
        size: height and width of a square crop, in pixels.
        crop, layers, base: of a grid; its own layers and base by default.
        paths: sampled candidates a step and position; None for all.
        compile: what of the fused form can be; the plain form stays as it is.
    """

    space: str = "small"
    size: int = 192
    batch: int = 4
    dtype: str = "float32"
    device: str = "cpu"
    paths: int | None = None
    compile: bool = False
    checkpointing: bool = False
    per_batch: bool = False
    crop: str = "224x448"
    layers: int | None = None
    base: int | None = None

    @property
    def of_grid(self) -> bool:
        """Whether it is FasterSeg's."""
        return self.space.startswith("fasterseg")


class Steps(Protocol):
    """What is measured."""

    def step(self) -> None:
        """One training step."""


class Training:
    """One form of the supernet in training."""

    def __init__(self, form: str, setting: Setting) -> None:
        self._setting = setting
        torch.manual_seed(0)
        supernet = _supernet(form, setting).to(setting.device)
        self._weights = torch.optim.SGD(
            supernet.weight_parameters(), lr=0.01, momentum=0.9, weight_decay=1e-5, foreach=True
        )
        self._logits = torch.optim.Adam(supernet.logit_parameters(), lr=0.01)
        if form == "pruned":
            assert isinstance(supernet, Supernet)
            _prune(supernet, (self._weights, self._logits))
        self._supernet = supernet
        images = torch.randn(setting.batch, 3, setting.size, setting.size, device=setting.device)
        self._images = images if form == "plain" else images.contiguous(memory_format=torch.channels_last)
        self._labels = torch.randint(CLASSES, (len(images), *images.shape[2:]), device=setting.device)

    def step(self) -> None:
        """One training step."""
        setting = self._setting
        self._weights.zero_grad()
        self._logits.zero_grad()
        weights = self._draw()
        dtype = DTYPES[setting.dtype]
        with torch.autocast(setting.device, dtype, enabled=dtype != torch.float32):
            logits = self._supernet(self._images, weights)
        loss = functional.cross_entropy(logits.float(), self._labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._weights.step()
        self._logits.step()

    def _draw(self) -> Any:
        """Weights of all operations."""
        supernet, setting = self._supernet, self._setting
        if isinstance(supernet, CellSupernet):
            return drawn(supernet.logits, 1.0, torch.Generator().manual_seed(0))
        return supernet.draw(setting.batch, 5.0, per_image=not setting.per_batch, paths=setting.paths)


class Measured:
    """Time and memory of steps."""

    def __init__(self, steps: Steps, device: str) -> None:
        self._step, self._on_gpu = steps.step, device == "cuda"

    def time_s(self) -> str:
        """Seconds of one step, and those that the process's threads ran."""
        started, started_cpu = time.perf_counter(), time.process_time()
        self._step()
        if self._on_gpu:
            torch.cuda.synchronize()
        return f"{time.perf_counter() - started} {time.process_time() - started_cpu}"

    def memory(self) -> str:
        """Bytes by which the peak is above what there was before the first step."""
        before = torch.cuda.memory_allocated() if self._on_gpu else _peak_resident()
        for _ in range(WARM_UP):
            self._step()
        return str((torch.cuda.max_memory_allocated() if self._on_gpu else _peak_resident()) - before)


def _steps(form: str, setting: Setting) -> Steps:
    if not setting.of_grid:
        return Training(form, setting)
    crop = Resolution.parse(setting.crop)
    return GridTraining(form, crop, setting.batch, layers=setting.layers, base=setting.base)


def _supernet(form: str, setting: Setting) -> Supernet | CellSupernet:
    """Of a chain of blocks, or of one of cells."""
    space, plain = get_space(setting.space), form.startswith("plain")
    if isinstance(space, GasSpace):
        return CellSupernet(space, CLASSES, form="plain" if plain else "fused")
    assert isinstance(space, ChainSpace)
    return Supernet(
        space,
        CLASSES,
        form="plain" if plain else "fused",
        checkpointing=setting.checkpointing,
        compiled=setting.compile and not plain,
    )


def _prune(supernet: Supernet, optimizers: tuple[torch.optim.Optimizer, ...]) -> None:
    """Leave LEFT candidates at every position, by chance, always the same."""
    generator = torch.Generator().manual_seed(0)
    for logits in supernet.logit_parameters():
        kept = torch.randperm(len(logits), generator=generator)[:LEFT]
        logits.data.fill_(-20.0)[kept] = 0.0
    supernet.prune(optimizers=optimizers)


def _peak_resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--forms", nargs="+", choices=sorted({*FORMS, *GRID_FORMS}))
    parser.add_argument("--rounds", type=positive_int, default=10)
    parser.add_argument("--space", default="small")
    parser.add_argument("--size", type=positive_int, default=192)
    parser.add_argument("--crop", default="224x448", metavar="HxW", help="of a grid")
    parser.add_argument("--layers", type=positive_int, help="of a grid")
    parser.add_argument(
        "--base", type=positive_int, help="of a grid: channels at full width are this times the scale"
    )
    parser.add_argument("--batch", type=positive_int, help="4 by default, 2 of a grid")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--paths", type=positive_int)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--per-batch", action="store_true", help="one draw for all images of a batch")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    setting = _setting(parser, args)
    if args.serve:
        _serve(Measured(_steps(args.serve, setting), setting.device))
        return
    with contextlib.ExitStack() as stack:
        served = {form: stack.enter_context(_served(form)) for form in args.forms}
        memory = {form: int(one.ask()) for form, one in served.items()}
        rounds = [{form: one.ask() for form, one in served.items()} for _ in range(args.rounds)]
    seconds, cpu = (
        {form: [float(one_round[form].split()[place]) for one_round in rounds] for form in args.forms}
        for place in range(2)
    )
    found = _report(setting, seconds, cpu, memory)
    print(json.dumps(found, indent=2) if args.json else _text(found))


def _setting(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Setting:
    """Of the arguments; completes them, and refuses those that a space has not."""
    of_grid = Setting(space=args.space).of_grid
    for name in _OF_CHAINS if of_grid else _OF_GRIDS:
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')}: space {args.space} has no such setting")
    allowed: tuple[str, ...] = GRID_FORMS if of_grid else FORMS
    space = get_space(args.space)
    if isinstance(space, GasSpace):
        allowed = tuple(form for form in FORMS if form != "pruned")
    elif not isinstance(space, ChainSpace | FastersegSpace):
        known = [
            own.name for own in SPACES.values() if isinstance(own, ChainSpace | GasSpace | FastersegSpace)
        ]
        parser.error(f"--space {args.space}: there is no supernet of it; allowed: {', '.join(known)}")
    args.forms = args.forms or list(allowed)
    if unknown := set(args.forms) - set(allowed):
        parser.error(f"--forms {' '.join(sorted(unknown))}: space {args.space} has {', '.join(allowed)}")
    args.batch = args.batch or (2 if of_grid else 4)
    return Setting(**{name: getattr(args, name) for name in Setting.__dataclass_fields__})


def _serve(training: Measured) -> None:
    """In a form's process: its memory at the first line that is asked, then the seconds of a step at each."""
    answer = training.memory
    for _ in sys.stdin:
        print(answer(), flush=True)
        answer = training.time_s


@dataclass
class _Served:
    """A form in a process of its own."""

    process: "subprocess.Popen[str]"

    def ask(self) -> str:
        """One line for one line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            if (code := self.process.wait()) != 2:  # which has said in a line what is wrong
                print(f"error: a form's process ended with exit code {code}, see above", file=sys.stderr)
            sys.exit(code if code == 2 else 1)
        return line


@contextlib.contextmanager
def _served(form: str) -> Iterator[_Served]:
    command = [sys.executable, __file__, *sys.argv[1:], "--serve", form]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield _Served(process)  # its stdin is closed at the end, and with it the process ends


def _report(
    setting: Setting, seconds: dict[str, list[float]], cpu: dict[str, list[float]], memory: dict[str, int]
) -> dict[str, Any]:
    """Per form, and ratios of each form to those before it: median over the rounds, least and most."""
    ratios = {}
    for form in seconds:
        for before in list(seconds)[: list(seconds).index(form)]:
            rounds, cpu_rounds = (
                [a / b for a, b in zip(own[before], own[form], strict=True)] for own in (seconds, cpu)
            )
            ratios[f"{form}_to_{before}"] = {
                "speed": statistics.median(rounds),
                "speed_least": min(rounds),
                "speed_most": max(rounds),
                "cpu": statistics.median(cpu_rounds),
                "cpu_least": min(cpu_rounds),
                "cpu_most": max(cpu_rounds),
                "memory": memory[form] / memory[before],
            }
    return {
        "setting": vars(setting),
        "threads": torch.get_num_threads(),
        "processor": LocalMachine.detect().cpu_model,
        "rounds": len(next(iter(seconds.values()))),
        "forms": {
            form: {
                "steps_per_s": 1 / statistics.median(values),
                "step_ms": 1e3 * statistics.median(values),
                "step_least_ms": 1e3 * min(values),
                "step_most_ms": 1e3 * max(values),
                "cpu_s": statistics.median(cpu[form]),
                "memory_mib": memory[form] / 2**20,
            }
            for form, values in seconds.items()
        },
        "ratios": ratios,
    }


def _text(found: dict[str, Any]) -> str:
    lines = [
        f"{form:7} {f['steps_per_s']:6.2f} steps/s  {f['step_ms']:7.0f} ms "
        f"({f['step_least_ms']:.0f} to {f['step_most_ms']:.0f})  {f['memory_mib']:6.0f} MiB"
        for form, f in found["forms"].items()
    ]
    lines += [
        f"{name}: {r['speed']:.2f} times the steps ({r['speed_least']:.2f} to {r['speed_most']:.2f}), "
        f"{r['cpu']:.2f} by processor time ({r['cpu_least']:.2f} to {r['cpu_most']:.2f}), "
        f"{r['memory']:.2f} of the memory"
        for name, r in found["ratios"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run_benchmark(main)
