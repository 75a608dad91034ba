"""Checkpoints: whole or not there, of this work or refused."""

import hashlib
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.errors import InvalidCheckpoint
from search.training import checkpoint
from search.training.checkpoint import (
    check_place,
    load_checkpoint,
    random_states,
    restore_random_states,
    restoring,
    save_checkpoint,
)

FINGERPRINT: dict[str, Any] = {"recipe": {"name": "tiny", "stages": [{"epochs": 2}]}, "space": "small"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "last.ckpt", {"fingerprint": FINGERPRINT, "tensor": torch.arange(1000.0)})
    return tmp_path / "last.ckpt"


def refused(path: Path, fingerprint: dict[str, Any] = FINGERPRINT) -> str:
    with pytest.raises(InvalidCheckpoint) as caught:
        load_checkpoint(path, fingerprint)
    return str(caught.value)


def test_what_was_saved_is_loaded(path: Path) -> None:
    assert torch.equal(load_checkpoint(path, FINGERPRINT)["tensor"], torch.arange(1000.0))
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_a_save_that_fails_leaves_the_old_one(path: Path) -> None:
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, {"fingerprint": FINGERPRINT, "bad": lambda: None})
    assert torch.equal(load_checkpoint(path, FINGERPRINT)["tensor"], torch.arange(1000.0))


@pytest.mark.parametrize("place", [0.1, 0.5, 0.99])
def test_damage_is_noticed(path: Path, place: float) -> None:
    raw = bytearray(path.read_bytes())
    raw[int(place * len(raw))] ^= 0x10
    path.write_bytes(raw)
    assert "is damaged: its SHA-256 is another one" in refused(path)


def test_half_a_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])
    assert "is damaged" in refused(path)


def test_none_and_others(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(tmp_path / "none.ckpt").endswith("none.ckpt: no such checkpoint")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.ckpt")
    assert refused(tmp_path / "other.ckpt").endswith("other.ckpt is no checkpoint of this program")
    monkeypatch.setattr(checkpoint, "SCHEMA_VERSION", 99)
    save_checkpoint(path, {"fingerprint": FINGERPRINT})
    monkeypatch.undo()
    assert "has schema_version 99, this program reads up to 1" in refused(path)


def test_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    save_checkpoint(tmp_path / "evil.ckpt", {"fingerprint": FINGERPRINT, "evil": Evil()})
    assert "PyTorch does not load it (UnpicklingError)" in refused(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()


def test_another_work_is_refused_with_what_differs(path: Path) -> None:
    other = {"recipe": {"name": "tiny", "stages": [{"epochs": 3}]}, "space": "large"}
    said = refused(path, other)
    assert "is of another work: recipe.stages[0].epochs was 2, is 3; space was 'small', is 'large'; " in said
    more = {"recipe": {"name": "tiny", "stages": []}, "space": "small", "data": "camvid"}
    said = refused(path, more)
    assert "recipe.stages was [{'epochs': 2}], is []; data was None, is 'camvid'; " in said


def test_random_generators_go_on_where_they_were(tmp_path: Path) -> None:
    before = random_states()
    drawn = [random.random(), np.random.rand(), random.gauss(), float(torch.rand(1))]  # noqa: NPY002
    save_checkpoint(tmp_path / "a.ckpt", {"fingerprint": {}, "random": before})
    restore_random_states(load_checkpoint(tmp_path / "a.ckpt", {})["random"])
    again = [random.random(), np.random.rand(), random.gauss(), float(torch.rand(1))]  # noqa: NPY002
    assert drawn == again


def seal(path: Path, body: bytes) -> None:
    path.write_bytes(b"squeezenas-tvm checkpoint " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def saved(value: Any) -> bytes:
    body = io.BytesIO()
    torch.save(value, body)
    return body.getvalue()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"junk", "PyTorch does not load it (error)"),
        (saved({}), "it does not say of which work it is"),
        (saved([1, 2]), "it holds no work"),
        (saved({"schema_version": "1", "fingerprint": {}}), "it does not say of which work it is"),
        (saved({"schema_version": 1, "fingerprint": 3}), "it does not say of which work it is"),
    ],
)
def test_sealed_and_yet_no_checkpoint(body: bytes, reason: str, tmp_path: Path) -> None:
    seal(tmp_path / "last.ckpt", body)
    assert refused(tmp_path / "last.ckpt").endswith(f"is damaged: {reason}; start anew in another folder")


def test_states_of_another_form_are_refused(tmp_path: Path) -> None:
    for error in (KeyError("epoch"), TypeError("no number"), RuntimeError("size mismatch"), IndexError("3")):
        with pytest.raises(InvalidCheckpoint, match="its state is not one of this work"), restoring(tmp_path):
            raise error
    with pytest.raises(torch.OutOfMemoryError), restoring(tmp_path):
        raise torch.OutOfMemoryError("CUDA out of memory")
    check_place(tmp_path, epoch=(2, 2))
    for found in (3, -1, 1.0, True, 10**9, None):
        with pytest.raises(InvalidCheckpoint, match=r"epoch is .*, where 0 to 2 is possible"):
            check_place(tmp_path, epoch=(found, 2))
