"""Paths through a supernet, judged."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from search.architecture import architecture_of
from search.data.loaders import eval_loader
from search.networks.network import Network
from search.supernet import Supernet
from search.supernet.path_judge import Judgement, PathJudge, spread
from search.tasks.evaluation import evaluate_network
from search.tasks.registry import TASKS

from ..strategies.helpers import ALONE, FIVE, drawn_data

TASK = TASKS["segmentation"]
BY = Judgement(frames=None, calibration_batches=0, crop=(64, 64), batch_size=2, seed=0)
PATH = FIVE.from_short_form(["k3e1", "skip", "k5e3", "k3e1g2", "k3e6"])


def supernet() -> Supernet:
    torch.manual_seed(0)
    net = Supernet(FIVE, 19)
    with torch.no_grad():
        net(torch.randn(2, 3, 64, 64), net.draw(2, 1.0, per_image=False))  # statistics that are not fresh
    return net


def test_without_calibration_a_path_is_its_network_on_all_frames() -> None:
    net, data = supernet(), drawn_data()
    found = PathJudge(net.space, net.path, TASK, data, BY, ALONE).score(PATH)
    network = Network(architecture_of(FIVE, PATH, data.classes))
    network.load_state_dict(net.extract(FIVE.short_form(PATH)))
    frames = eval_loader(data.frames("val"), batch_size=1, workers=0)
    meter = evaluate_network(network, frames, TASK, TASK.meter(data))
    assert found == TASK.reward(meter.scores())


def test_calibration_changes_the_score_and_not_the_supernet() -> None:
    net, data = supernet(), drawn_data()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    judge = PathJudge(net.space, net.path, TASK, data, replace(BY, calibration_batches=2), ALONE)
    scores = [judge.score(PATH), judge.score(FIVE.from_short_form(["k3e1"] * 5)), judge.score(PATH)]
    assert scores[0] == scores[2]  # whatever came between
    assert scores[0] != PathJudge(net.space, net.path, TASK, data, BY, ALONE).score(PATH)
    after = net.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(("count", "kept"), [(1, [0]), (2, [0, 9]), (3, [0, 4, 9]), (10, None), (None, None)])
def test_frames_are_evenly_spread(count: int | None, kept: list[int] | None) -> None:
    frames = drawn_data(10).frames("train")
    expected = frames.names if kept is None else [frames.names[index] for index in kept]
    assert spread(frames, count).names == expected
    assert len(np.unique(spread(frames, count).names)) == len(expected)
