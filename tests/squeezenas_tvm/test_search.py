"""``search`` as a user types it: on drawn scenes, by the Xavier's prior."""

import json
from pathlib import Path

import pytest

from search.architecture import load_architecture
from squeezenas_tvm import search

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
    chosen = load_architecture(tmp_path / "out" / "chosen.yaml")
    assert list(chosen.blocks) == document["chosen"]["blocks"]
    assert document["train"].startswith(
        f"squeezenas-tvm train {tmp_path / 'out' / 'chosen.yaml'} --data synth"
    )
    assert "epoch 1 of 3, loss " in captured.err

    assert search.main([*words, "--budget", "4ms"]) == 2  # nothing that was found is written over
    assert "holds a search already; go on with --resume, or name another --out" in capsys.readouterr().err
    assert search.main([*words, "--budget", "4ms", "--resume"]) == 0  # all is done: it says what was found
    said = capsys.readouterr().out
    assert f"{chosen.blocks[0]} " in said.splitlines()[2]
    assert "Expected latency of the final distribution: " in said
    assert "Train it: squeezenas-tvm train" in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--budget", "1us"], "error: budget '1us': write a number above 0 with a unit, such as 30ms"),
        (["--budget", "0.1ms"], "error: budget 0.1 ms: the cheapest network of the space takes "),
        (["--objective", "latncy"], "error: objective 'latncy', did you mean latency?"),
        (["--recipe", "smal"], "error: unknown search recipe 'smal', did you mean small?"),
        (["--data", "camvid:nowhere"], "error: data set camvid:nowhere: no folder nowhere"),
        (["--target", "raspberry-pi"], "error: "),
        (["--resume"], "nothing to resume; leave --resume out to start, or name another --out"),
    ],
)
def test_what_cannot_be_searched_for_is_one_line(
    words: list[str], more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search.main([*words, *more]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert said in line
