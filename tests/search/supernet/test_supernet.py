"""The supernet as a whole: paths, pruning, extraction, draws."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from search.architecture import Architecture
from search.errors import UnknownCandidate
from search.networks.network import Network
from search.spaces.registry import get_space
from search.supernet import Form, Supernet

SPACE = get_space("small")
BLOCKS = ["k3e1", "skip", "k5e3", "k3e1g2"] * 5


def supernet(form: Form = "fused", **options: object) -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE, 5, form=form, **options)  # type: ignore[arg-type]


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def certain(net: Supernet, blocks: list[str]) -> list[Tensor]:
    """Weights that are all on one candidate."""
    return [torch.eye(len(left))[[left.index(b)]] for left, b in zip(net.candidates, blocks, strict=True)]


def step(net: Supernet, optimizers: list[torch.optim.Optimizer]) -> None:
    weights = net.draw(2, 1.0, per_image=False, generator=torch.Generator().manual_seed(3))
    net(images(), weights).square().mean().backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


def test_forms_agree_on_loss_and_gradients() -> None:
    found = []
    for form in ("plain", "fused"):
        net = supernet(form).double()  # type: ignore[arg-type]
        weights = net.draw(2, 2.0, per_image=True, generator=torch.Generator().manual_seed(3))
        loss = net(images().double(), weights).square().mean()
        loss.backward()
        found.append((float(loss.detach()), {n: p.grad for n, p in net.named_parameters()}))
    (plain, gradients), (fused, others) = found
    assert fused == pytest.approx(plain, rel=1e-9)
    assert gradients.keys() == others.keys()
    largest = max(float(g.abs().max()) for g in gradients.values() if g is not None)
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert torch.allclose(others[name], gradient, rtol=1e-5, atol=1e-9 * largest), name


def test_a_certain_choice_is_the_extracted_network() -> None:
    net = supernet().eval()
    with torch.no_grad():
        path = net(images(), certain(net, BLOCKS))
        network = Network(Architecture(space=SPACE.name, blocks=BLOCKS, num_classes=5)).eval()
        network.load_state_dict(net.extract(BLOCKS))
        alone = network(images())
    assert path.shape == (2, 5, 64, 64)
    assert torch.allclose(path, alone, atol=1e-5)


def test_what_is_removed_is_gone_everywhere() -> None:
    net = supernet()
    optimizers = [
        torch.optim.SGD(net.weight_parameters(), lr=0.01, momentum=0.9),
        torch.optim.Adam(net.logit_parameters(), lr=0.01),
    ]
    step(net, optimizers)
    before = sum(p.numel() for p in net.parameters())
    with torch.no_grad():
        net.logits[3][:] = torch.tensor([5.0, 5.0] + [-5.0] * 11)
    moments = optimizers[1].state[net.logits[3]]["exp_avg"][:2].clone()
    expected = net.probabilities()[3][:2] / net.probabilities()[3][:2].sum()
    removed = net.prune(0.005, optimizers)
    assert removed == [(3, name) for name in SPACE.positions[3].candidates[2:]]
    assert net.candidates[3] == list(SPACE.positions[3].candidates[:2])
    assert torch.allclose(net.probabilities()[3], expected)
    gone = before - sum(p.numel() for p in net.parameters())
    block = [SPACE.block(3, name).num_parameters for _, name in removed]
    assert gone == sum(block) + len(removed)
    held = {p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    assert held == set(net.parameters())
    assert all(set(optimizer.state) <= held for optimizer in optimizers)
    assert torch.equal(optimizers[1].state[net.logits[3]]["exp_avg"], moments)
    step(net, optimizers)  # and it goes on
    with pytest.raises(UnknownCandidate, match=r"position 3: block .* was removed from the supernet"):
        net.extract(["k3e1"] * 3 + [removed[0][1]] + ["k3e1"] * 16)


def test_the_likeliest_is_never_removed() -> None:
    net = supernet()
    assert len(net.prune(0.4)) == 20 * 12
    assert [len(left) for left in net.candidates] == [1] * 20
    assert net.prune(0.4) == []


def test_a_pruned_supernet_is_made_again_from_its_state() -> None:
    net = supernet()
    with torch.no_grad():
        net.logits[0][4:] = -9.0
    net.prune()
    again = supernet(candidates=net.candidates)
    again.load_state_dict(net.state_dict())
    weights = net.draw(2, 1.0, per_image=False, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again.eval()(images(), weights), net.eval()(images(), weights))


def test_draws_follow_the_logits_and_the_temperature() -> None:
    net = supernet()
    with torch.no_grad():
        net.logits[0][:] = torch.linspace(-1, 1, 13)
    random = torch.Generator().manual_seed(0)
    cold = net.draw(4000, 0.01, per_image=True, generator=random)[0]
    assert torch.allclose(cold.sum(1), torch.ones(4000))
    assert torch.allclose(cold.mean(0), net.probabilities()[0], atol=0.02)  # as if drawn
    hot = net.draw(100, 1000.0, per_image=True, generator=random)[0]
    assert torch.allclose(hot, torch.full_like(hot, 1 / 13), atol=0.01)
    assert net.draw(100, 1.0, per_image=False)[0].shape == (1, 13)


def test_paths_leave_the_other_candidates_out() -> None:
    net = supernet()
    weights = net.draw(3, 1.0, per_image=True, paths=2, generator=torch.Generator().manual_seed(0))
    for row in weights:
        assert ((row > 0).sum(1) == 2).all()
        assert ((row > 0).any(0)).sum() == 2  # the same for all images
    net(images(3), weights).mean().backward()
    computed = [p.grad is not None for name, p in net.named_parameters() if name.startswith("blocks.1.")]
    assert 0 < sum(computed) < len(computed) / 3


def test_in_bfloat16_fused_is_as_near_to_float32_as_plain() -> None:
    """Logits differ by a fifth: each of 20 positions adds its rounding, and masks of ReLU that flip.

    Gradients of what lies deeper than the decoder are of no use as a measure: a change of the input by 0.1 %
    turns those of the first positions, in float32, by 30 degrees.
    """
    net = supernet().train()
    weights = net.draw(4, 2.0, per_image=False, generator=torch.Generator().manual_seed(3))
    x = torch.randn(4, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    exact = forward_and_decoder_gradient(net, x, weights)
    errors = {}
    for form in ("plain", "fused"):
        other = supernet(form)  # type: ignore[arg-type]
        with torch.autocast("cpu", torch.bfloat16):
            found = forward_and_decoder_gradient(other, x, weights)
        errors[form] = [float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]
    for plain, fused in zip(errors["plain"], errors["fused"], strict=True):
        assert fused < 1.1 * plain
        assert 0.05 < plain < 0.3


def forward_and_decoder_gradient(net: Supernet, x: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    logits = net(x, [row.detach() for row in weights])
    with torch.autocast("cpu", enabled=False):
        labels = torch.randint(5, (4, 128, 128), generator=torch.Generator().manual_seed(2))
        functional.cross_entropy(logits.float(), labels).backward()
    gradients = [p.grad.flatten() for p in net.decoder.parameters() if p.grad is not None]
    return logits.detach().float(), torch.cat(gradients)


def test_candidates_of_another_space_are_refused() -> None:
    with pytest.raises(UnknownCandidate, match="k9e9"):
        Supernet(SPACE, 5, candidates=[["k9e9"]] * 20)
