"""Networks of other people: their sizes as published, their exports, what is written differently for ONNX."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from export_network import export, sizes_text
from networks.blocks import BinnedMean, randomise
from networks.counting import counts, is_met, off
from networks.enet import first_maxima, unpooled
from networks.published import PUBLISHED, Published
from networks.registry import NETWORKS, build
from torch.nn import functional

from cost_models.onnx_io.importer import read_onnx
from squeezenas_tvm.errors import UsageError

SIZE = (64, 128)
README = Path(__file__).parents[2] / "benchmarks" / "networks" / "README.md"


def row_name(row: Published) -> str:
    return f"{row.network}-{row.height}x{row.width}-{row.params_m}"


@pytest.mark.parametrize("row", PUBLISHED, ids=row_name)
def test_sizes_are_as_published_or_said_to_be_others(row: Published) -> None:
    assert is_met(off(row)) == (not row.misses)


def test_all_but_one_have_published_sizes() -> None:
    assert set(NETWORKS) - {row.network for row in PUBLISHED} == {"pp-liteseg-t"}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_at_the_size_of_the_image(name: str) -> None:
    with torch.device("meta"), torch.no_grad():
        assert build(name).eval()(torch.zeros(2, 3, *SIZE)).shape == (2, 19, *SIZE)


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_means_over_a_grid_are_those_of_pytorch(bins: int) -> None:
    x = torch.rand(2, 3, 10, 16)
    assert torch.allclose(BinnedMean(bins)(x), functional.adaptive_avg_pool2d(x, bins), atol=1e-6)


def test_unpooling_puts_values_where_the_first_maximum_was() -> None:
    x = torch.randint(0, 3, (2, 5, 8, 12)).float()  # so that maxima are often there twice
    pooled, places = functional.max_pool2d(x, 2, return_indices=True)
    values = torch.rand_like(pooled)
    assert torch.equal(unpooled(values, first_maxima(x, pooled)), functional.max_unpool2d(values, places, 2))


def check_export(name: str, folder: Path) -> None:
    """ONNX has the numbers of PyTorch, and our reader the counts."""
    path = export(name, SIZE, folder / "net.onnx")
    image = np.random.default_rng(0).normal(size=(1, 3, *SIZE)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, {"image": image})
    with torch.no_grad():
        expected = randomise(build(name))(torch.from_numpy(image)).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    imported = read_onnx(path)
    assert imported.size == SIZE
    assert imported.graph.macs(imported.inputs) == counts(lambda: build(name), *SIZE)[1]


def test_an_export_has_the_numbers_and_counts_of_the_network(tmp_path: Path) -> None:
    check_export("fast-scnn", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_export_has_the_numbers_and_counts_of_its_network(name: str, tmp_path: Path) -> None:
    check_export(name, tmp_path)


@pytest.mark.slow
def test_the_readme_has_the_table() -> None:
    assert sizes_text((512, 1024)) in README.read_text(encoding="utf-8")


def test_unknown_names_and_odd_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no network is enett, did you mean enet"):
        export("enett", SIZE, tmp_path / "net.onnx")
    with pytest.raises(UsageError, match="64x100: allowed: multiples of 32"):
        export("enet", (64, 100), tmp_path / "net.onnx")
