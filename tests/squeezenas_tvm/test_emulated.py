"""The whole way to a board, on one that qemu emulates: cross-compiling, RPC, profile, deployment, its run.py.

The board's folder is made in the user's cache folder, once, which takes minutes. To load TVM there takes half
a minute every time.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil
import pytest
from PIL import Image

from cost_models.lowering.pipeline import compile_lowered, export, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.runner.module_runner import CACHES, build_block, time_block
from cost_models.runner.runner import RunSettings
from cost_models.tvm_import import relax, tvm
from search.costs.kernel_table import sample_blocks
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from squeezenas_tvm.bundles.values import dataset_ids
from squeezenas_tvm.emulated_board import PACKAGES
from targets import BoardNotBuilt, MissingTool, Session, Target, load_target, open_session
from targets.emulated_board import build, default_folder, environment
from targets.emulated_board import command as on_the_board
from targets.rpc.tracker import Tracker
from targets.toolchain.tools import find_tools

from .helpers import NAME, ROOT, SIZE, command, finish
from .measuring import alive
from .test_kills import FEW

TARGET = "emulated-aarch64"
START_S = 300.0  # only a failure takes so long
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def target() -> Target:
    """The target, where this machine can build for it."""
    target = load_target(TARGET)
    try:
        find_tools(target)
    except MissingTool as error:
        pytest.skip(str(error))
    return target


@pytest.fixture(scope="module")
def folder() -> Path:
    """The board's folder, where it can be had."""
    try:
        build(default_folder())
    except (MissingTool, BoardNotBuilt) as error:
        pytest.skip(f"no emulated board: {error}")
    return default_folder()


