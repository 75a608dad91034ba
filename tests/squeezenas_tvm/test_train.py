"""The train command, from its arguments to the files it writes; alone and under torchrun."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from search.architecture import Architecture, dump_architecture, load_architecture
from search.data.classes import CLASSES, unnamed
from search.networks.network import build_network
from search.networks.weights import load_beginning, load_weights, save_weights
from search.training.recipe import load_recipe
from squeezenas_tvm.reports.write import write_report
from squeezenas_tvm.train import main
from targets.support.files import sha256

from .helpers import ROOT, command, finish, killed_loader, refused_by

SCENES = "synthetic:4:64x64"
ARCHITECTURE = Architecture(
    space="squeezenas-small", blocks=["k3e1", "skip", "skip", "skip"] * 5, name="smallest"
)
STAGE = {
    "kind": "segmentation",
    "name": "only",
    "epochs": 2,
    "batch_size": 2,
    "crop": [64, 64],
    "optimizer": {"learning_rate": 0.01},
    "schedule": {"kind": "poly"},
}
check_refused = partial(refused_by, main)


@pytest.fixture
def architecture(tmp_path: Path) -> str:
    path = tmp_path / "smallest.yaml"
    path.write_text(dump_architecture(ARCHITECTURE), encoding="utf-8")
    return str(path)


def recipe(folder: Path, *stages: dict[str, object]) -> str:
    document = {"schema_version": 1, "name": "tiny", "summary": "tiny", "stages": list(stages) or [STAGE]}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return str(path)


@pytest.fixture
def given(architecture: str, tmp_path: Path) -> list[str]:
    """Arguments of a training into ``out``."""
    options = ["--data", SCENES, "--recipe", recipe(tmp_path), "--workers", "0"]
    return [architecture, *options, "--out", str(tmp_path / "out")]


def weights(path: Path, architecture: Architecture) -> Path:
    torch.manual_seed(1)
    tensors = build_network(architecture).state_dict()
    save_weights(path, {name: tensor.numpy() for name, tensor in tensors.items()})
    return path


def test_what_is_made_and_said(given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(given) == 0
    captured = capsys.readouterr()
    assert {path.name for path in out.iterdir()} == {
        *("architecture.yaml", "best.safetensors", "best.json", "curves.csv", "last.ckpt", "tensorboard"),
        "recipe.yaml",
    }
    trained = load_architecture(out / "architecture.yaml")
    assert (trained.known_classes, trained.blocks) == ("cityscapes", ARCHITECTURE.blocks)
    assert trained.weights == str(out / "best.safetensors")
    assert load_weights(trained, out / "best.safetensors")
    report = json.loads((out / "best.json").read_text(encoding="utf-8"))
    assert f"smallest: mIoU {report['miou_percent']:.2f} % on val; stage only, epoch " in captured.out
    assert "vegetation" in captured.out
    assert f"next: squeezenas-tvm evaluate {out}/architecture.yaml --data" in captured.out
    assert "train 4/4" in captured.err
    assert "only, epoch 1 of 2, loss " in captured.err


def test_json(given: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*given, "--seed", "7", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["seed"], document["out"], document["recipe"]) == (7, str(tmp_path / "out"), "tiny")
    used = load_recipe(tmp_path / "out" / "recipe.yaml")
    assert used == load_recipe(recipe(tmp_path)).model_copy(update={"seed": 7})
    assert len(document["iou_percent"]) == 19


def test_an_existing_training_is_not_written_over(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*given, "--resume"]) == 0  # there is nothing to resume: it begins
    before = (tmp_path / "out" / "last.ckpt").read_bytes()
    capsys.readouterr()
    check_refused(given, "holds a training; go on with it by --resume, or name another --out", capsys)
    check_refused([*given, "--resume", "--seed", "3"], "recipe.seed was 0, is 3; give what it was", capsys)
    assert (tmp_path / "out" / "last.ckpt").read_bytes() == before
    assert main([*given, "--resume"]) == 0


def test_what_is_given_is_not_written_over(
    architecture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {
        "architecture.yaml": Path(architecture).read_bytes(),
        "recipe.yaml": b"# three evenings of notes\n" + Path(recipe(tmp_path)).read_bytes(),
        "best.safetensors": weights(tmp_path / "w.safetensors", ARCHITECTURE).read_bytes(),
        "curves.csv": b"mine\n",
    }
    for name, content in own.items():
        out = tmp_path / f"out-{name}"
        out.mkdir()
        (out / name).write_bytes(content)
        given = [architecture, "--data", SCENES, "--recipe", recipe(tmp_path), "--workers", "0"]
        check_refused([*given, "--out", str(out)], f"{name}: there already, and would be overwritten", capsys)
        assert [path.name for path in out.iterdir()] == [name]
        assert (out / name).read_bytes() == content


def test_notes_in_a_training_of_ours_are_kept(given: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(given) == 0
    with (out / "recipe.yaml").open("a") as file:
        file.write("# a thought\n")
    before = (out / "recipe.yaml").read_bytes()
    (out / "architecture.yaml").unlink()
    assert main([*given[:-1], str(out), "--resume"]) == 0
    assert (out / "recipe.yaml").read_bytes() == before
    assert (out / "architecture.yaml").is_file()


def test_a_training_that_never_came_to_a_checkpoint_begins_anew(given: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(given) == 0
    for name in ("last.ckpt", "best.safetensors", "best.json", "curves.csv"):
        (out / name).unlink()
    assert main(given) == 0


@pytest.mark.parametrize(
    ("stop", "number", "by"),
    [
        pytest.param(os.kill, signal.SIGINT, "", id="ctrl-c", marks=pytest.mark.slow),
        pytest.param(os.killpg, signal.SIGINT, "", id="ctrl-c at a terminal, all processes"),
        pytest.param(os.kill, signal.SIGTERM, " by SIGTERM", id="sigterm"),
        pytest.param(os.killpg, signal.SIGTERM, " by SIGTERM", id="sigterm of Slurm, all processes"),
    ],
)
def test_a_signal_keeps_a_checkpoint(
    architecture: str, tmp_path: Path, stop: Callable[[int, int], None], number: signal.Signals, by: str
) -> None:
    out = tmp_path / "out"
    long = recipe(tmp_path, {**STAGE, "epochs": 100000})
    arguments = ["train", architecture, "--data", SCENES, "--recipe", long, "--out", str(out)]
    process = command(*arguments, "--workers", "1", cwd=tmp_path, start_new_session=True)
    assert process.stderr is not None
    said = [next(line for line in process.stderr if "only, epoch" in line)]
    stop(process.pid, number)
    code, _, rest = finish(process)
    assert code == 128 + number, [*said, rest]
    assert "Traceback" not in rest
    kept = f"the last checkpoint is kept in {out}; the same command with --resume goes on from there"
    assert rest.splitlines()[-1] == f"stopped{by}: {kept}"
    assert (out / "last.ckpt").is_file()


def test_stopped_before_the_first_checkpoint_it_promises_none(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("squeezenas_tvm.training.train.same_outputs", stopped)
    assert main(given) == 130
    assert capsys.readouterr().err == "stopped: nothing is kept yet; the same command begins anew\n"
    monkeypatch.undo()
    assert main(given) == 0


def test_no_number_in_the_first_epoch_promises_no_checkpoint(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe(tmp_path, {**STAGE, "optimizer": {"learning_rate": 1e30}})
    assert main(given) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: stage only: the ")
    assert line.endswith(
        ": lower optimizer.learning_rate or lengthen schedule.warmup_epochs, and start again; no checkpoint "
        "was written yet"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system, which needs root")
def test_a_full_disk_is_one_line(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)], check=True)
    try:
        assert main([*given[:-1], str(disk / "out")]) == 1
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    complaint = capsys.readouterr().err
    assert "Traceback" not in complaint
    none = "no checkpoint was written yet; the same command begins anew"
    assert complaint.splitlines()[-1].endswith(f"No space left on device; make room there; {none}")


def test_a_killed_loading_process_is_one_line(architecture: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    long = recipe(tmp_path, {**STAGE, "epochs": 100000})
    arguments = ["train", architecture, "--data", SCENES, "--recipe", long, "--out", str(out)]
    process = command(*arguments, "--workers", "2", cwd=tmp_path, environ={"OMP_NUM_THREADS": "1"})
    said = killed_loader(process, out / "last.ckpt")
    assert said == (
        "error: a process that loads data was killed, mostly for want of memory: lower --workers; the last "
        f"checkpoint is kept in {out}; the same command with --resume goes on from there"
    )
    assert (out / "last.ckpt").is_file()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits memory by what /proc tells")
def test_too_little_memory_is_one_line(architecture: str, tmp_path: Path) -> None:
    large = recipe(tmp_path, {**STAGE, "crop": [4096, 4096]})
    arguments = [architecture, "--data", SCENES, "--recipe", large, "--workers", "0", "--out", "out"]
    environ = {"OMP_NUM_THREADS": "1"}
    process = command(*arguments, cwd=tmp_path, program=["-c", LITTLE_MEMORY], environ=environ)
    code, _, said = finish(process)
    assert code == 1, said
    assert said.splitlines()[-1].startswith(
        "error: stage only: out of memory on cpu with batches of 2 crops of 4096x4096: spread it over more"
    )
    assert "Traceback" not in said


LITTLE_MEMORY = """
import resource, sys
import search.training.run, tensorboard.summary
from squeezenas_tvm.train import main
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 500 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[1:]))
"""


def test_initial_weights_of_other_classes(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eleven = ARCHITECTURE.model_copy(update={"num_classes": 11})
    first = weights(tmp_path / "eleven.safetensors", eleven)
    begin = load_beginning(ARCHITECTURE, first)
    names = [f"decoder.classify_{which}.{kind}" for which in ("high", "low") for kind in ("bias", "weight")]
    assert begin.fresh == begin.left == names
    assert np.array_equal(begin.tensors["stem.conv.weight"], load_weights(eleven, first)["stem.conv.weight"])
    assert main([*given, "--init", str(first)]) == 0
    said = capsys.readouterr().err
    assert f"{first}: weights of smallest: of 20 blocks 5 taken, 15 empty" in said
    assert f"{first}: what tells classes apart, or what else its outputs are, begins anew" in said
    assert load_architecture(tmp_path / "out" / "architecture.yaml").known_classes == "cityscapes"


def test_initial_weights_of_a_network_without_kin(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are its own or none; its head may be another one."""
    mobile = load_architecture("mobilenetv3-small-seg")
    (tmp_path / "smallest.yaml").write_text(dump_architecture(mobile), encoding="utf-8")
    eleven = mobile.for_classes(unnamed(11))
    first = weights(tmp_path / "eleven.safetensors", eleven)
    begin = load_beginning(mobile, first)
    assert main([*given, "--init", str(first)]) == 0
    said, taken = capsys.readouterr().err, f"{len(begin.tensors)} tensors are taken"
    assert f"{first}: {taken}; freshly initialised, for 19 classes: {', '.join(begin.fresh)}" in said
    assert f"{first}: not used: {', '.join(begin.left)}" in said
    assert not (tmp_path / "out" / "remapped.csv").exists()
    whole = weights(tmp_path / "nineteen.safetensors", mobile)
    assert main([*given[:-1], str(tmp_path / "new"), "--init", str(whole), "--new-head"]) == 0
    assert "freshly initialised, for 19 classes: decoder.classify_high.bias" in capsys.readouterr().err
    other = weights(tmp_path / "other.safetensors", load_architecture("squeezenas-lat-small"))
    given[-1] = str(tmp_path / "another")
    for init in (str(other), f"squeezenas-lat-small={other}"):
        said = f"error: {other} does not fit mobilenetv3-small-seg: weights of another network"
        check_refused([*given, "--init", init], said, capsys)
    check_refused([*given, "--init", str(tmp_path / "no.pth")], "no such file of weights", capsys)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """Another network with weights, as a training leaves them."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    wider = ARCHITECTURE.model_copy(
        update={"blocks": ["k3e3", "skip", "skip", "skip"] * 5, "name": "wider"}
    ).for_classes(CLASSES["cityscapes"])
    weights(folder / "best.safetensors", wider)
    named = wider.model_copy(update={"weights": "best.safetensors"})
    (folder / "architecture.yaml").write_text(dump_architecture(named), encoding="utf-8")
    return folder / "architecture.yaml"


def test_a_teacher_is_told_wherever_the_training_is(
    given: list[str], teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*given, "--teacher", str(teacher)]) == 0
    said, out = capsys.readouterr(), tmp_path / "out"
    assert " of it by the teacher" in said.err
    assert ", learned from wider\n" in said.out
    about = {"name": "wider", "weights_sha256": sha256(teacher.parent / "best.safetensors")}
    assert json.loads((out / "best.json").read_text(encoding="utf-8"))["teacher"] == about
    lines = (out / "recipe.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["# teacher:", "#   name: wider", f"#   weights_sha256: {about['weights_sha256']}"]
    assert load_recipe(out / "recipe.yaml") == load_recipe(recipe(tmp_path))
    page = write_report(out).page.read_text(encoding="utf-8")
    assert f"wider, SHA-256 of its weights {about['weights_sha256']}" in page
    assert "of it by the teacher" in page
    check_refused([*given, "--resume"], "is of another work: teacher was {'name': 'wider', ", capsys)
    assert main([*given, "--resume", "--teacher", str(teacher)]) == 0


def test_wrong_teachers(given: list[str], teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(named: str, said: str) -> None:
        check_refused([*given, "--teacher", named], said, capsys)

    refused(
        "squeezenas-lat-small-camvid", "the teacher squeezenas-lat-small-camvid tells other classes apart"
    )
    refused("squeezenas-lat-smal", "unknown architecture 'squeezenas-lat-smal', did you mean")
    refused(
        "squeezenas-lat-small", "the teacher squeezenas-lat-small has no weights; allowed: an architecture"
    )
    refused(str(teacher.parent / "best.safetensors"), "holds weights; give the architecture that they are of")
    (teacher.parent / "best.safetensors").unlink()
    refused(str(teacher), "best.safetensors: no such file of weights")


def test_pretraining_elsewhere_is_missed(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = {"kind": "given", "name": "imagenet", "summary": "elsewhere"}
    recipe(tmp_path, elsewhere, {**STAGE, "epochs": 1})
    assert main(given) == 0
    assert "training begins from random weights, without imagenet (see the recipe)" in capsys.readouterr().err
    init = weights(tmp_path / "init.safetensors", ARCHITECTURE)
    assert main([*given[:-1], str(tmp_path / "two"), "--init", str(init)]) == 0
    assert "random weights" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--data", "camvit:x", "unknown data set 'camvit', did you mean camvid?"),
        ("--data", "camvid:nowhere", "no folder nowhere"),
        ("--recipe", "camvit", "unknown recipe 'camvit', did you mean camvid?"),
        ("--workers", "-1", "'-1' is not a whole number of 0 or more"),
    ],
)
def test_wrong_input(
    option: str, value: str, said: str, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if option in given:
        given[given.index(option) + 1] = value
    check_refused(given if value[0] != "-" else [*given, f"{option}={value}"], said, capsys)


def test_out_that_cannot_be_written(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    check_refused([*given[:-1], str(tmp_path / "file")], "file cannot be written: File exists", capsys)


def torchrun(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    options = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run(
        [sys.executable, *options, "-m", "squeezenas_tvm.train", *argv],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_under_torchrun_the_first_process_speaks(given: list[str], tmp_path: Path) -> None:
    done = torchrun(*given, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["architecture"] == "smallest"
    assert done.stderr.count("train 4/4, took") == 1
    given[given.index("--data") + 1] = "camvit:x"
    refused = torchrun(*given, cwd=tmp_path)
    assert refused.returncode != 0
    assert "error: unknown data set 'camvit', did you mean camvid?" in refused.stderr
