"""Keys and features of kernels that were measured and shipped: stores, tables and predictors go by them."""

import csv
import hashlib
from pathlib import Path
from typing import Any

import pytest

from cost_models.ir.fusion import Kernel
from cost_models.ir.ops import Foreign
from cost_models.kernel_models.features import Machine, features
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import SPACES

from .some_kernels import foreign

TABLE = Path(__file__).parents[2] / "cost_models/local-cpu/kernels.csv"
# of all features of all kernels of that table, as hexadecimal floats
DIGEST = "4fef3e160990c09b875c225dc75cee477a4f1f96868d83523e1cd62c597643f8"
KEYS = {
    "resize.corners+argmax+tobyte 11x45x60->360x480 #881932f6",
    "conv1x1 40x23x30->48x23x30 #eaa04b61",
    "conv1x1+add 24x64x128->24x64x128 #fb578e7e",
    "conv1x1+relu 16x90x120->16x90x120 #4f0e7e17",
    "conv1x1+relu 96x32x64->576x32x64 #d375e132",
    "conv1x1g2+relu 16x90x120->16x90x120 #6261f63d",
    "dw3x3+relu 144x45x60->144x45x60 #41eb718b",
    "dw3x3d2+relu 144x32x64->144x32x64 #eb5072e6",
    "dw3x3s2+relu 16x180x240->16x90x120 #76ba71e8",
    "dw3x3s2d2+relu 96x180x240->96x90x120 #ae42cae1",
    "dw5x5+relu 96x16x32->96x16x32 #53f8bf8b",
    "relu 24x32x64->24x32x64 #99d44708",
}


@pytest.fixture(scope="module")
def kernels() -> dict[str, Kernel]:
    space = SPACES["squeezenas-small"]
    profiled = [((256, 512), 19), ((512, 1024), 19), ((360, 480), 19), ((360, 480), 11)]
    return {
        kernel.key: kernel
        for size, classes in profiled
        for kernel in space_kernels(space, Resolution(*size), segmentation_head(classes))
    }


@pytest.fixture(scope="module")
def shipped() -> list[str]:
    with TABLE.open(encoding="utf-8") as file:
        return sorted(row["kernel"] for row in csv.DictReader(file))


def test_keys_are_those_of_the_shipped_table(kernels: dict[str, Kernel], shipped: list[str]) -> None:
    assert set(shipped) - set(kernels) == set()
    assert KEYS - set(kernels) == set()


def test_features_are_those_that_predictors_were_fitted_to(
    kernels: dict[str, Kernel], shipped: list[str]
) -> None:
    machine = Machine(lanes=16, processors=2, macs_per_s=5e10, bytes_per_s=1e10)
    lines = [f"{key} {[v.hex() for v in features(kernels[key], machine).values()]}" for key in shipped]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == DIGEST


def test_descriptions_are_read_back(kernels: dict[str, Kernel]) -> None:
    assert all(Kernel.from_description(kernel.description) == kernel for kernel in kernels.values())


@pytest.mark.parametrize(
    ("pattern", "word", "key"),
    [
        ("elementwise", "elementwise", "thing 8x16x32->8x16x32 #1d243d59"),
        ("injective", "moving", "thing 8x16x32->8x16x32 #47c22407"),
        ("out_elementwise_fusable", "anchor", "thing 8x16x32->8x16x32 #6de29ef0"),
        ("comm_reduce", "alone", "thing 8x16x32->8x16x32 #b96aedd5"),
    ],
)
def test_foreign_kernels_keep_the_words_of_their_keys(pattern: Any, word: str, key: str) -> None:
    kernel = foreign(Foreign("Thing", (1, 8, 16, 32), fusion=pattern))
    assert kernel.key == key
    (node,) = kernel.description["nodes"]  # type: ignore[attr-defined]
    assert node["fusion"] == word
    assert Kernel.from_description(kernel.description) == kernel
