"""What the tests of training share."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from search.architecture import Architecture
from search.data import Data
from search.errors import InvalidRecipe
from search.parallel.ranks import Ranks
from search.training import Recipe, Stage
from search.training.checkpoint import load_checkpoint
from search.training.run import TrainingRun
from targets.support.strict_yaml import parse_yaml

ROOT = Path(__file__).parents[3]
SCENES = "synthetic:6:64x64"
BLOCKS = ["k3e1", "skip", "skip", "skip"] * 5
ARCHITECTURE = Architecture(space="squeezenas-small", blocks=BLOCKS, name="smallest")
ALONE = Ranks(0, 1, torch.device("cpu"))
RECIPE = """
schema_version: 1
name: tiny
summary: as short as a training can be
stages:
  - kind: segmentation
    name: only
    epochs: 2
    batch_size: 2
    crop: [64, 64]
    optimizer: {learning_rate: 0.01}
    schedule: {kind: poly}
    ema_decay: 0.9
"""


def recipe(**changes: Any) -> Recipe:
    """The tiny one with other values in its stage."""
    description = yaml.safe_load(RECIPE)
    description["stages"][0] |= changes
    return parse_yaml(yaml.safe_dump(description), "tiny.yaml", Recipe, InvalidRecipe)


def stage(**changes: Any) -> Stage:
    return recipe(**changes).training[0]


def torchrun(processes: int, *program: str, cwd: Path) -> "subprocess.Popen[str]":
    """Start ``torchrun ... PROGRAM`` on a free port, one thread a process; one process starts without it."""
    options = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return subprocess.Popen(
        [sys.executable, *(options if processes > 1 else ()), *program],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: "subprocess.Popen[str]", timeout_s: float = 120) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    return process.returncode, out, err


def training(out: Path, data: Data, how: Recipe | None = None, **options: Any) -> TrainingRun:
    out.mkdir(exist_ok=True)
    how = how or recipe()
    return TrainingRun(ARCHITECTURE, how, [data] * len(how.training), out, ALONE, **options)


def stop_after(steps: int) -> Callable[[str], None]:
    """Ctrl-C after so many steps."""
    left = iter(range(steps - 1))

    def on_step(text: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return on_step


def equal(one: Any, other: Any) -> bool:
    """Of nested checkpoints, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def state_of(run: TrainingRun, out: Path) -> dict[str, Any]:
    """The last checkpoint but for times."""
    state = load_checkpoint(out / "last.ckpt", run.fingerprint)
    for row in state["history"]:
        del row["seconds"]
    return state


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "curves.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
