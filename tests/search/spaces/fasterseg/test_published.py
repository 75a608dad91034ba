"""The authors' table and their networks: every part has its rows, and sums are those they found."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from cost_models.cost_model import CostModel
from cost_models.database.published import PublishedTable
from cost_models.errors import CostModelError
from cost_models.ir.ops import Foreign
from cost_models.lookup import cost_model
from search.architecture import Architecture, load_architecture
from search.costs.kernel_table import priced_graph, priced_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.fasterseg.derive import PathRule, derive
from search.spaces.fasterseg.grid import OPERATIONS
from search.spaces.fasterseg.published import cell_row
from search.spaces.fasterseg.space import FastersegSpace
from search.spaces.fasterseg.spaces import FASTERSEG
from targets import load_device

from .released import released_logits

TEACHER, STUDENT = FASTERSEG
FULL = Resolution(1024, 2048)


@pytest.fixture(scope="module")
def model() -> CostModel:
    return cost_model(load_device("gtx-1080-ti-tensorrt"))


def as_released(model: CostModel) -> CostModel:
    """With the zoomed double convolution at the price of the plain one, as the authors' key has it."""
    table = model.published
    assert table is not None
    prices: dict[object, float] = {}
    for kernel, seconds in table.rows.items():
        op = kernel.graph.nodes[0].op
        assert isinstance(op, Foreign)
        prices[op.operation, op.shape, kernel.inputs] = seconds
    rows = {}
    for kernel in table.rows:
        op = kernel.graph.nodes[0].op
        assert isinstance(op, Foreign)
        rows[kernel] = prices[op.operation.replace("conv_2x_downup", "conv_2x"), op.shape, kernel.inputs]
    return replace(model, published=PublishedTable(table.device, rows))


def sum_ms(model: CostModel, architecture: Architecture) -> float:
    return round(1e3 * model.network(priced_graph(model, architecture, FULL)).median_s, 6)


def test_the_students_sum_with_own_keys_and_with_the_released_ones(model: CostModel) -> None:
    student = load_architecture("fasterseg-student")
    assert sum_ms(model, student) == 5.701836
    assert sum_ms(as_released(model), student) == 6.413977
    around = ("convnorm", "fusion", "head", "conv_2x.k3.s2 32x512x1024", "conv_2x.k3.s2 64x256x512")
    kernels = priced_graph(model, student, FULL).kernels
    fixed = [kernel for kernel in kernels if kernel.label.startswith(around)]
    assert sum(cost.median_s for cost in model.estimates(fixed)) == pytest.approx(3.85e-3, abs=5e-6)


@pytest.mark.parametrize(
    ("scale", "rule", "own_ms", "released_ms"),
    [
        (1, "released", 5.701836, 6.413977),
        (0, "released", 5.790294, 6.260467),
        (1, "intended", 5.735714, None),
    ],
)
def test_the_sums_of_pairs_and_rules(
    model: CostModel, shared_data: Path, scale: int, rule: PathRule, own_ms: float, released_ms: float | None
) -> None:
    genotype = derive(STUDENT, released_logits(shared_data, "student"), 1 if scale else 0, rule)
    architecture = Architecture(space=STUDENT.name, choices=dict(genotype))
    assert sum_ms(model, architecture) == own_ms
    if released_ms is not None:
        assert sum_ms(as_released(model), architecture) == released_ms


@pytest.mark.parametrize("space", FASTERSEG, ids=lambda space: space.name)
def test_every_part_has_its_rows(model: CostModel, space: FastersegSpace) -> None:
    parts = list(space.parts(FULL, segmentation_head(19)))
    kernels = {kernel for own in priced_kernels(model, parts) for kernel in own}
    assert None not in model.kernels(list(kernels))


def test_candidates_never_share_a_key() -> None:
    """Nor do two width pairs, scales or strides of one."""
    cases = [(2**5 // s, s, down) for s in (8, 16, 32) for down in (False, True) if s < 32 or not down]
    rows = [
        cell_row(operation, (side * 32, side * 64), before, behind, down=down)
        for operation, (side, _, down), before, behind in product(
            OPERATIONS, cases, (64, 96, 128, 160, 192), (64, 96, 128, 160, 192)
        )
    ]
    assert len({row.key for row in rows}) == len(rows) == 5 * 5 * 25


def test_other_sizes_classes_and_spaces_have_no_rows(model: CostModel) -> None:
    student = load_architecture("fasterseg-student")
    for architecture, size in (
        (student, Resolution(512, 1024)),
        (Architecture(**{**student.model_dump(exclude={"classes", "results"}), "num_classes": 11}), FULL),
        (load_architecture("squeezenas-lat-small"), FULL),
    ):
        with pytest.raises(CostModelError, match=r": no row in the table of gtx-1080-ti-tensorrt, which "):
            model.network(priced_graph(model, architecture, size))
