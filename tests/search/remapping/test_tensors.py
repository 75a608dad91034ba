"""Kernels, channels and groups of single tensors."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from search.remapping.tensors import (
    OTHERS,
    Array,
    Norm,
    by_parts,
    dense,
    embed_kernel,
    embeds,
    grouped,
    keep,
    parts_of,
    read,
)

RANDOM = np.random.default_rng


def depthwise(kernel: Array, dilation: int, x: Array) -> Array:
    size = kernel.shape[-1]
    weight = torch.from_numpy(kernel[:, None])
    padding = size // 2 * dilation
    found = functional.conv2d(
        torch.from_numpy(x), weight, padding=padding, dilation=dilation, groups=len(kernel)
    )
    array: Array = found.numpy()
    return array


@pytest.mark.parametrize(
    ("old", "new", "exact"),
    [
        ((3, 1), (3, 1), True),
        ((3, 1), (5, 1), True),
        ((3, 2), (5, 1), True),
        ((5, 1), (7, 1), True),
        ((5, 1), (3, 1), False),
        ((3, 1), (3, 2), False),
        ((3, 2), (3, 1), False),
        ((5, 1), (3, 2), False),
    ],
)
def test_kernels_compute_the_same_wherever_their_taps_fit(
    old: tuple[int, int], new: tuple[int, int], exact: bool
) -> None:
    random = RANDOM(0)
    kernel = random.normal(size=(4, old[0], old[0])).astype(np.float32)
    x = random.normal(size=(1, 4, 9, 9)).astype(np.float32)
    became = embed_kernel(kernel, old[1], *new)
    assert became.shape == (4, new[0], new[0])
    assert embeds(*old, *new) is exact
    assert np.allclose(depthwise(kernel, old[1], x), depthwise(became, new[1], x), atol=1e-5) is exact


def test_kernels_are_cropped_to_their_middle_and_keep_their_taps_when_dilated() -> None:
    five = np.arange(25, dtype=np.float32).reshape(1, 5, 5)
    three = five[:, 1:4, 1:4]
    np.testing.assert_array_equal(embed_kernel(five, 1, 3, 1), three)
    np.testing.assert_array_equal(embed_kernel(five, 1, 3, 2), five[:, ::2, ::2])
    np.testing.assert_array_equal(embed_kernel(three, 1, 3, 2), three)


def test_narrower_keeps_the_most_important_in_their_order_wider_copies_them() -> None:
    importance = np.array([[3.0], [1.0], [4.0], [2.0]], np.float32)
    assert keep(importance, 2) == (0, 2)
    assert keep(importance, 4) == (0, 1, 2, 3)
    assert keep(importance, 6) == (0, 0, 1, 2, 2, 3)
    assert keep(importance, 9) == (0, 0, 1, 1, 2, 2, 2, 3, 3)


def test_channels_stay_in_their_part() -> None:
    importance = by_parts(np.array([9.0, 8.0, 7.0, 1.0, 2.0, 3.0], np.float32), 2)
    assert importance[0, 1] == OTHERS
    assert keep(importance, 4) == (0, 1, 4, 5)
    assert keep(importance, 8) == (0, 0, 1, 2, 3, 4, 5, 5)
    assert parts_of((6, 8), 2) == 2
    assert parts_of((6, 9), 2) == 1


def test_a_part_to_which_nothing_belongs_is_filled_all_the_same() -> None:
    importance = np.array([[1.0, OTHERS], [2.0, OTHERS]], np.float32)
    assert keep(importance, 4) == (0, 1, 0, 1)


def test_who_reads_copies_shares_its_weight_unevenly() -> None:
    random = RANDOM(1)
    weight = random.normal(size=(3, 4)).astype(np.float32)
    sources = (0, 0, 1, 2, 2, 2, 3)
    x = random.normal(size=4).astype(np.float32)
    shared = read(weight, sources, 1, RANDOM(2))
    np.testing.assert_allclose(shared @ x[list(sources)], weight @ x, atol=1e-5)
    assert np.all(np.abs(shared[:, 0] - shared[:, 1]) > 1e-4)
    np.testing.assert_array_equal(read(weight, (2, 0), 1, RANDOM(2)), weight[:, [2, 0]])


def test_copies_in_other_groups_are_not_read_and_share_nothing() -> None:
    weight = np.arange(1, 9, dtype=np.float32).reshape(2, 4)
    found = read(weight, (0, 1, 2, 0, 0, 3), 2, RANDOM(0))
    np.testing.assert_array_equal(found[0, :3], weight[0, :3])
    assert not found[0, 3:].any()
    assert not found[1, :3].any()
    np.testing.assert_allclose(found[1, 3] + found[1, 4], weight[1, 0], rtol=1e-6)


def test_groups_are_zeros_in_a_matrix_and_come_back() -> None:
    kernel = RANDOM(3).normal(size=(6, 2, 1, 1)).astype(np.float32)
    x = RANDOM(4).normal(size=(1, 4, 5, 5)).astype(np.float32)
    matrix = dense(kernel, 2)
    there = functional.conv2d(torch.from_numpy(x), torch.from_numpy(kernel), groups=2)
    here = functional.conv2d(torch.from_numpy(x), torch.from_numpy(matrix[:, :, None, None]))
    torch.testing.assert_close(there, here)
    np.testing.assert_array_equal(grouped(matrix, 2), kernel)


def test_a_normalisation_that_keeps_changes_nothing() -> None:
    mean, variance = np.array([0.5, -2.0], np.float32), np.array([4.0, 0.0], np.float32)
    norm = Norm.keeping(mean, variance)
    np.testing.assert_allclose(norm.scale, 1, rtol=1e-6)
    np.testing.assert_allclose(norm.shift, 0, atol=1e-6)
    assert not norm.closed().weight.any()
    assert not norm.closed().bias.any()
