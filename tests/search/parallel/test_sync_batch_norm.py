"""Batch statistics of two processes are those of one with both batches."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from search.parallel.sync_batch_norm import SyncBatchNorm2d, convert_batch_norm

from ..training.helpers import finished, torchrun

CPU = torch.device("cpu")
PROGRAM = """
import sys
import torch
from search.parallel.ranks import Ranks
from search.parallel.sync_batch_norm import convert_batch_norm
from tests_of_norms import example, outcome

ranks = Ranks.start()
module, images = example()
convert_batch_norm(module, ranks.device)
share = slice(0, 2) if ranks.rank == 0 else slice(2, 5)
torch.save(outcome(module, images[share]), f"{sys.argv[1]}/{ranks.rank}.pt")
ranks.close()
"""
SHARED = """
import torch
from torch import nn

def example():
    torch.manual_seed(3)
    plain = nn.BatchNorm2d(4, affine=False)
    inner = nn.Sequential(nn.BatchNorm2d(4), plain)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), inner)
    return module, torch.randn(5, 3, 9, 7) * 3 + 5

def outcome(module, images):
    images = images.clone().requires_grad_()
    result = module(images)
    (result * torch.linspace(-1, 1, result[0].numel()).view(result[0].shape)).pow(3).sum().backward()
    module.eval()
    return {
        "result": result.detach(),
        "evaluated": module(images).detach(),
        "images": images.grad,
        **{f"gradient of {name}": parameter.grad for name, parameter in module.named_parameters()},
        **{name: buffer for name, buffer in module.named_buffers()},
    }
"""


def test_two_processes_are_one(tmp_path: Path) -> None:
    (tmp_path / "tests_of_norms.py").write_text(SHARED, encoding="utf-8")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    code, _, said = finished(torchrun(2, "program.py", str(tmp_path), cwd=tmp_path))
    assert code == 0, said
    names: dict[str, object] = {}
    exec(SHARED, names)
    module, images = names["example"]()  # type: ignore[operator]
    expected: dict[str, Tensor] = names["outcome"](module, images)  # type: ignore[operator]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name, wanted in expected.items():
        if name in ("result", "evaluated", "images"):
            found = torch.cat([first[name], second[name]])
        elif name.startswith("gradient"):
            found = first[name] + second[name]
        else:
            assert torch.equal(first[name], second[name]), name
            found = first[name]
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4), name


def test_conversion_keeps_the_tensors() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=0.1, momentum=0.3)))
    module[1][0].eval()
    before = dict(module.named_parameters()) | dict(module.named_buffers())
    convert_batch_norm(module, CPU)
    norm = module[1][0]
    assert isinstance(norm, SyncBatchNorm2d)
    assert (norm.eps, norm.momentum, norm.training) == (0.1, 0.3, False)
    after = dict(module.named_parameters()) | dict(module.named_buffers())
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)
    convert_batch_norm(module, CPU)
    assert module[1][0] is norm


def test_evaluation_needs_no_other_process() -> None:
    norm, images = nn.BatchNorm2d(3).eval(), torch.randn(2, 3, 4, 4)
    module = nn.Sequential(norm)
    convert_batch_norm(module, CPU)
    assert torch.equal(module(images), norm(images))


def test_on_gpus_it_is_pytorchs() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3))
    convert_batch_norm(module, torch.device("cuda"))
    assert type(module[0]) is nn.SyncBatchNorm


@pytest.mark.parametrize("momentum", [0.1, None])
def test_alone_in_a_group_it_is_pytorchs(momentum: float | None, tmp_path: Path) -> None:
    plain = nn.BatchNorm2d(3, momentum=momentum)
    module = nn.Sequential(nn.BatchNorm2d(3, momentum=momentum))
    convert_batch_norm(module, CPU)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        for seed in range(3):
            images = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) + seed
            assert torch.allclose(module(images), plain(images), atol=1e-6)
    finally:
        torch.distributed.destroy_process_group()
    for one, other in zip(module.buffers(), plain.buffers(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
