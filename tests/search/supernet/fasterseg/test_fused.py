"""The fused form of the grid's supernet gives the numbers of the plain one.

A whole grid is compared in float64: cells of this size normalise over a handful of pixels, which turns the
rounding of float32 into per cents, in either form. A cell of a useful size is compared in float32.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from search.spaces.fasterseg.grid import OPERATIONS
from search.supernet.choice import Form
from search.supernet.fasterseg.fused import CellMaps, fused_mix
from search.supernet.fasterseg.grouped_norm import rectified, weighted_sum
from search.supernet.fasterseg.narrow import narrowed
from search.supernet.fasterseg.slimmable import MixedOperation
from search.supernet.fasterseg.supernet import GridSupernet
from search.supernet.fasterseg.widths import MapWidths

from ...training.helpers import finished, torchrun
from .test_supernet import GRID, SPACES, images, seeded

FORMS: tuple[Form, ...] = ("plain", "fused")


def made(form: Form) -> GridSupernet:
    """Logits that are not flat, so that a wrong one is seen."""
    torch.manual_seed(0)
    net = GridSupernet(SPACES, outputs=5, form=form)
    for name in SPACES:
        for logits in net.learner(name).logit_parameters():
            nn.init.normal_(logits, generator=seeded(len(logits)))
    return net


def passes(net: GridSupernet) -> Iterator[tuple[str, MapWidths]]:
    yield "teacher", MapWidths.fixed(GRID, 12)
    yield "student", MapWidths.drawn(GRID, list(net.learner("student").ratio), seeded(1))
    yield "student", MapWidths.fixed(GRID, 12)
    yield "student", MapWidths.fixed(GRID, 4)
    yield "student", MapWidths.random(GRID, seeded(2))


def apart(found: Tensor, expected: Tensor) -> float:
    """How far, by what is expected."""
    return float((found - expected).detach().norm() / expected.detach().norm().clamp_min(1e-12))


def assert_alike(plain: nn.Module, fused: nn.Module, tolerance: float) -> None:
    """Gradients and statistics."""
    for (name, one), (_, other) in zip(plain.named_parameters(), fused.named_parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None and other.grad is not None:
            assert apart(other.grad, one.grad) < tolerance, name
    for (name, one), (_, other) in zip(plain.named_buffers(), fused.named_buffers(), strict=True):
        assert apart(other.double(), one.double()) < tolerance, name


def test_forms_agree_on_predictions_gradients_and_statistics() -> None:
    """Of both learners and all kinds of widths, one pass after the other; then in evaluation mode."""
    plain, fused = (made(form).double() for form in FORMS)
    x = images().double()
    for one, other in zip(passes(plain), passes(fused), strict=True):
        expected, found = (torch.stack(values) for values in (plain(x, *one), fused(x, *other)))
        assert apart(found, expected) < 1e-8
        for values in (expected, found):
            values.square().mean().backward()
    assert_alike(plain, fused, 1e-5)
    widths = MapWidths.fixed(GRID, 6)
    with torch.inference_mode():
        last, other_last = (net.eval()(x, "student", widths)[4] for net in (plain, fused))
    assert apart(other_last, last) < 1e-8


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(("before", "behind"), [(32, 32), (16, 24)])
@pytest.mark.parametrize("predecessors", [1, 2])
def test_a_cell_agrees_in_float32(predecessors: int, before: int, behind: int, *, down: bool) -> None:
    torch.manual_seed(0)
    plain, fused = (MixedOperation(OPERATIONS, 32, [16, 24, 32], down=down) for _ in range(2))
    fused.load_state_dict(plain.state_dict())
    x = torch.randn(predecessors, 2, before, 14, 18)
    shares, chances = torch.rand(predecessors) + 0.1, torch.randn(5).softmax(0)
    leaves = [[values.clone().requires_grad_() for values in (x, shares, chances)] for _ in FORMS]
    maps, weights, odds = leaves[0]
    expected = sum(share * plain(x, odds, behind) for share, x in zip(weights, maps, strict=True))
    assert isinstance(expected, Tensor)
    maps, weights, odds = leaves[1]
    found = fused_mix(fused, CellMaps(list(maps), weights), odds, behind)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert apart(found, expected) < 1e-5
    direction = torch.randn(expected.shape, generator=seeded())
    for value in (expected, found):
        (value * direction).sum().backward()
    for one, other in zip(*leaves, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert apart(other.grad, one.grad) < 1e-5
    assert_alike(plain, fused, 1e-5)


def test_gradients_are_those_of_small_changes() -> None:
    torch.manual_seed(0)
    sizes = [(2, 4), (2, 4), (1, 2)]
    maps = [torch.randn(4, 2, *size, dtype=torch.double, requires_grad=True) for size in sizes]
    norms = [nn.BatchNorm2d(2).double() for _ in sizes]
    for norm in norms:
        nn.init.normal_(norm.weight, 1)
        nn.init.normal_(norm.bias)
    weights = torch.rand(3, 2, dtype=torch.double, requires_grad=True)

    def of_sum(weights: Tensor, *maps: Tensor) -> Tensor:
        return weighted_sum([nhwc(x) for x in maps], norms, weights, (2, 4))

    def of_rectified(*maps: Tensor) -> Sequence[Tensor]:
        return rectified([nhwc(x) for x in maps], norms, 2)

    assert torch.autograd.gradcheck(of_sum, (weights, *maps))
    assert torch.autograd.gradcheck(of_rectified, tuple(maps))


def nhwc(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def test_a_narrow_gradient_is_added_to_what_is_there() -> None:
    weight = nn.Parameter(torch.randn(4, 6, 3, 3))
    expected = torch.zeros_like(weight)
    for rows, columns in ((2, 3), (4, 6), (3, 6)):
        part = narrowed(weight, rows, columns)
        assert torch.equal(part, weight[:rows, :columns])
        (part * part).sum().backward()
        expected[:rows, :columns] += 2 * weight.detach()[:rows, :columns]
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, expected)


def test_what_is_not_learnt_gets_no_gradient() -> None:
    net = made("fused")
    for parameter in net.weight_parameters():
        parameter.requires_grad_(False)
    torch.stack(
        [p.square().mean() for p in net(images(), "student", MapWidths.fixed(GRID, 4))]
    ).sum().backward()
    assert all(parameter.grad is None for parameter in net.weight_parameters())
    assert all(logits.grad is not None for logits in net.learner("student").alpha)


def test_in_bfloat16_fused_is_as_near_to_float32_as_plain() -> None:
    torch.manual_seed(0)
    mixed = MixedOperation(OPERATIONS, 32, [16, 32], down=False)
    x, chances = torch.randn(2, 4, 32, 16, 24), torch.full((5,), 0.2)
    exact = mixed(x[0], chances, 32) * 0.4 + mixed(x[1], chances, 32) * 0.6
    with torch.autocast("cpu", torch.bfloat16):
        plain = mixed(x[0], chances, 32) * 0.4 + mixed(x[1], chances, 32) * 0.6
        fused = fused_mix(mixed, CellMaps(list(x), torch.tensor([0.4, 0.6])), chances, 32)
        functional.mse_loss(fused.float(), exact.detach()).backward()
    assert fused.dtype == torch.bfloat16
    assert apart(fused.float(), exact) < 1.2 * apart(plain.float(), exact) < 0.05
    assert all(p.grad is None or p.grad.isfinite().all() for p in mixed.parameters())


PROGRAM = """
import sys
import torch
from search.parallel.ranks import Ranks
from search.parallel.sync_batch_norm import convert_batch_norm
from tests_of_cells import outcome

