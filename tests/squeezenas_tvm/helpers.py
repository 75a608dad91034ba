"""What tests of several commands need: a fast target, stores filled by a formula, command lines."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from cost_models.database.environment import environment
from cost_models.database.records import Measurement, Trial
from cost_models.database.store import MeasurementStore
from cost_models.ir.fusion import Kernel
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from targets import LocalMachine, Target

ROOT = Path(__file__).parents[2]
SIZE = Resolution(64, 128)
NAME = "squeezenas-lat-small"
SHIPPED_ON = "AMD EPYC"  # that the shipped table of local-cpu is of, with two cores and AVX-512
TRIED = 6  # trials that a filled store has of every kernel

QUICK = """
schema_version: 1
name: quick-cpu
summary: this machine with as few samples as the schema allows
kind: local
tvm: {kind: llvm}
rpc: {key: quick-cpu}
dtypes: [float32]
measure:
  {number: 1, repeat: 3, min_repeat_ms: 1, cooldown_ms: 0, timeout_s: 30,
   interval_width: 0.5, drift: 0.5, budget_s: 0.1}
"""


def pretend_processor(
    monkeypatch: pytest.MonkeyPatch, name: str = SHIPPED_ON, cores: int = 2, vectors: str = "avx512f"
) -> None:
    """This machine has another processor, as far as tables are concerned."""
    machine = LocalMachine(
        cpu_model=name,
        physical_cores=cores,
        logical_cores=cores,
        vector_extensions=("avx2", vectors),
        memory_bytes=1 << 34,
        governor=None,
    )
    monkeypatch.setattr("targets.target.LocalMachine.detect", lambda: machine)


def quick_target(folder: Path) -> Path:
    """The YAML file of a local target that measures a kernel in milliseconds."""
    path = folder / "quick-cpu.yaml"
    path.write_text(QUICK, encoding="utf-8")
    return path


def kernels_of(space: str = "small", size: Resolution = SIZE) -> list[Kernel]:
    return list(space_kernels(get_space(space), size, segmentation_head(19)))


def seconds(kernel: Kernel) -> float:
    """Made up, and different for kernels of different work."""
    return 1e-6 + kernel.macs * 1e-10 + kernel.bytes_moved * 1e-9


def fill(folder: Path, target: Target, kernels: Iterable[Kernel]) -> Path:
    """Store a default measurement and ``TRIED`` failed trials of every kernel: nothing is left to do."""
    path = folder / "measurements.sqlite"
    with MeasurementStore.open(path) as store:
        store._db.execute("PRAGMA synchronous = OFF")
        where = store.add_environment(environment(target))
        for kernel in kernels:
            store.add_kernel(kernel.key, kernel.description)
            samples_s = tuple(seconds(kernel) * factor for factor in (0.9, 1.0, 1.2))
            store.add_measurement(where, Measurement(kernel=kernel.key, how="default", samples_s=samples_s))
            for _ in range(TRIED):
                store.add_trial(where, kernel.key, Trial(schedule="[]", error="made up"))
    return path


def command(
    *argv: str,
    cwd: Path,
    environ: dict[str, str] | None = None,
    program: Sequence[str] = ("-m", "squeezenas_tvm"),
    **options: Any,
) -> "subprocess.Popen[str]":
    """Start ``squeezenas-tvm ARGV``; Ctrl-C works in it, however pytest was started."""
    return subprocess.Popen(
        [sys.executable, *program, *argv],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def finish(process: "subprocess.Popen[str]", timeout_s: float = 300) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    return process.returncode, out, err


def killed_loader(process: "subprocess.Popen[str]", checkpoint: Path) -> str:
    """Kill a process that loads data for a command, once there is a checkpoint; the command's last line."""
    give_up_at = time.monotonic() + 120
    try:
        while not checkpoint.exists() or not psutil.Process(process.pid).children():
            assert process.poll() is None
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        psutil.Process(process.pid).children()[0].kill()
        code, _, said = finish(process, 60)
    finally:
        process.kill()
    assert code == 1, said
    assert "Traceback" not in said
    return said.splitlines()[-1]


def refused_by(
    main: Callable[[list[str]], int],
    argv: list[str],
    said: str,
    capture: pytest.CaptureFixture[str],
    exit_code: int = 2,
) -> None:
    """A command answers wrong input with one line on stderr, nothing on stdout and an exit code."""
    assert main(argv) == exit_code
    captured = capture.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def deploy_arguments(out: Path, *more: str, size: Resolution = SIZE) -> list[str]:
    """Arguments of ``deploy`` for LAT-Small on this machine."""
    return [NAME, "--target", "local-cpu", "--resolution", str(size), "--out", str(out), *more]
