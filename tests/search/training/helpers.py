"""What the tests of training share."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from search.architecture import Architecture
from search.errors import InvalidRecipe
from search.training import Recipe, Stage
from targets.support.strict_yaml import parse_yaml

ROOT = Path(__file__).parents[3]
SCENES = "synthetic:6:64x64"
BLOCKS = ["k3e1", "skip", "skip", "skip"] * 5
ARCHITECTURE = Architecture(space="squeezenas-small", blocks=BLOCKS, name="smallest")
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