@pytest.fixture(scope="module")
def address(target: Target, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracker and the emulated board, as a user starts them; that it ends with all of its processes."""
    logs, port = tmp_path_factory.mktemp("board"), free_port()
    address = f"127.0.0.1:{port}"
    rpc_tracker = ["-m", "tvm.exec.rpc_tracker", "--host", "127.0.0.1", "--port", str(port)]
    rpc_tracker += ["--port-end", str(port + 1), "--silent"]  # its own end is 9199
    serve = ["-m", "squeezenas_tvm.emulated_board", "serve", "--tracker", address, "--port", str(free_port())]
    with started(rpc_tracker, logs / "tracker") as tracker:
        wait_for(None, address, tracker, logs / "tracker")
        with started(serve, logs / "board") as board:
            wait_for(TARGET, address, board, logs / "board")
            yield address
            processes = [psutil.Process(board.pid), *psutil.Process(board.pid).children(recursive=True)]
            board.send_signal(signal.SIGTERM)
            assert board.wait(20) == 0, (logs / "board").read_text()
            assert alive(processes) == []


@contextlib.contextmanager
def started(arguments: list[str], said: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of Python and all that it starts, until the end of the block."""
    with said.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=said.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(key: str | None, address: str, process: "subprocess.Popen[bytes]", said: Path) -> None:
    """Until the process has put a board of this key at the tracker, or is the tracker itself."""
    give_up_at = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), Tracker(address) as tracker:
            if key is None or key in tracker.registered():
                return
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < give_up_at, said.read_text()
        time.sleep(0.2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def session(target: Target, address: str) -> Iterator[Session]:
    with open_session(target, address, wait_s=60) as session:
        yield session


@pytest.fixture(scope="module")
def bundle(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LAT-Small for the board, deployed by the command."""
    out = tmp_path_factory.mktemp("bundle") / "lat-small"
    given = [NAME, "--target", TARGET, "--resolution", str(SIZE), "--out", str(out)]
    code, _, said = finish(command("deploy", *given, cwd=out.parent))
    assert code == 0, said
    return out


@pytest.fixture(scope="module")
def wanted(bundle: Path) -> Any:
    """Class indices (H, W) of IMAGE by onnxruntime."""
    return by_onnxruntime((bundle / "network.onnx").read_bytes(), {"frame": IMAGE[None]})[0]


def by_onnxruntime(model: bytes, inputs: dict[str, Any]) -> Any:
    (output,) = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, inputs)
    return output


def test_a_block_computes_what_onnxruntime_computes(session: Session, target: Target, tmp_path: Path) -> None:
    (part,) = sample_blocks(get_space("small"), SIZE, segmentation_head(19), 1)
    model, tvm_target = to_onnx(part.graph, part.inputs, name="block"), target.tvm_target()
    compiled = compile_lowered(lower(model, tvm_target), tvm_target, {})
    export(compiled.executable, tmp_path / "block.so", find_tools(target))
    ((name, shape),) = part.inputs.items()
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    machine = relax.VirtualMachine(session.upload(tmp_path / "block.so"), session.device)
    machine.set_input("main", tvm.runtime.tensor(x, session.device))
    machine.invoke_stateful("main")
    found = machine.get_outputs("main").numpy()
    np.testing.assert_allclose(found, by_onnxruntime(model.SerializeToString(), {name: x}), atol=1e-4)


def test_a_block_is_timed_whole(session: Session, target: Target, tmp_path: Path) -> None:
    (part,) = sample_blocks(get_space("small"), SIZE, segmentation_head(19), 1)
    path = tmp_path / "block.so"
    build_block(part.graph, part.inputs, target.tvm_target(), {}, path, tools=find_tools(target))
    for cache in CACHES:
        result = time_block(session, path, part.inputs, RunSettings.of(target.measure), cache)
        assert result.error is None
        assert len(result.samples_s) == target.measure.repeat


@pytest.mark.slow
def test_profile_measures_and_tunes_kernels(address: str, tmp_path: Path) -> None:
    given = ["--target", TARGET, "--space", "small", "--resolution", str(SIZE), "--tracker", address]
    given += ["--trials", "2", "--out", str(tmp_path / "out"), "--json"]
    code, out, said = finish(command("profile", *given, cwd=tmp_path, program=["-c", FEW]))
    assert code == 1, said  # all other kernels of the space are missing
    document = json.loads(out)
    assert document["target"] == TARGET
    assert document["kernels"]["count"] == 3
    assert set(document["kernels"]["how"]) <= {"tuned", "default"}
    assert document["tuning"]["trials"] == document["tuning"]["valid"] == 6


def test_the_bundle_runs_on_the_board(bundle: Path, folder: Path, wanted: Any, tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "street.png")
    given = [str(tmp_path / "street.png"), "--out", str(tmp_path), "--repeats", "1", "--warmup", "1"]
    run = on_the_board(folder, [str(bundle / "run.py"), *given])
    there = environment(folder, PACKAGES)
    done = subprocess.run(run, env=there, capture_output=True, text=True, timeout=START_S)
    assert done.returncode == 0, done.stderr
    assert "latency in ms over 1 runs" in done.stdout
    classes = json.loads((bundle / "labels.json").read_bytes())["classes"]
    found = np.asarray(Image.open(tmp_path / "street-labels.png"))
    np.testing.assert_array_equal(found, dataset_ids(wanted, classes))


def test_the_bundle_is_refused_here(bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "street.png")
    given = [str(bundle), str(tmp_path / "street.png"), "--out", str(tmp_path / "seen")]
    code, out, said = finish(command("run", *given, cwd=tmp_path))
    assert (code, out) == (2, "")
    assert f"was made for {TARGET} (aarch64) and this machine is " in said


def test_the_bundle_runs_on_the_board_without_being_copied_there(
    bundle: Path, address: str, wanted: Any, tmp_path: Path
) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "street.png")
    given = [str(bundle), str(tmp_path / "street.png"), "--out", str(tmp_path / "seen"), "--json"]
    given += ["--repeats", "2", "--warmup", "1", "--tracker", address]
    code, out, said = finish(command("run", *given, cwd=tmp_path))
    assert code == 0, said
    (result,) = json.loads(out)["images"]
    assert len(result["samples_ms"]) == 2
    assert min(result["samples_ms"]) > 0
    classes = json.loads((bundle / "labels.json").read_bytes())["classes"]
    found = np.asarray(Image.open(result["labels"]))
    np.testing.assert_array_equal(found, dataset_ids(wanted, classes))
