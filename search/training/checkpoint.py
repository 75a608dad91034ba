"""Checkpoints: where a long work stands, in one file that is either whole or not there.

A line with the SHA-256 of the rest, which PyTorch wrote: its own reader does not notice a changed byte. Only
tensors and plain data are read back, never code.
"""

import hashlib
import io
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.errors import InvalidCheckpoint
from targets.support.files import put_whole
from targets.support.text import brief

SCHEMA_VERSION = 1
_HEAD = b"squeezenas-tvm checkpoint "
_NAMED = 5  # differences of two fingerprints that are named

Free = Callable[[Mapping[str, Any], Mapping[str, Any]], Collection[str]]
"""Of a state and of the fingerprint now: keys of the fingerprint (``recipe.workers``) that may differ."""


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
    free: Free = lambda state, now: (),
    new: Collection[str] = (),
    upgraded: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> dict[str, Any]:
    """What ``save_checkpoint`` wrote, with its tensors on the CPU.

    Args:
        free: keys that may differ, with all that is under them.
        new: keys that older releases do not write, and that are not compared with theirs.
        upgraded: makes of a state of an older release what this one would have written.

    Raises:
        InvalidCheckpoint: no or no whole checkpoint, one of a newer version, or one whose fingerprint is not
            ``fingerprint``: says what differs.
    """
    state = _read(path)
    version = state.get("schema_version")
    if type(version) is not int or not isinstance(state.get("fingerprint"), Mapping):
        raise _damaged(path, "it does not say of which work it is")
    if version > SCHEMA_VERSION:
        raise InvalidCheckpoint(
            f"{path} has schema_version {version}, this program reads up to {SCHEMA_VERSION}; use a newer one"
        )
    with restoring(path):
        state = upgraded(state)
        allowed = [*free(state, fingerprint), *(key for key in new if key not in state["fingerprint"])]
    differing = [
        f"{key} was {_short(was)}, is {_short(now)}"
        for key, was, now in _differences(state["fingerprint"], fingerprint)
        if not any(f"{key}.".startswith(f"{name}.") for name in allowed)
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
        raise _damaged(path, "its SHA-256 is another one")
    try:
        state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # what is no such file makes the unpickler raise any of a dozen kinds
        raise _damaged(path, f"PyTorch does not load it ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise _damaged(path, "it holds no work")
    return state


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Around what reads a state of ``load_checkpoint``: one of another form is an InvalidCheckpoint."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        if "memory" in str(error):
            raise
        raise _damaged(path, f"its state is not one of this work: {brief(error)}") from error


def check_place(path: Path, **places: tuple[Any, int]) -> None:
    """Raise InvalidCheckpoint unless each named count is a whole number from 0 to its limit."""
    for name, (found, most) in places.items():
        if type(found) is not int or not 0 <= found <= most:
            raise _damaged(path, f"{name} is {_short(found)}, where 0 to {most} is possible")


def _damaged(path: Path, reason: str) -> InvalidCheckpoint:
    return InvalidCheckpoint(f"{path} is damaged: {reason}; start anew in another folder")


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
