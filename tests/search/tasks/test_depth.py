"""Depth: its losses by hand, its scores, what a deployed network gives."""

import numpy as np
import pytest
import torch
from torch import Tensor

from search.data import Data, open_data
from search.data.frames import Frames
from search.errors import InvalidData, InvalidRecipe
from search.parallel.ranks import Ranks
from search.tasks.depth import Depth
from search.tasks.depth_losses import DepthLoss
from search.tasks.depth_metrics import DepthErrors
from search.tasks.depth_recipe import L1, BerHu
from search.tasks.registry import TASKS
from search.tasks.segmentation_recipe import CrossEntropy
from search.tasks.words import WORDS

ALONE = Ranks(0, 1, torch.device("cpu"))
BERHU, PLAIN = BerHu(kind="berhu"), L1(kind="l1")
TASK = Depth()


def last_and_truth(errors: list[float], true: float = 3.0) -> tuple[Tensor, Tensor]:
    """A row of pixels that are so much too far."""
    truth = torch.full((1, 1, len(errors)), true)
    return (truth + torch.tensor(errors))[:, None], truth


def test_inverse_huber_by_hand() -> None:
    """c = 0.4; terms 0.1, 0.5125, 1.45 and 5.2."""
    last, truth = last_and_truth([0.1, -0.5, 1, 2])
    assert float(DepthLoss(BERHU, ALONE)(last, truth)) == pytest.approx(1.815625)


def test_what_nobody_measured_costs_nothing_and_counts_in_the_mean() -> None:
    last, truth = last_and_truth([0.1, 0.5, 1, 2, 100])
    truth[..., -1] = 0
    for loss, mean in ((BERHU, 1.815625), (PLAIN, 0.9)):
        assert float(DepthLoss(loss, ALONE)(last, truth)) == pytest.approx(mean * 4 / 5)


def test_a_last_map_below_zero_is_zero_metres() -> None:
    last, truth = torch.tensor([[[[-5.0, 2.0]]]], requires_grad=True), torch.tensor([[[1.0, 1.0]]])
    loss = DepthLoss(PLAIN, ALONE)(last, truth)
    loss.backward()
    assert (float(loss.detach()), last.grad.tolist()) == (1.0, [[[[0.0, 0.5]]]])  # type: ignore[union-attr]


@pytest.mark.parametrize("truth", [torch.zeros(1, 2, 2), torch.ones(1, 2, 2)], ids=["unmeasured", "right"])
@pytest.mark.parametrize("settings", [BERHU, PLAIN])
def test_nothing_wrong_is_a_loss_of_zero_with_a_gradient(truth: Tensor, settings: BerHu | L1) -> None:
    last = torch.ones(1, 1, 2, 2, requires_grad=True)
    loss = DepthLoss(settings, ALONE)(last, truth)
    loss.backward()
    assert float(loss.detach()) == 0
    assert last.grad is not None
    assert last.grad.isfinite().all()


class OfTwo:
    """One of two processes, that knows how far off the other is."""

    def __init__(self, other: float) -> None:
        self._other = other

    def largest(self, tensor: Tensor) -> Tensor:
        return torch.maximum(tensor.detach(), torch.tensor(self._other))


def test_the_limit_is_that_of_all_processes() -> None:
    whole = float(DepthLoss(BERHU, ALONE)(*last_and_truth([0.1, 0.5, 1, 2])))
    parts = [
        float(DepthLoss(BERHU, OfTwo(most))(*last_and_truth(errors)))  # type: ignore[arg-type]
        for errors, most in (([0.1, 0.5], 2.0), ([1, 2], 0.5))
    ]
    assert sum(parts) / 2 == pytest.approx(whole) == 1.815625


def test_other_truth_and_other_losses_are_refused() -> None:
    with pytest.raises(InvalidData, match=r"labelled with torch\.int64 of \(1, 4, 4\); allowed for depth: "):
        DepthLoss(BERHU, ALONE)(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64))
    scenes = open_data("synthetic:1:64x64").frames("train")
    with pytest.raises(InvalidRecipe, match="loss: found cross_entropy; allowed for depth: berhu, l1"):
        TASK.loss(CrossEntropy(kind="cross_entropy"), Frames(scenes.frames), 1, ALONE)
    with pytest.raises(
        InvalidRecipe, match="loss: found berhu; allowed for segmentation: cross_entropy, ohem"
    ):
        TASKS["segmentation"].loss(BERHU, scenes, 19, ALONE)


