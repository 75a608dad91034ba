"""The shipped networks of FasterSeg: their numbers are those counted in the authors' released code."""

from collections import Counter

import numpy as np
import pytest
import torch

from cost_models.onnx_io.exporter import to_onnx
from search.architecture import load_architecture
from search.networks.graph_module import GraphModule
from search.networks.network import build_network

from ....cost_models.two_runtimes import run_onnx
from ..contract import settled

FULL = {"x": (1, 3, 1024, 2048)}


@pytest.mark.parametrize(
    ("name", "gmacs", "parameters", "of_training"),
    [
        ("fasterseg-student", 27.770487, 3_421_875, 931_046),
        ("fasterseg-teacher", 107.778933, 22_115_203, 1_335_206),
    ],
)
def test_work_and_parameters(name: str, gmacs: float, parameters: int, of_training: int) -> None:
    architecture = load_architecture(name)
    network = architecture.network()
    assert network.macs(FULL) / 1e9 == pytest.approx(gmacs, abs=5e-7)
    assert network.num_parameters == parameters
    training = architecture.search_space.training_network(architecture.genotype, architecture.head)
    assert training.num_parameters - parameters == of_training


def test_the_students_work_by_layer() -> None:
    """Millions of multiply-accumulates at 1024x2048, of each cell, and of each convolution behind them."""
    network = load_architecture("fasterseg-student").network()
    shapes = network.shapes(FULL)
    work: Counter[str] = Counter()
    for node in network.nodes:
        place = ".".join(node.name.split(".")[: 4 if node.name.startswith("decoder") else 2])
        work[place.removesuffix(".conv")] += node.op.macs(shapes[node.name])
    found = [round(macs / 1e6, 3) for macs in work.values() if macs]
    assert found[:3] == [452.985, 7247.757, 2415.919]
    assert found[3:6] == [905.970, 603.980, 150.995]
    assert found[6:13] == [301.990, 226.492, 150.995, 150.995, 452.985, 150.995, 452.985]
    assert found[13:19] == [150.995, 603.980, 452.985, 150.995, 905.970, 754.975]
    assert found[19:25] == [67.109, 1811.939, 67.109, 1811.939, 67.109, 1811.939]
    assert found[25] == 536.871
    assert found[26] + found[27] == pytest.approx(4911.530)
    assert len(found) == 28


def test_the_teachers_branches() -> None:
    architecture = load_architecture("fasterseg-teacher")
    deep, fine, shared = architecture.search_space.branches(architecture.genotype)
    assert shared == 4
    assert [cell.operation for cell in deep[:4]] == ["conv_downup", *["conv_2x_downup"] * 3]
    assert [cell.layer for cell in deep if cell.down] == [5, 13]
    assert [cell.layer for cell in fine if cell.down] == [4]
    assert [cell.operation for cell in deep[-2:]] == ["conv_2x", "conv_2x"]
    assert [cell.operation for cell in fine[4:8]] == [
        "conv_2x_downup",
        "conv_2x",
        "conv_2x_downup",
        "conv_downup",
    ]


def test_the_published_numbers_have_their_origin() -> None:
    results = load_architecture("fasterseg-student").results
    assert [(result.miou_percent, result.fps) for result in results] == [(73.1, 163.9), (71.5, None)]
    assert all("478b026" in result.source and "1024x2048" in result.conditions for result in results)


def test_heads_of_training_are_not_deployed() -> None:
    network = build_network(load_architecture("fasterseg-student"))
    assert not [name for name in network.state_dict() if name.startswith("auxiliary")]


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
@pytest.mark.parametrize("name", ["fasterseg-student", "fasterseg-teacher"])
def test_pytorch_and_onnx_agree(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network, image = load_architecture(name).network(), torch.randn(1, 3, *size)
    module = settled(GraphModule(network))
    weights = {n: v.numpy() for n, v in module.state_dict().items() if "num_batches" not in n}
    (theirs,) = run_onnx(to_onnx(network, {"x": (1, 3, *size)}, weights), {"x": image.numpy()})
    with torch.inference_mode():
        ours = module(image)
    assert isinstance(ours, torch.Tensor)
    assert theirs.shape == (1, 19, *size)
    assert np.abs(ours.numpy() - theirs).max() < 1e-4 * np.abs(theirs).max()
