"""The bench of rankings: what is drawn and trained, and how scores are judged."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ranking import draw, main, wanted
from ranking_scorers import Truth, known_scores, table_of

from search.spaces.registry import get_space

ROOT = Path(__file__).parents[2]
SPACE = get_space("small")
VARIED = 6  # decisions, between three options


def truth_of(folder: Path, count: int, noise: float = 0.0) -> Truth:
    """Networks whose accuracy hangs on their candidates, and rises with their latency."""
    random, rows = np.random.default_rng(0), []
    for number in range(count):
        chosen = [*map(int, random.integers(0, 3, VARIED)), *[0] * (len(SPACE.decisions) - VARIED)]
        genotype = [d.options[choice] for d, choice in zip(SPACE.decisions, chosen, strict=True)]
        latency = 1.0 + sum(chosen)
        gain = sum(2.0 * (place + 1) * (choice == 2) for place, choice in enumerate(chosen))
        about = {"latency_ms": latency, "gmacs": latency / 2, "mparams": 1 + number / 100}
        for seed in range(2 if number % 4 == 0 else 1):
            miou = 30 + gain + noise * float(random.normal())
            row = {"network": number, "seed": seed, "genotype": genotype, **about, "miou": miou}
            rows.append({**row, "losses": [3 - miou / 50, 2 - miou / 50]})
    path = folder / "truth.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return Truth.load([path], SPACE)


def test_a_score_is_judged_by_order_and_by_what_is_chosen_by_it(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, 40)
    right = truth.judge(truth.miou)
    assert (right.kendall, right.spearman) == (pytest.approx(1), pytest.approx(1))
    assert (right.regret, right.count) == ((0, 0, 0), 40)
    wrong = truth.judge(-truth.miou)
    assert wrong.kendall == pytest.approx(-1)
    within = truth.latency_ms <= np.quantile(truth.latency_ms, 0.25)
    assert wrong.regret[0] == pytest.approx(np.ptp(truth.miou[within]))


def test_a_second_training_is_the_least_error_and_a_model_beats_latency(tmp_path: Path) -> None:
    found = known_scores(truth_of(tmp_path, 60, noise=0.5))
    assert found["seed 1"].count == 15
    assert found["seed 1"].kendall > 0.8
    assert found["loss of epoch 1"].kendall == pytest.approx(1)
    assert "loss of epoch 2" not in found  # the last one is known with the truth itself
    assert found["model of 36"].count == 24
    assert found["model of 12"].kendall < found["model of 36"].kendall
    assert found["latency"].kendall < found["model of 36"].kendall
    lines = table_of(found).splitlines()
    assert lines[2].startswith("| latency | 0.")
    assert all(line.count("|") == 6 for line in lines)


def test_too_few_networks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    path.write_text("", encoding="utf-8")
    script = str(ROOT / "benchmarks" / "ranking_scorers.py")
    done = subprocess.run([sys.executable, script, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {path}: 0 networks; allowed: 8 or more; train them with ")


def test_trainings_are_shared_and_none_is_left_out() -> None:
    todo = list(wanted(10, 3))
    assert sorted(todo) == sorted([*((row, 0) for row in range(10)), (0, 1), (4, 1), (9, 1)])
    assert sorted(todo[0::2] + todo[1::2]) == sorted(todo)
    assert {row % 4 for row, _ in todo[:3]} == {0}  # the first are spread over all latencies


def test_networks_are_spread_over_latency_and_drawn_again_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranking._DRAWN", 150)
    given = argparse.Namespace(
        space="small",
        resolution="64x128",
        data="synthetic:8:64x128",
        target="jetson-xavier",
        table=None,
        seed=0,
        networks=7,
    )
    networks = draw(given)
    latencies = [network.latency_ms for network in networks]
    steps = np.diff(latencies)
    assert (steps > 0).all()
    assert steps.max() < 3 * steps.mean()
    assert [n.architecture.genotype for n in draw(given)] == [n.architecture.genotype for n in networks]
    assert all(network.gmacs > 0 and network.mparams > 0 for network in networks)


@pytest.mark.parametrize("part", ["3/2", "0/2", "half"])
def test_parts_that_there_are_not_are_refused(
    part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from squeezenas_tvm.errors import UsageError

    given = ["--data", "synthetic", "--recipe", "small", "--out", str(tmp_path / "x"), "--part", part]
    monkeypatch.setattr(sys, "argv", ["x", *given])
    with pytest.raises(UsageError, match=f"--part {part}: allowed: K/N"):
        main()


@pytest.mark.slow
def test_networks_are_trained_once_and_scored_by_paths(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "schema_version: 1\nname: one\nsummary: an epoch\nstages:\n"
        "  - {kind: segmentation, name: one, epochs: 1, batch_size: 2, crop: [64, 64],\n"
        "     optimizer: {learning_rate: 0.05}, schedule: {kind: poly, power: 0.9, warmup_epochs: 0}}\n"
    )
    data = ["--data", "synthetic:8:64x128", "--resolution", "64x128"]
    out = ["--out", str(tmp_path / "truth"), "--work", str(tmp_path / "work")]
    script = [sys.executable, str(ROOT / "benchmarks" / "ranking.py"), *data, "--recipe", str(recipe), *out]
    options = ["--networks", "8", "--again", "1", "--target", "jetson-xavier"]
    done = subprocess.run([*script, *options], capture_output=True, text=True, check=True, timeout=600)
    assert done.stderr.count(" ms: ") == 9
    again = subprocess.run([*script, *options], capture_output=True, text=True, check=True, timeout=100)
    assert " ms: " not in again.stderr
    scorers = [
        sys.executable,
        str(ROOT / "benchmarks" / "ranking_scorers.py"),
        str(tmp_path / "truth"),
        *data,
    ]
    scorers += ["--paths", "0", "1", "--frames", "2", "--crop", "64", "64", "--sampling", "fair"]
    scorers += ["--more", "2", "--trained", "1", "--untrained", "--json"]
    again = [*scorers[:3], "--scores", str(tmp_path / "scores"), "--json"]
    scorers += ["--scores", str(tmp_path / "scores")]
    scored = subprocess.run(scorers, capture_output=True, text=True, check=True, timeout=600)
    found = json.loads(scored.stdout)
    assert {"paths, 0 epochs, without", "fair paths, 1 epochs, statistics of their own"} < set(found)
    assert {"fair paths, 1 epochs, trees over 10", "trained alone, 1 epochs"} < set(found)
    assert "synaptic flow, untrained" in found
    assert all(entry["count"] == 8 for entry in found.values())
    once_more = subprocess.run(again, capture_output=True, text=True, check=True, timeout=100)
    assert json.loads(once_more.stdout) == found
