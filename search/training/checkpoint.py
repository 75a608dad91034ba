"""Checkpoints: where a long work stands, in one file that is either whole or not there.

A line with the SHA-256 of the rest, which PyTorch wrote: its own reader does not notice a changed byte. Only
tensors and plain data are read back, never code.
"""

import hashlib
import io
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.errors import InvalidCheckpoint
from targets.support.files import put_whole

SCHEMA_VERSION = 1
_HEAD = b"squeezenas-tvm checkpoint "
_NAMED = 5  # differences of two fingerprints that are named


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain data, in place of an older checkpoint in one step.

    Args:
        state: holds ``fingerprint``, nested plain data that says what the work is: recipe, space, data. See
            ``load_checkpoint``.
    """
    body = io.BytesIO()
    torch.save({**state, "schema_version": SCHEMA_VERSION}, body)
    content = body.getvalue()
    put_whole(path, _HEAD + hashlib.sha256(content).hexdigest().encode() + b"\n", content)


def load_checkpoint(
    path: Path,
    fingerprint: Mapping[str, Any],
    *,
    free: Collection[str] = (),
    upgraded: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> dict[str, Any]:
    """What ``save_checkpoint`` wrote, with its tensors on the CPU.

    Args:
        upgraded: makes of a state of an older release what this one would have written.
        free: keys (``recipe.workers``) of the fingerprint that may differ, with all that is under them.

    Raises:
        InvalidCheckpoint: no or no whole checkpoint, one of a newer version, or one whose fingerprint is not
            ``fingerprint``: says what differs.
    """
    state = _read(path)
    if state["schema_version"] > SCHEMA_VERSION:
        raise InvalidCheckpoint(
            f"{path} has schema_version {state['schema_version']}, this program reads up to "
            f"{SCHEMA_VERSION}; use a newer one"
        )
    state = upgraded(state)
    differing = [
        f"{key} was {_short(was)}, is {_short(now)}"
        for key, was, now in _differences(state["fingerprint"], fingerprint)
        if not any(f"{key}.".startswith(f"{name}.") for name in free)
    ]
    if differing:
        more = f"; and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        raise InvalidCheckpoint(
            f"{path} is of another work: {'; '.join(differing[:_NAMED])}{more}; "
            "give what it was made with, or name another folder to start anew"
        )
    return state


def random_states() -> dict[str, Any]:
    """Where the random generators of Python, numpy and PyTorch stand, as plain data and tensors."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002, that of libraries
    return {
        "python": random.getstate(),
        "numpy": (str(kind), torch.tensor(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Set the generators to where ``random_states`` found them. GPUs: as many as there are here."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available():
        for device, state in zip(range(torch.cuda.device_count()), states["cuda"], strict=False):
            torch.cuda.set_rng_state(state, device)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InvalidCheckpoint(f"{path}: no such checkpoint")
    head, _, body = path.read_bytes().partition(b"\n")
    if not head.startswith(_HEAD):
        raise InvalidCheckpoint(f"{path} is no checkpoint of this program")
    if head != _HEAD + hashlib.sha256(body).hexdigest().encode():
        raise InvalidCheckpoint(
            f"{path} is damaged: its SHA-256 is another one; start anew in another folder"
        )
    state: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    return state


def _differences(there: Any, here: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each leaf of nested mappings and lists in which two fingerprints differ: its key, and both values."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for name in dict.fromkeys([*there, *here]):
            yield from _differences(there.get(name), here.get(name), f"{key}.{name}".removeprefix("."))
    elif isinstance(there, list | tuple) and isinstance(here, list | tuple) and len(there) == len(here):
        for index, (one, other) in enumerate(zip(there, here, strict=True)):
            yield from _differences(one, other, f"{key}[{index}]")
    elif there != here:
        yield key, there, here


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
