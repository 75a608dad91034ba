"""Several processes: the same result as one, and no silence when one of them is gone.

In single precision the first rounding that tips a ReLU over grows: after a few steps two processes and one
differ by some percent of a weight's way. So updates are compared in double precision, whole trainings by
their loss.
"""

import os
import signal
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from search.errors import FailedTraining, InvalidRecipe
from search.parallel.ranks import Ranks

from ..training.helpers import finished, torchrun

PROGRAM = """
import sys
from pathlib import Path
import torch
from search.data import Augmentation, open_data
from search.data.loaders import train_loader
from search.networks.network import build_network
from search.parallel.ranks import Ranks
from search.tasks.segmentation_losses import segmentation_loss
from search.tasks.registry import TASKS
from search.training.recipe import Distillation
from search.training.run import TrainingRun
from search.training.teacher import Teacher, TeacherLoss
from search.training.trainer import Trainer
from targets.support.interrupts import termination_stops
from tests.search.training.helpers import ARCHITECTURE, recipe, stage

def in_double_precision(ranks, out):
    torch.manual_seed(0)
    network, size = build_network(ARCHITECTURE).double(), 4 // ranks.world_size
    frames = open_data("synthetic:8:64x64").frames("train")
    share = {"rank": ranks.rank, "world_size": ranks.world_size}
    loader = train_loader(frames, Augmentation((64, 64)), batch_size=size, workers=0, seed=0, **share)
    hard = {"threshold": 1e-9, "min_kept": 0.3}
    loss = segmentation_loss("ohem", torch.linspace(1, 2, 19).double(), ranks=ranks, **hard)
    teacher = Teacher(ARCHITECTURE, build_network(ARCHITECTURE).double(), "")
    teacher = TeacherLoss(teacher, TASKS["segmentation"], Distillation(temperature=2.0), ranks)
    for how in (stage(), stage(optimizer={"learning_rate": 0.05, "decay_norms": False})):
        trainer = Trainer(network, how, loss, ranks, steps_per_epoch=2, teacher=teacher)
        for step, (images, labels) in enumerate(loader.epoch(0)):
            trainer.step(images.double(), labels, step)
    if ranks.first:
        torch.save(trainer.evaluated.state_dict(), out / "double.pt")

out, epochs, resume = Path(sys.argv[1]), int(sys.argv[2]), "resume" in sys.argv
ranks = Ranks.start()
if epochs == 1:
    in_double_precision(ranks, out)
how = recipe(epochs=epochs, batch_size=4, optimizer={"learning_rate": 0.001}, ema_decay=None)
again = how.stages[0].model_copy(update={"name": "again"})
how = how.model_copy(update={"stages": (*how.stages, again)})
run = TrainingRun(ARCHITECTURE, how, [open_data("synthetic:8:64x64")] * 2, out, ranks)
if resume:
    run.resume()
try:
    with termination_stops():
        run.run(lambda text: sys.stderr.write(text + chr(10)))
except KeyboardInterrupt as stop:
    sys.stderr.write(f"rank {ranks.rank} was stopped by {type(stop).__name__}" + chr(10))
    raise SystemExit(143)
except Exception as error:
    sys.stderr.write(f"error: {error}" + chr(10))
    raise SystemExit(1)
finally:
    ranks.close()
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    return str(tmp_path / "program.py")


def test_two_processes_are_one_with_the_doubled_batch(program: str, tmp_path: Path) -> None:
    outs = [tmp_path / "one", tmp_path / "two"]
    for count, out in enumerate(outs, start=1):
        out.mkdir()
        code, _, said = finished(torchrun(count, program, str(out), "1", cwd=tmp_path))
        assert code == 0, said
    one, two = (_curves(out) for out in outs)
    for alone, together in zip(one, two, strict=True):
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-4)
        assert together["pixel_accuracy_percent"] == pytest.approx(alone["pixel_accuracy_percent"], abs=0.2)
    first, second = (torch.load(out / "double.pt", weights_only=True) for out in outs)
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert torch.allclose(values, second[name], rtol=0, atol=1e-11), name


def test_a_killed_process_ends_the_job_with_a_clear_message(program: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    job = torchrun(2, program, str(out), "100000", cwd=tmp_path)
    try:
        _wait_for(out / "last.ckpt", job)
        victim = next(p for p in psutil.Process(job.pid).children() if _rank(p) == "1")
        victim.kill()
        code, _, said = finished(job)
    finally:
        job.kill()
    assert code != 0
    (line,) = [line for line in said.splitlines() if line.startswith(("error: ", "rank 0 was stopped"))]
    lost = line.startswith("error: process 0 of 2 lost contact with the others: one of them was killed")
    assert lost or line == "rank 0 was stopped by Terminated"  # torchrun was faster
    assert not lost or line.endswith(f"{out}; the same command with --resume goes on from there")
    again = torchrun(2, program, str(out), "100000", "resume", cwd=tmp_path)
    try:
        assert again.stderr is not None
        first = next(line for line in again.stderr if line.startswith("only, epoch "))
    finally:
        for process in [*psutil.Process(again.pid).children(), psutil.Process(again.pid)]:
            process.kill()
        again.communicate()
    assert int(first.split()[2]) > 1


def test_told_to_end_the_first_process_saves_its_last_step(program: str, tmp_path: Path) -> None:
    """As Slurm tells all processes at once, wherever each of them is."""
    out = tmp_path / "out"
    out.mkdir()
    job = torchrun(2, program, str(out), "100000", cwd=tmp_path)
    try:
        _wait_for(out / "last.ckpt", job)
        for process in psutil.Process(job.pid).children():
            process.terminate()
        code, _, said = finished(job)
    finally:
        job.kill()
    assert code != 0
    assert "rank 0 was stopped by Terminated" in said
    told = sum(line.startswith("only, ") for line in said.splitlines())  # by both
    done = _read(out / "last.ckpt")
    saved = done["epoch"] * 2 + done["batch"]  # two steps an epoch
    assert 2 * saved - 2 <= told <= 2 * saved


def test_parts_of_a_batch_are_equal() -> None:
    three = Ranks(1, 3, torch.device("cpu"))
    assert three.share(6) == 2
    with pytest.raises(InvalidRecipe, match=r"^batch_size 4 cannot be shared by 3 processes; allowed: a"):
        three.share(4)


def test_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    ranks = Ranks.start()
    assert (ranks.rank, ranks.world_size, ranks.first) == (0, 1, True)
    tensor, module = torch.tensor([1.0, 2.0], requires_grad=True), torch.nn.BatchNorm2d(2)
    assert torch.equal(ranks.mean(tensor * 2), torch.tensor([2.0, 4.0]))
    assert ranks.wrap(module) is module
    ranks.close()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_only_lost_contact_is_explained() -> None:
    ranks = Ranks(1, 2, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="shape"), ranks.watched():
        raise RuntimeError("shape mismatch")
    with pytest.raises(FailedTraining, match="process 1 of 2 lost contact"), ranks.watched():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")


def _curves(out: Path) -> list[dict[str, Any]]:
    header, *lines = (out / "curves.csv").read_text(encoding="utf-8").splitlines()
    return [
        {
            name: float(value)
            for name, value in zip(header.split(","), line.split(","), strict=True)
            if name in ("loss", "pixel_accuracy_percent")
        }
        for line in lines
    ]


def _read(checkpoint: Path) -> dict[str, Any]:
    raw = checkpoint.read_bytes().partition(b"\n")[2]
    state: dict[str, Any] = torch.load(BytesIO(raw), weights_only=True)
    return state


def _rank(process: psutil.Process) -> str | None:
    return process.environ().get("RANK")


def _wait_for(path: Path, job: Any) -> None:
    deadline_s = time.monotonic() + 90
    while not path.exists() and job.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert path.exists(), os.listdir(path.parent)