ranks = Ranks.start()
torch.save(outcome(slice(ranks.rank, ranks.rank + 1), ranks), f"{sys.argv[1]}/{ranks.rank}.pt")
ranks.close()
"""
SHARED = """
import torch
from search.parallel.sync_batch_norm import convert_batch_norm
from search.spaces.fasterseg.grid import OPERATIONS
from search.supernet.fasterseg.fused import CellMaps, fused_mix
from search.supernet.fasterseg.slimmable import MixedOperation

def outcome(share, ranks=None):
    torch.manual_seed(0)
    mixed = MixedOperation(OPERATIONS, 8, [8], down=False)
    x, direction = torch.randn(2, 2, 8, 6, 8), torch.randn(2, 8, 6, 8)
    if ranks is not None:
        convert_batch_norm(mixed, ranks.device)
    made = fused_mix(mixed, CellMaps(list(x[:, share]), torch.tensor([0.4, 0.6])), torch.full((5,), 0.2), 8)
    (made * direction[share]).sum().backward()
    gradients = {name: parameter.grad for name, parameter in mixed.named_parameters()}
    return made.detach(), gradients, dict(mixed.named_buffers())
"""


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    (tmp_path / "tests_of_cells.py").write_text(SHARED, encoding="utf-8")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    code, _, said = finished(torchrun(2, "program.py", str(tmp_path), cwd=tmp_path))
    assert code == 0, said
    names: dict[str, object] = {}
    exec(SHARED, names)
    made, gradients, buffers = names["outcome"](slice(2))  # type: ignore[operator]
    both = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert apart(torch.cat([own[0] for own in both]), made) < 1e-5
    for name, gradient in gradients.items():
        assert apart(both[0][1][name] + both[1][1][name], gradient) < 1e-5, name
    for name, values in buffers.items():
        assert torch.equal(both[0][2][name], both[1][2][name]), name
        assert apart(both[0][2][name].double(), values.double()) < 1e-5, name
