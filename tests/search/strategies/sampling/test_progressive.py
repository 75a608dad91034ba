"""Decoders scored over an encoder that is trained already."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search.errors import FailedTraining, InvalidCheckpoint, InvalidRecipe, InvalidSearch, InvalidWeights
from search.networks.split import SplitNetwork
from search.networks.weight_files import read_safetensors
from search.networks.weights import save_weights
from search.problem.problem import SearchProblem
from search.results.document import load
from search.run import TRIED, run_search
from search.spaces.registry import get_space
from search.spaces.space import Genotype
from search.strategies.making import make_strategy
from search.strategies.sampling.maps import KeptMaps
from search.strategies.sampling.progressive import ProgressiveScorer
from search.strategies.sampling.recipe import ProgressiveScoring
from search.strategies.sampling.tried import Tried

from ..helpers import ALONE, DECODERS, FIVE, PROGRESSIVE, Log, problem
from .decoders import decoders, encoder_weights

# Over the taps at 1/4 and 1/8 alone, of 1x1 convolutions.
LIGHT = DECODERS.from_short_form(["0", "0 0 9 9", "0 0 9 9", "0 0 9 9", "0 1", "1 3", "3 4"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder_weights(tmp_path_factory.mktemp("weights"))


def scorer(wanted: SearchProblem) -> ProgressiveScorer:
    recipe: Any = wanted.recipe
    assert isinstance(recipe.scoring, ProgressiveScoring)
    return ProgressiveScorer(wanted, recipe, recipe.scoring, ALONE)


def test_maps_are_computed_once_and_only_the_decoder_learns_from_them(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, seen = [], []
    kept = KeptMaps.of.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(KeptMaps, "of", classmethod(lambda cls, *own: passes.append(1) or kept(cls, *own)))
    own = scorer(decoders(weights, scoring={"everything": None}))
    monkeypatch.setattr(own, "_reward_on_maps", lambda network: seen.append(network) or 0.5)
    first = own.score(LIGHT, [])
    assert first == Tried(tuple(LIGHT.values()), 0.5, (0.5, 0.5))
    own.score({**LIGHT, "cell.first": "conv3x3"}, [])
    assert len(passes) == 2  # four training frames in batches of two
    frozen = {f"encoder.{name}": value for name, value in own._weights.items()}
    for name, value in seen[0].state_dict().items():
        if name in frozen:
            assert torch.equal(value, frozen[name]), name


def test_then_all_of_it_learns(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, seen = scorer(decoders(weights)), []
    monkeypatch.setattr(own, "_reward", lambda network: seen.append(network) or 0.7)
    tried = own.score(LIGHT, [])
    assert (len(tried.rewards), tried.score, tried.stopped) == (3, 0.7, None)
    name = "encoder.stem.conv.weight"
    assert not torch.equal(seen[0].state_dict()[name], own._weights["stem.conv.weight"])


@pytest.mark.parametrize("frozen", [False, True])
def test_the_encoders_normalisations_may_keep_their_statistics(
    frozen: bool, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = {"steps": 1, "batch_size": 2, "freeze_norms": frozen}
    own, seen = scorer(decoders(weights, scoring={"everything": everything})), []
    monkeypatch.setattr(own, "_reward", lambda network: seen.append(network) or 0.7)
    own.score(LIGHT, [])
    kept = torch.equal(
        seen[0].state_dict()["encoder.stem.bn.running_mean"], own._weights["stem.bn.running_mean"]
    )
    assert kept == frozen


def test_the_same_network_has_the_same_score(weights: Path) -> None:
    scored = [scorer(decoders(weights)).score(LIGHT, []) for _ in range(2)]
    assert scored[0] == scored[1]
    assert all(0 <= reward <= 1 for reward in scored[0].rewards)


def test_weak_networks_are_given_up_and_keep_the_last_reward(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = decoders(weights)
    own = scorer(wanted)
    monkeypatch.setattr(own, "_reward_on_maps", lambda network: 0.001)
    log = [Tried((str(number),), 0.9, (0.9, 0.9, 0.9)) for number in range(300)]
    assert own.score(LIGHT, log) == Tried(tuple(LIGHT.values()), 0.001, (0.001,), "decoder")
    own = scorer(decoders(weights, scoring={"early_stop": False}))
    monkeypatch.setattr(own, "_reward_on_maps", lambda network: 0.001)
    assert len(own.score(LIGHT, log).rewards) == 3


def test_a_teacher_teaches_decoders(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With labels of no weight the logits come to be the teacher's."""
    wanted = decoders(weights)
    own = scorer(wanted)
    constant = torch.arange(wanted.head.outputs).float()[None, :, None, None]
    monkeypatch.setattr(own, "_taught", lambda: lambda images: constant.expand(len(images), -1, 8, 8))
    monkeypatch.setattr(own, "_loss", lambda last, truth: last.sum() * 0)
    network = SplitNetwork(wanted.architecture(LIGHT, "student"))

    def distance() -> float:
        with torch.no_grad():
            last = network.eval().decode([own._maps.taps[index] for index in network.taken], (16, 16))
        return float((last - constant).square().mean())

    before = distance()
    for _ in range(5):
        for _ in own._decoder_epochs(network):
            pass
    assert distance() < before


