import re

import numpy as np
import pytest
import torch
from torch.nn import functional

from cost_models.errors import InvalidGraph
from cost_models.ir.graph import Graph, GraphBuilder, fold_batch_norm
from cost_models.ir.ops import Conv2d
from cost_models.ir.weights import check_weights, fold_weights, random_weights


def conv_and_norm(bias: bool) -> Graph:
    net = GraphBuilder()
    return net.build(net.conv_bn("a", Conv2d(6, 4, kernel=3, padding=1, groups=2, bias=bias), "x"))


def test_random_weights_are_all_there_and_repeatable() -> None:
    graph = conv_and_norm(bias=True)
    weights = random_weights(graph, seed=3)
    check_weights(graph, weights)
    assert {values.dtype for values in weights.values()} == {np.dtype("float32")}
    assert (weights["a.bn.running_var"] > 0).all()
    np.testing.assert_equal(random_weights(graph, seed=3), weights)
    assert not np.array_equal(random_weights(graph, seed=4)["a.conv.weight"], weights["a.conv.weight"])


@pytest.mark.parametrize("bias", [False, True])
def test_folding_keeps_the_function(bias: bool) -> None:
    graph = conv_and_norm(bias)
    weights = random_weights(graph)
    folded = fold_weights(graph, weights)
    check_weights(fold_batch_norm(graph), folded)
    arrays = {name: torch.from_numpy(values) for name, values in weights.items()}
    x = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    convolved = functional.conv2d(x, arrays["a.conv.weight"], arrays.get("a.conv.bias"), padding=1, groups=2)
    statistics = [arrays[f"a.bn.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
    expected = functional.batch_norm(convolved, *statistics)
    merged = (torch.from_numpy(folded[f"a.conv.{key}"]) for key in ("weight", "bias"))
    torch.testing.assert_close(functional.conv2d(x, *merged, padding=1, groups=2), expected)


def test_every_fault_is_listed_at_once() -> None:
    graph = conv_and_norm(bias=False)
    weights = random_weights(graph)
    del weights["a.bn.bias"]
    weights["b.weight"] = np.zeros(1, np.float32)
    weights["a.conv.weight"] = np.zeros((4, 6, 3, 3), np.float32)
    reason = (
        "weights of another network: 3 of 5 tensors do not fit: missing a.bn.bias; unexpected b.weight; "
        "a.conv.weight has shape (4, 6, 3, 3), needs (4, 3, 3, 3)"
    )
    for use in (check_weights, fold_weights):
        with pytest.raises(InvalidGraph, match=f"^{re.escape(reason)}$"):
            use(graph, weights)
