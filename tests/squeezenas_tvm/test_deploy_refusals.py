"""What the deploy command refuses, in one line, leaving nothing behind."""

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from search.architecture import load_architecture
from search.errors import InvalidWeights
from search.networks.network import build_network
from search.networks.weights import load_weights_apart, save_weights
from squeezenas_tvm.deploy import main

from .helpers import NAME, command, deploy_arguments, finish, refused_by

check_refused = partial(refused_by, main)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--target", "local-cup"], "unknown target 'local-cup', did you mean local-cpu?"),
        (["--resolution", "7x7"], "the nearest that works is 64x64"),
        (["--resolution", "abc"], "write HEIGHTxWIDTH in pixels"),
        (["--trials", "-1"], "argument --trials: '-1' is not a whole number of 0 or more"),
        (
            ["--tracker", "127.0.0.1:9190"],
            "--tracker 127.0.0.1:9190 is for --trials N: without trials no board",
        ),
        (["--weights", "none.pth"], "none.pth: no such file of weights"),
        (["--out", "file/bundle"], "file/bundle cannot be written: "),
        (["--out", "file"], "file exists and is not a bundle; name a new folder"),
        (["--dtype", "float16"], "target local-cpu: dtype is 'float16', allowed: float32"),
    ],
)
def test_wrong_input_is_one_line(
    change: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    check_refused([*deploy_arguments(Path("out")), *change], said, capfd)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("records", ["out", "out/records"])
def test_measurements_are_not_replaced_by_the_bundle(
    records: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = deploy_arguments(tmp_path / "out", "--trials", "1", "--measurements", str(tmp_path / records))
    check_refused(given, f"out would replace the measurements in {tmp_path / records}; name another", capfd)
    assert list(tmp_path.iterdir()) == []


def test_architecture_with_faults(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    rest = deploy_arguments(tmp_path / "out")[1:]
    path.write_text(f"space: squeezenas-small\nblocks: {['k3e6'] * 19}\n", encoding="utf-8")
    check_refused([str(path), *rest], "has 20 positions, the architecture has 19 blocks", capfd)
    path.write_text(f"space: squeezenas-small\nblocks: {['k3e6'] * 19 + ['k3e66']}\n", encoding="utf-8")
    check_refused([str(path), *rest], "position 19: unknown block 'k3e66', did you mean k3e6?", capfd)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_another_network_are_listed_one_by_one(
    suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = build_network(load_architecture("squeezenas-mac-small")).state_dict()
    path = tmp_path / f"other{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_weights(path, {name: values.numpy() for name, values in state.items()})
    given = deploy_arguments(tmp_path / "out", "--weights", str(path))
    check_refused(given, f"{path} does not fit {NAME}: weights of another network: ", capfd)
    assert [path.name] == [entry.name for entry in tmp_path.iterdir()]
    with pytest.raises(InvalidWeights) as caught:
        load_weights_apart(load_architecture(NAME), path, tmp_path)
    line = str(caught.value)
    there = {name: tuple(v.shape) for name, v in state.items() if not name.endswith("tracked")}
    wanted = build_network(load_architecture(NAME)).state_dict()
    needed = {name: tuple(v.shape) for name, v in wanted.items() if not name.endswith("tracked")}
    assert all(f"missing {name}" in line for name in needed.keys() - there.keys())
    assert all(name in line for name in there.keys() - needed.keys())
    assert all(name in line for name in there.keys() & needed.keys() if there[name] != needed[name])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with less room than a bundle takes; skips where mounting is not permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk_leaves_nothing_behind(disk: Path, tmp_path: Path) -> None:
    given = deploy_arguments(disk / "out", "--measurements", str(tmp_path))
    code, out, said = finish(command("deploy", *given, cwd=tmp_path))
    assert (code, out) == (1, "")
    line = said.splitlines()[-1]
    assert line.startswith(f"error: {disk}")
    assert "no bundle was made" in line
    assert "Traceback" not in said
    assert list(disk.iterdir()) == []