def test_a_failure_is_named_and_the_search_goes_on(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = decoders(weights, scoring={"everything": None})
    score, failures = (
        ProgressiveScorer.score,
        iter([RuntimeError("DefaultCPUAllocator: out of memory"), None]),
    )

    def failing(own: ProgressiveScorer, genotype: Genotype, log: Any) -> Tried:
        if failure := next(failures, None):
            raise failure
        return score(own, genotype, log)

    monkeypatch.setattr(ProgressiveScorer, "score", failing)
    found = run_search(wanted, tmp_path, ALONE, resume=False, watch=(log := Log()))
    assert "network 1 of 3: failed (out of memory)" in log.steps[0].said
    tried = load(tmp_path).tried
    assert [(one.score is None, one.failed) for one in tried] == [
        (True, "out of memory"),
        (False, None),
        (False, None),
    ]
    assert tuple(tried[0].options) not in {network.options for network in found.networks}
    lines = [json.loads(line) for line in (tmp_path / TRIED).read_text().splitlines()]
    assert [line["failed"] for line in lines] == ["out of memory", None, None]


def test_what_is_no_number_is_named(weights: Path, tmp_path: Path) -> None:
    wild = {"decoder": {"frames": 4, "epochs": 2, "batch_size": 2, "learning_rate": 1e30}}
    with pytest.raises(FailedTraining, match=r"none of 3 networks has a score; the first failed: the .* is"):
        run_search(decoders(weights, scoring=wild), tmp_path, ALONE, resume=False, watch=Log())


@pytest.mark.parametrize(
    "strategy", ["ppo", *(pytest.param(name, marks=pytest.mark.slow) for name in ("random", "evolution"))]
)
def test_a_search_that_was_stopped_goes_on_as_if_not(strategy: str, weights: Path, tmp_path: Path) -> None:
    wanted = decoders(weights, strategy)
    expected = run_search(wanted, tmp_path / "whole", ALONE, resume=False, watch=Log())
    with pytest.raises(KeyboardInterrupt):
        run_search(wanted, tmp_path / "parts", ALONE, resume=False, watch=Log(2))
    found = run_search(wanted, tmp_path / "parts", ALONE, resume=True, watch=(log := Log()))
    assert len(log.steps) == 1
    assert found == expected
    whole, parts = (_without_time(tmp_path / name / TRIED) for name in ("whole", "parts"))
    assert whole == parts


def _without_time(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_what_does_not_fit_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match=r"needs weights of the encoder mobilenetv3-small-seg: .*--init"):
        scorer(decoders(None))
    own = {**PROGRESSIVE, "init": str(weights)}
    chain = problem(strategy="ppo", space=FIVE, scoring=own)
    with pytest.raises(InvalidSearch, match="needs a space of decoders over an encoder, which five is not"):
        make_strategy(chain, ALONE, None)
    many = {"decoder": {"frames": 100000, "epochs": 1, "batch_size": 2}, "memory_mib": 1}
    large = decoders(weights, scoring=many)
    with pytest.raises(
        InvalidRecipe, match=r"maps of 100000 frames .* MiB, more than scoring\.memory_mib of"
    ):
        scorer(large)
    with pytest.raises(InvalidRecipe, match="'mean'; allowed for segmentation: combined, null"):
        decoders(weights, scoring={"reward": "mean"})


def test_weights_of_another_encoder_are_refused(weights: Path) -> None:
    other = replace(decoders(weights), space=get_space("fastdense@squeezenas-lat-small"))
    with pytest.raises(InvalidWeights, match="does not fit encoder squeezenas-lat-small"):
        scorer(other)


def test_a_log_of_other_weights_another_space_or_reward_is_refused(weights: Path, tmp_path: Path) -> None:
    wanted, out = decoders(weights, scoring={"everything": None}), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_search(wanted, out, ALONE, resume=False, watch=Log(1))
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    run_search(decoders(moved, scoring={"everything": None}), out, ALONE, resume=True, watch=(log := Log()))
    assert len(log.steps) == 2
    plain = decoders(weights, scoring={"everything": None, "reward": None})
    with pytest.raises(InvalidCheckpoint, match=r"scoring\.reward was 'combined', is None"):
        run_search(plain, out, ALONE, resume=True, watch=Log())
    own = {name: values + 1 for name, values in read_safetensors(weights).items()}
    save_weights(moved, own)
    with pytest.raises(InvalidCheckpoint, match=r"scored with other weights \(scoring.init\)"):
        run_search(decoders(moved, scoring={"everything": None}), out, ALONE, resume=True, watch=Log())
    larger = replace(wanted, space=get_space("fastdense@squeezenas-lat-small"))
    with pytest.raises(InvalidCheckpoint, match=r"space was 'fastdense@mobilenetv3-small-seg', is"):
        run_search(larger, out, ALONE, resume=True, watch=Log())


def test_killed_it_repeats_nothing(weights: Path, tmp_path: Path) -> None:
    """By a process that is killed in its second network."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.search.strategies.sampling.decoders import decoders\n"
        "from tests.search.strategies.helpers import ALONE, Log\n"
        "from search.run import run_search\n"
        "from search.strategies.sampling.progressive import ProgressiveScorer\n"
        "score, done = ProgressiveScorer.score, []\n"
        "def dying(*given):\n"
        "    if done: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    done.append(1)\n"
        "    return score(*given)\n"
        "ProgressiveScorer.score = dying\n"
        "wanted = decoders(Path(sys.argv[1]), scoring={'everything': None})\n"
        "run_search(wanted, Path(sys.argv[2]), ALONE, resume=False, watch=Log())\n"
    )
    out = tmp_path / "killed"
    child = subprocess.run(
        [sys.executable, "-c", program, str(weights), str(out)],
        cwd=Path(__file__).parents[4],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    (line,) = (out / TRIED).read_text().splitlines()
    wanted = decoders(weights, scoring={"everything": None})
    run_search(wanted, out, ALONE, resume=True, watch=(log := Log()))
    assert [now.step for now in log.steps] == [2, 3]
    assert (out / TRIED).read_text().splitlines()[0] == line
