"""The supernet of cells: both forms give the same numbers, a certain pass is its network's."""

import numpy as np
import pytest
import torch
from torch import Tensor

from search.errors import InvalidArchitecture, InvalidResolution
from search.networks.graph_module import GraphModule
from search.spaces.camera import segmentation_head
from search.spaces.gas.chain import EDGES, CellChain, Pyramid
from search.spaces.gas.space import GasSpace
from search.spaces.gas.spaces import GAS
from search.spaces.space import one_hot
from search.supernet.gas.cell import Form
from search.supernet.gas.supernet import CellSupernet

SPACE = GasSpace(
    name="short",
    summary="four cells",
    chain=CellChain(channels=4, cells=4, reductions=(1,), decoder=Pyramid(rates=(2,), channels=8)),
)
HEAD = segmentation_head(5)


def supernet(form: Form = "fused", seed: int = 0, space: GasSpace = SPACE) -> CellSupernet:
    torch.manual_seed(seed)
    found = CellSupernet(space, 5, form=form)
    with torch.no_grad():
        for module in found.modules():
            if isinstance(module, torch.nn.BatchNorm2d) and module.affine:
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.2)
    return found


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 64, 80, generator=torch.Generator().manual_seed(1))


def shares(space: GasSpace = SPACE) -> Tensor:
    chain = space.chain
    random = torch.randn(chain.cells, 5, len(chain.operations), generator=torch.Generator().manual_seed(2))
    return random.softmax(-1)


def certain(genotype: dict[str, str]) -> Tensor:
    rows = one_hot(SPACE, [genotype])
    flat = np.stack([rows[own.name][0] for own in SPACE.decisions])
    return torch.tensor(flat, dtype=torch.float32).view(4, 5, 8)


@pytest.mark.parametrize("left_out", [(), ("max_pool_3x3", "skip"), ("conv_3x3", "dil_sep_conv_3x3_d8")])
def test_both_forms_give_the_same_numbers_and_gradients(left_out: tuple[str, ...]) -> None:
    names = tuple(name for name in SPACE.chain.operations if name not in left_out)
    chain = CellChain(channels=4, cells=3, reductions=(1,), decoder=SPACE.chain.decoder, operations=names)
    space = GasSpace(name="some", summary="some operations", chain=chain)
    found = []
    for form in ("plain", "fused"):
        own = supernet(form, space=space).double().train()  # type: ignore[arg-type]
        weights = shares(space).double().requires_grad_()
        made = own(images().double(), weights)
        made.square().mean().backward()
        grads = {name: p.grad for name, p in own.named_parameters() if name != "logits"}
        found.append((made.detach(), weights.grad, grads, own.state_dict()))
    plain, fused = found
    torch.testing.assert_close(fused[0], plain[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused[1], plain[1], atol=1e-5, rtol=1e-5)
    assert fused[2].keys() == plain[2].keys()
    for name, gradient in plain[2].items():
        torch.testing.assert_close(fused[2][name], gradient, atol=1e-6, rtol=1e-4, msg=name)
    for name, value in plain[3].items():
        torch.testing.assert_close(fused[3][name], value, atol=1e-5, rtol=1e-5, msg=name)


def test_in_single_precision_too() -> None:
    plain, fused = (supernet(form).train()(images(), shares()) for form in ("plain", "fused"))  # type: ignore[arg-type]
    assert float((fused - plain).detach().abs().max()) <= 1e-5 * float(plain.detach().abs().max())


@pytest.mark.parametrize("seed", range(4))
def test_a_certain_pass_is_that_of_its_network(seed: int) -> None:
    """Where no operation reads zeros, which its normalisation would shift; nodes of zeros may be there."""
    drawn = SPACE.sample(np.random.default_rng(seed))
    drawn = {name: "conv_3x3" if option == "zero" else option for name, option in drawn.items()}
    if seed % 2:
        drawn |= {f"cells.2.{edge.name}": "zero" for edge in EDGES if edge.node == 1 + seed // 2}
        drawn["cells.2.1_2"] = "zero"
    own = supernet(seed=seed).train()
    for _ in range(3):
        own(images(), certain(drawn))
    own.eval()
    module = GraphModule(SPACE.network(drawn, HEAD))
    module.load_state_dict(own.extract(drawn, HEAD))
    with torch.inference_mode():
        expected, found = module.eval()(images()), own(images(), certain(drawn))
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", ["plain", "fused"])
def test_every_weight_and_every_share_learns(form: Form) -> None:
    own = supernet(form).train()
    (own(images(), own.logits.softmax(-1)).square()).mean().backward()
    still = [name for name, p in own.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []
    assert len(own.weight_parameters()) == len(list(own.parameters())) - 1


def test_there_are_560_logits_in_the_whole() -> None:
    with torch.device("meta"):
        own = CellSupernet(GAS[0], outputs=19)
    assert own.logits.shape == (14, 5, 8)
    assert own.logits.numel() == 560
    torch.manual_seed(0)
    assert 5e-4 < float(supernet().logits.detach().std()) < 2e-3


def test_what_it_does_not_take_is_refused() -> None:
    own = supernet()
    with pytest.raises(InvalidResolution, match=r"crop 64x65: .* that 8 divides; the nearest is 64x72$"):
        own(torch.zeros(2, 3, 64, 65), shares())
    one = images(1)
    with pytest.raises(
        InvalidResolution, match=r"^crop 64x80, 1 image: .* no batch statistics; take 2 images"
    ):
        own.train()(one, shares())
    assert own.eval()(one, shares()).isfinite().all()
    zeros = {name.name: "zero" for name in SPACE.decisions}
    with pytest.raises(InvalidArchitecture, match=r"gives nothing but zeros"):
        own.extract(zeros, HEAD)
