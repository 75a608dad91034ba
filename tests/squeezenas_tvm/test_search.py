"""``search`` as a user types it: on drawn scenes, by the Xavier's prior."""

import json
import shlex
import shutil
import signal
from pathlib import Path

import pytest
import torch

import targets
from search.architecture import load_architecture
from search.data import open_data
from search.parallel.ranks import Ranks
from search.training.recipe import load_recipe
from squeezenas_tvm import report, search, train
from squeezenas_tvm.cli import build_parser
from squeezenas_tvm.training.command import train_command

from ..faults import room_for
from .helpers import command, finish, killed_loader, refused_by

RECIPE = """
schema_version: 1
kind: supernet-search
name: tiny
summary: one step of weights, two of theta
crop: [64, 64]
batch_size: 2
workers: 0
epochs: 3
warmup_epochs: 1
draws: batch
theta: {learning_rate: 0.5}
judging: {networks: 3, frames: 1, calibration_batches: 1}
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A search that takes seconds."""
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE)
    words = ["--target", "jetson-xavier", "--data", "synthetic:2:64x64", "--recipe", str(recipe)]
    return [*words, "--resolution", "64x128", "--out", str(tmp_path / "out")]


def test_a_search_ends_with_a_network_that_train_takes(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search.main([*words, "--budget", "4ms", "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["budget"] == {"objective": "latency", "value": pytest.approx(4e-3)}
    assert document["sources"] == {"prior": pytest.approx(1)}
    assert len(document["choices"][0]) == 13
    written = json.loads((tmp_path / "out" / "search.json").read_text())
    assert {name: document[name] for name in written} == written | {"at": document["at"]}
    chosen = load_architecture(tmp_path / "out" / "chosen.yaml")
    assert chosen.blocks == document["chosen"]["options"]
    assert chosen.known_classes == "cityscapes"  # whose classes drawn scenes have
    out = tmp_path / "out"
    assert document["train"] == (
        f"squeezenas-tvm train {out / 'chosen.yaml'} --data synthetic:2:64x64 --recipe camvid "
        f"--out {out / 'trained'}"
    )
    assert "epoch 1 of 3, loss " in captured.err

    assert search.main([*words, "--budget", "4ms"]) == 2  # nothing that was found is written over
    assert "holds a search already; go on with --resume, or name another --out" in capsys.readouterr().err
    assert search.main([*words, "--budget", "4ms", "--resume"]) == 0  # all is done: it says what was found
    said = capsys.readouterr().out
    assert chosen.blocks is not None
    assert f"{chosen.blocks[0]} " in said.splitlines()[2]
    assert "Expected latency at the end: " in said
    assert "Train it: squeezenas-tvm train" in said


@pytest.mark.parametrize(
    ("data", "recipe"),
    [
        ("camvid:my data/CamVid", "camvid"),
        ("cityscapes:data", "squeezenas-paper"),
        ("cityscapes-coarse:data", "squeezenas-paper"),
        ("synthetic", "camvid"),
    ],
)
def test_the_command_that_trains_names_a_shipped_recipe(data: str, recipe: str) -> None:
    words = shlex.split(train_command(data, Path("out")))
    given = build_parser("train", train.add_arguments, example=train.EXAMPLE).parse_args(words[2:])
    assert (given.architecture, given.data, given.recipe) == ("out/chosen.yaml", data, recipe)
    (*_, stage) = load_recipe(given.recipe).training
    if data == "synthetic":  # which is there: it would train
        assert len(open_data(stage.data_spec(data)).frames(stage.split)) >= stage.batch_size


@pytest.mark.slow  # that of a training is not
def test_a_killed_loading_process_is_one_line_and_the_search_goes_on(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "out"
    recipe.write_text(RECIPE.replace("workers: 0", "workers: 2").replace("epochs: 3", "epochs: 100000"))
    process = command("search", *words, cwd=tmp_path, environ={"OMP_NUM_THREADS": "1"})
    assert killed_loader(process, out / "last.ckpt") == (
        "error: a process that loads data was killed, mostly for want of memory: lower workers in the "
        f"recipe; the last checkpoint is kept in {out}; the same command with --resume goes on from there"
    )
    recipe.write_text(RECIPE.replace("epochs: 3", "epochs: 100000"))
    again = command("search", *words, "--resume", cwd=tmp_path, environ={"OMP_NUM_THREADS": "1"})
    assert again.stderr is not None
    first = next(line for line in again.stderr if "epoch " in line)
    again.send_signal(signal.SIGINT)
    assert finish(again)[0] == 130
    assert int(first.split("epoch ")[1].split()[0]) > 1


def test_stopped_before_the_first_checkpoint_it_promises_none_and_resume_begins(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("squeezenas_tvm.searching.search.space_costs", stopped)
    assert search.main(words) == 130
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "stopped: nothing is kept yet; the same command begins anew"
    monkeypatch.undo()
    assert search.main([*words, "--resume"]) == 0
    assert (tmp_path / "out" / "chosen.yaml").is_file()


def test_another_data_set_of_equal_name_and_classes_is_not_resumed(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert search.main(words) == 0
    words[words.index("--data") + 1] = "synthetic:3:64x64"
    assert search.main([*words, "--resume"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "is of another work: frames.train was '2 of 64x64, digest " in line
    assert ", is '3 of 64x64, digest " in line


def test_a_folder_that_cannot_be_made_is_one_line(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert search.main([*words, "--out", "/dev/null/out"]) == 2
    *_, line = capfd.readouterr().err.splitlines()
    assert line == "error: --out /dev/null/out cannot be made: Not a directory; name another folder"


def test_no_room_for_what_was_learned_is_one_line(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with room_for(100_000):  # less than a checkpoint takes
        assert search.main(words) == 1
    *_, line = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    none = "no checkpoint was written yet; the same command begins anew"
    assert line.endswith(f"File too large; make room there; {none}")
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["chosen.yaml", "front/00.yaml", "search.json", "networks.csv"])
def test_what_others_wrote_is_not_written_over(
    name: str, words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine: 1\n")
    refused_by(search.main, words, f"{name}: there already, and would be overwritten; move them away", capfd)
    assert path.read_text() == "mine: 1\n"
    assert [entry for entry in (tmp_path / "out").rglob("*") if entry.is_file()] == [path]


def test_what_the_user_changed_in_a_search_stops_its_end_and_nothing_is_lost(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "front").mkdir(parents=True)
    (out / "front" / "mine.yaml").write_text("mine: 1\n")
    assert search.main(words) == 0
    found = (out / "chosen.yaml").read_text()
    (out / "chosen.yaml").write_text("# mine\n" + found)
    capfd.readouterr()
    assert search.main([*words, "--resume"]) == 2
    *_, line = capfd.readouterr().err.splitlines()
    assert "chosen.yaml: would be overwritten" in line
    assert line.endswith(
        "; move it away, and give the same command with --resume: it finds the same networks again"
    )
    (out / "chosen.yaml").rename(out / "own.yaml")
    assert search.main([*words, "--resume"]) == 0
    assert (out / "chosen.yaml").read_text() == found
    assert (out / "front" / "mine.yaml").read_text() == "mine: 1\n"


def test_a_search_that_never_came_to_a_checkpoint_begins_anew(words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert search.main(words) == 0
    document = json.loads((out / "search.json").read_text())
    document |= {"finished": False, "chosen": None, "choices": [], "front": [], "removed": [], "expected": {}}
    shutil.rmtree(out / "front")
    for name in ("last.ckpt", "judged.jsonl", "networks.csv", "front.png", "chosen.yaml"):
        (out / name).unlink()
    (out / "search.json").write_text(json.dumps(document))
    assert search.main(words) == 0


@pytest.mark.slow
def test_no_compiler_is_one_line(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(RECIPE + "compile: true\n")
    environ = {
        "OMP_NUM_THREADS": "1",
        "PATH": str(tmp_path),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    code, _, said = finish(command("search", *words, cwd=tmp_path, environ=environ))
    assert code == 1, said
    line = said.splitlines()[-1]
    assert line.startswith(
        "error: compile: true does not work here (InvalidCxxCompiler: No working C++ compiler"
    )
    assert "install a C++ compiler (g++; for a GPU Triton), or set compile: false in the recipe; no " in line
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--budget", "1us"], "error: budget '1us': write a number above 0 with a unit, such as 30ms"),
        (["--budget", "0.1ms"], "error: budget 0.1 ms: the cheapest network of the space takes "),
        (
            ["--budget", "0.1ms", "--resolution", "512x1024"],
            "at 512x1024; frames of synthetic have 64x64: --resolution 64x64)",
        ),
        (["--objective", "latncy"], "error: objective 'latncy', did you mean latency?"),
        (
            ["--strategy", "random", "--recipe", "smal"],
            "unknown recipe 'smal' of random, did you mean small?",
        ),
        (["--strategy", "random"], "kind: found 'supernet-search'; allowed: 'random'"),
        (["--task", "segmentaton"], "error: unknown task 'segmentaton', did you mean segmentation?"),
        (["--recipe", "smal"], "error: unknown search recipe 'smal', did you mean small?"),
        (["--data", "camvid:nowhere"], "error: data set camvid:nowhere: no folder nowhere"),
        (["--target", "raspberry-pi"], "error: "),
    ],
)
def test_what_cannot_be_searched_for_is_one_line(
    words: list[str], more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search.main([*words, *more]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert said in line


TRIED = """
schema_version: 1
kind: evolution
name: tiny
summary: five networks in a population of three
crop: [64, 64]
batch_size: 2
workers: 0
scoring: {kind: paths, epochs: 1, calibration_batches: 1}
candidates: 5
population: 3
sample: 2
frames: 1
"""


def test_evolution_searches_within_the_budget(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(TRIED)
    options = ["--strategy", "evolution", "--budget", "4ms", "--networks", "4", "--json"]
    assert search.main([*words, *options]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert (document["strategy"], document["judged"], len(document["tried"])) == ("evolution", 4, 4)
    assert document["choices"] == []
    assert document["chosen"]["latency_s"] <= 4e-3
    assert "judge 4/4" in captured.err
    assert search.main([*words, *options[:-1], "--resume"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["chosen"]
    assert report.main([str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["finished"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "evolution" in page
    assert "best score so far" in page


def test_what_a_strategy_does_not_know_is_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(TRIED)
    assert search.main([*words, "--strategy", "evolution", "--paths", "2"]) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("error: recipe tiny, with the options given: paths: unknown key")


def test_results_are_kept_under_the_targets_own_name(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    board = Path(targets.__file__).parent / "jetson-xavier.yaml"
    (tmp_path / "desk.yaml").write_text(board.read_text())
    words[words.index("--target") + 1] = "desk.yaml"
    assert search.main(words[:-2]) == 0  # without --out
    assert (tmp_path / "results" / "search-jetson-xavier" / "chosen.yaml").is_file()


@pytest.mark.slow
def test_under_torchrun_the_first_process_speaks(words: list[str], tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    program = (*launcher, "-m", "squeezenas_tvm.search")
    words[words.index("--data") + 1] = "synthetic:4:64x64"
    environ = {"OMP_NUM_THREADS": "1"}
    code, out, said = finish(command(*words, "--json", cwd=tmp_path, environ=environ, program=program))
    assert code == 0, said
    assert json.loads(out)["finished"]
    assert said.count("judge 3/3, took") == 1


def test_processes_that_cannot_share_a_batch_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer images than processes, or a remainder, of either kind of strategy; nothing is written."""
    three = Ranks(0, 3, torch.device("cpu"))
    monkeypatch.setattr("squeezenas_tvm.searching.search.Ranks.start", lambda: three)
    refused = "error: batch_size 2 cannot be shared by 3 processes; allowed: a multiple of that"
    assert search.main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1] == refused
    (tmp_path / "tiny.yaml").write_text(TRIED)
    assert search.main([*words, "--strategy", "evolution"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == refused
    assert not (tmp_path / "out").exists()
