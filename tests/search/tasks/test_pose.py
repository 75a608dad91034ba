"""Heat maps: what they are learnt by, and what is read off them."""

import numpy as np
import pytest
import torch

from cost_models.onnx_io.exporter import to_onnx
from search.data import Data
from search.data.frames import Frames
from search.data.key_points import KEY_POINTS, KeyPoints
from search.errors import InvalidData, InvalidRecipe
from search.parallel.ranks import Ranks
from search.spaces.camera import peaks_graph
from search.tasks.pose import Pose
from search.tasks.pose_losses import HeatMapLoss, heat_maps
from search.tasks.pose_recipe import HeatMaps

from ...cost_models.two_runtimes import run_onnx, run_torch

POSE = Pose()
ALONE = Ranks(0, 1, torch.device("cpu"))
PLAIN = HeatMapLoss()


def truth(*points: tuple[float, float, float], size: tuple[int, int] = (64, 64)) -> torch.Tensor:
    return torch.tensor([[*points, (10.0, *size)]])


def test_gaussians_stand_where_the_points_are() -> None:
    maps = heat_maps(truth((33.5, 17.5, 1)), (16, 16), sigma=2.0)  # the middle of the cells 8 and 4
    assert maps.shape == (1, 1, 16, 16)
    assert maps[0, 0, 4, 8] == 1
    assert float(maps[0, 0, 4, 10]) == pytest.approx(np.exp(-0.5))  # a sigma away
    assert float(maps[0, 0, 6, 10]) == pytest.approx(np.exp(-1.0))


def test_the_loss_is_half_the_mean_square() -> None:
    points = truth((33.5, 17.5, 1))
    wanted = heat_maps(points, (16, 16), 2.0)
    assert float(PLAIN(wanted, points)) == 0
    assert float(PLAIN(wanted + 0.3, points)) == pytest.approx(0.5 * 0.09)
    assert float(HeatMapLoss(weight=100)(wanted + 0.3, points)) == pytest.approx(4.5)


def test_missing_points_are_out_of_the_loss() -> None:
    points = truth((33.5, 17.5, 1), (0, 0, 0))
    last = heat_maps(points, (16, 16), 2.0)
    last[:, 0] += 0.2
    last[:, 1] += 5
    last.requires_grad_()
    loss = PLAIN(last, points)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.02)  # the mean is over points that are there
    assert last.grad is not None
    assert last.grad[0, 1].abs().sum() == 0
    assert float(PLAIN(last.detach(), truth((0, 0, 0), (0, 0, 0)))) == 0


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_points_come_back_from_their_maps(size: tuple[int, int]) -> None:
    height, width = size
    random = np.random.default_rng(0)
    where = random.random((20, 2)) * (width - 12, height - 12) + 5.5
    points = truth(*[(x, y, 1.0) for x, y in where], size=size)
    found = POSE.predict(heat_maps(points, (height // 4, width // 4), 2.0), size)
    assert found.shape == (1, 20, 3)
    assert np.abs(found[0, :, :2].numpy() - where).max() < 0.2  # of pixels four times smaller than the map's
    assert float(found[..., 2].min()) > 0.9


def test_whole_pixels_and_edges_come_back_exactly() -> None:
    where = [(1.5, 1.5), (61.5, 61.5), (1.5, 61.5), (29.5, 13.5)]
    maps = heat_maps(truth(*[(x, y, 1.0) for x, y in where]), (16, 16), 2.0)
    found = POSE.predict(maps, (64, 64))[0]
    np.testing.assert_allclose(found[:, :2], where, atol=1e-5)
    np.testing.assert_allclose(found[:, 2], 1)


def test_the_first_of_equals_is_taken() -> None:
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 5, 2] = maps[0, 0, 2, 6] = 1
    assert POSE.predict(maps, (8, 8)).tolist() == [[[6.0, 2.0, 1.0]]]
    assert POSE.predict(torch.zeros(1, 1, 8, 8), (8, 8)).tolist() == [[[0.0, 0.0, 0.0]]]


def test_what_is_deployed_decodes_the_same() -> None:
    """onnxruntime, the deployed graph in PyTorch and the task's own."""
    maps = np.random.default_rng(3).random((2, 5, 12, 16), np.float32)
    graph = peaks_graph(4)
    (ours,) = run_torch(graph, {"x": maps})
    (theirs,) = run_onnx(to_onnx(graph, {"x": maps.shape}), {"x": maps})
    assert (ours.dtype, ours.shape) == (theirs.dtype, (2, 5, 3)) == (np.float32, (2, 5, 3))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(POSE.predict(torch.from_numpy(maps), (48, 64)).numpy(), ours, atol=1e-4)


def test_a_loss_is_of_as_many_points_as_the_data() -> None:
    frames = Frames((), KEY_POINTS["mpii"])
    assert isinstance(POSE.loss(HeatMaps(kind="heat_maps"), frames, 16, ALONE), HeatMapLoss)
    with pytest.raises(InvalidRecipe, match=r"^the network has 5 heat maps, and the data 16 key points"):
        POSE.loss(HeatMaps(kind="heat_maps"), frames, 5, ALONE)


def test_the_reward_is_a_share() -> None:
    data = Data("two", (), (64, 64), {}, KeyPoints(("a", "b")))
    meter = POSE.meter(data)
    with pytest.raises(InvalidData, match="nothing to score"):
        POSE.reward(meter.scores())
    meter.add(np.array([[(5, 5, 1.0), (50, 50, 1.0)]]), truth((5, 6, 1), (20, 20, 1)).numpy())
    assert POSE.reward(meter.scores()) == 0.5
    assert POSE.shown(0.5) == "PCKh@0.5 50.0 %"
    assert POSE.head(data).outputs == 2
