"""What is asked beside what was measured: other types, schedules without tuning."""

import pytest

from cost_models.estimate import Estimate, Source
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import Graph, Node
from cost_models.ir.op import Op
from cost_models.ir.ops import Activation, Conv2d, Foreign
from cost_models.kernel_models.adjustments import DefaultSchedules, OtherType

TOLD = Estimate(2e-3, 1e-3, 4e-3, Source.MEASURED)


def kernel(op: Op) -> Kernel:
    return Kernel(Graph(("x0",), (Node("n0", op, ("x0",)),), ("n0",)), ((1, 8, 16, 32),))


CONVOLUTION = kernel(Conv2d(8, 8))
PRODUCT = kernel(Foreign("MatMul", (1, 8, 16, 32), 10**6, kind="pointwise"))
UPWARDS = kernel(Foreign("ConvTranspose", (1, 8, 32, 64), 10**6, kind="dense", steps=10**7))


@pytest.mark.parametrize(("asked", "longer"), [("float16", 1), ("bfloat16", 1), ("float64", 2)])
def test_a_type_is_slower_as_far_as_it_is_larger(asked: str, longer: float) -> None:
    told = OtherType(asked, "float32")(CONVOLUTION, TOLD)
    assert told.median_s == TOLD.median_s * longer
    assert told.high_s / told.median_s > TOLD.high_s / TOLD.median_s
    assert told.low_s / told.median_s < TOLD.low_s / TOLD.median_s
    assert told.source == Source.PREDICTED


def test_without_tuning_what_has_a_template_is_a_little_slower_and_the_rest_is_not() -> None:
    by_default = DefaultSchedules(gpu=False)
    for templated in (CONVOLUTION, PRODUCT):
        told = by_default(templated, TOLD)
        assert 1 < told.median_s / TOLD.median_s < 1.5
        assert told.low_s < TOLD.low_s < TOLD.high_s < told.high_s
    for as_it_runs in (UPWARDS, kernel(Activation("relu"))):
        assert by_default(as_it_runs, TOLD) == TOLD


def test_on_a_gpu_it_is_a_guess_that_says_so() -> None:
    by_default = DefaultSchedules(gpu=True)
    assert "guess" in by_default.note
    told = by_default(CONVOLUTION, TOLD)
    assert told.low_s < TOLD.median_s < told.high_s