def test_scores_are_over_all_measured_pixels_of_all_frames() -> None:
    """A frame of two measured pixels counts twice as much as one of one."""
    errors = DepthErrors()
    errors.add([[1.0, 2.0, 0.0]], [[1.2, 1.0, 9.0]])
    errors.add([[4.0, 0.0, 0.0]], [[5.5, 1.0, 1.0]])
    found = errors.scores()
    assert found["rmse_m"] == pytest.approx(((0.04 + 1 + 2.25) / 3) ** 0.5)
    assert found["relative_error_percent"] == pytest.approx(100 * (0.2 + 0.5 + 0.375) / 3)
    # factors of 1.2, 2 and 1.375: below 1.25, 1.5625 and 1.953125
    within = [found[f"within_1.25{power}_percent"] for power in ("", "_squared", "_cubed")]
    assert within == pytest.approx([100 / 3, 200 / 3, 200 / 3])


def test_no_measurement_no_score_and_a_zero_is_within_no_factor() -> None:
    empty = DepthErrors()
    empty.add([[0.0]], [[3.0]])
    assert set(empty.scores().values()) == {None}
    none = DepthErrors()
    none.add([[2.0]], [[0.0]])
    assert list(none.scores().values()) == [2, 100, 0, 0, 0]
    with pytest.raises(ValueError, match=r"depths are \(1, 1\), predictions \(1, 2\)"):
        none.add([[1.0]], [[1.0, 2.0]])


def test_the_meter_adds_up_processes_and_says_the_columns() -> None:
    meter = TASK.meter(open_data("synthetic:1:64x64", "depth"))
    meter.add(np.full((1, 2, 2), 3.0), np.full((1, 2, 2), 2.0, np.float32))
    meter.merge(ALONE)
    assert tuple(meter.scores()) == TASK.columns
    assert (meter.scores()["rmse_m"], meter.details()) == (1.0, {})


def test_rewards_rise_as_errors_fall() -> None:
    rewards = [TASK.reward({"rmse_m": error}) for error in (0.0, 0.523, 6.4, 1e9, float("inf"), float("nan"))]
    assert rewards == sorted(rewards, reverse=True)
    assert (rewards[0], rewards[-1]) == (1.0, 0.0)
    assert TASK.shown(rewards[1]) == "RMSE 0.523 m"
    assert TASK.score_of(rewards[2]) == pytest.approx(6.4)
    assert WORDS["depth"].lower_is_better
    assert not WORDS["segmentation"].lower_is_better
    with pytest.raises(InvalidData, match="no pixel of the validation frames has a depth"):
        TASK.reward({"rmse_m": None})


def test_what_is_deployed_is_never_below_zero_and_of_the_frames_size() -> None:
    last = torch.tensor([[[[-1.0, 2.0], [4.0, 6.0]]]])
    assert TASK.predict(last, (2, 2)).tolist() == [[[0, 2], [4, 6]]]
    larger = TASK.predict(last, (4, 4))
    assert larger.shape == (1, 4, 4)
    assert (float(larger[0, 0, 0]), float(larger[0, 3, 3])) == (0, 6)
    truth = torch.tensor([[[1.0, 0.0], [3.0, 4.0]]])
    assert set(TASK.truth_at(truth, (4, 4)).unique().tolist()) == {0, 1, 3, 4}


def test_the_distance_to_a_teacher_is_in_metres() -> None:
    last, taught = torch.tensor([[[[1.0, -3.0]]]]), torch.tensor([[[[3.0, -9.0]]]])
    assert float(TASK.distance(last, taught, 1.0)) == 1
    with pytest.raises(ValueError, match="temperature 2: metres have none"):
        TASK.distance(last, taught, 2)


def test_its_words(scenes: Data) -> None:
    words = WORDS["depth"]
    assert words.said({"rmse_m": 0.5231, "relative_error_percent": 12.0}) == (
        "RMSE 0.523 m, relative error 12.00 %"
    )
    assert words.primary.text(None) == "RMSE - m"
    assert TASK.head(scenes).meaning == "metres"
