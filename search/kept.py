"""What a search or a training that stopped has left to go on from, said as it is. No PyTorch."""

import os
from pathlib import Path

CHECKPOINT, WEIGHTS = "last.ckpt", "best.safetensors"


def is_kept(out: Path) -> bool:
    """Whether there is a checkpoint; False as well where the folder cannot be read."""
    return os.path.isfile(out / CHECKPOINT)


def kept(out: Path) -> str:
    """A clause: whether there is a checkpoint."""
    return f"the last checkpoint is kept in {out}" if is_kept(out) else "no checkpoint was written yet"


def go_on(out: Path) -> str:
    """A clause: whether there is a checkpoint, and what goes on from there."""
    if is_kept(out):
        return f"{kept(out)}; the same command with --resume goes on from there"
    return f"{kept(out)}; the same command begins anew"


def start_anew(out: Path) -> str:
    """A clause: where to start again with other settings."""
    if not is_kept(out):
        return f"start again; {kept(out)}"
    best = out / WEIGHTS
    begin = f" with --init {best}, the best weights so far" if os.path.isfile(best) else ""
    return f"start in another --out{begin}; {kept(out)}"
