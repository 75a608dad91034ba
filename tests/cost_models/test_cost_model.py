"""Which of the three sources answers for a kernel, and what they add up to."""

import numpy as np
import pytest

from cost_models.cost_model import CostModel
from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.device_models.prior import Prior
from cost_models.errors import CostModelError, MissingEntry
from cost_models.estimate import OUTSIDE
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.ir.ops import Conv2d, Foreign
from cost_models.kernel_models.accuracy import Errors
from cost_models.kernel_models.predictor import Predictor
from cost_models.network_models.network_model import NetworkModel
from targets import load_target

from .some_kernels import convolution, depthwise, only, relu, space, transposed

BOARD = {"device": "board", "dtype": "float32", "tvm_target": '{"kind":"cuda","arch":"sm_72"}'}
KNOWN = space()
SECONDS = [2e-6 + kernel.macs / 50e9 + kernel.bytes_moved / 40e9 for kernel in KNOWN]
TABLE = LatencyTable(
    "board",
    BOARD,
    {k.key: Row("tuned", 4, (0.9 * s, s, 1.2 * s)) for k, s in zip(KNOWN, SECONDS, strict=True)},
)
PRIOR = Prior.from_peaks(load_target("jetson-xavier"))
NEW = convolution(31, 77, 20, 40)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.fit(KNOWN, SECONDS, BOARD)


def test_what_was_measured_is_never_predicted(predictor: Predictor) -> None:
    (cost,) = CostModel("board", TABLE, predictor, PRIOR).estimates([KNOWN[3]])
    assert (cost.median_s, cost.source, cost.far) == (SECONDS[3], "measured", False)
    assert 0.9 * SECONDS[3] <= cost.low_s < cost.median_s < cost.high_s <= 1.2 * SECONDS[3]


def test_what_was_not_is_predicted_before_a_prior_is_asked(predictor: Predictor) -> None:
    known, new = CostModel("board", TABLE, predictor, PRIOR).estimates([KNOWN[0], NEW])
    assert (known.source, new.source) == ("measured", "predicted")
    (said,) = predictor.predict([NEW])
    assert (new.median_s, new.low_s, new.high_s, new.far) == (
        said.median_s,
        said.low_s,
        said.high_s,
        said.far,
    )


def test_a_prior_says_that_it_is_one_and_has_a_wide_interval() -> None:
    known, new = CostModel("board", TABLE, None, PRIOR).estimates([KNOWN[0], NEW])
    assert (known.source, new.source, new.far) == ("measured", "prior", True)
    assert new.median_s == PRIOR.predict_s(NEW)
    assert (new.low_s, new.high_s) == (new.median_s / OUTSIDE, new.median_s * OUTSIDE)


def test_an_estimated_row_is_no_measurement(predictor: Predictor) -> None:
    row = Row("estimated", 3, estimate_s=5e-3, reason="no schedule works")
    table = LatencyTable("board", BOARD, {NEW.key: row})
    assert CostModel("board", table, predictor).estimates([NEW])[0].source == "predicted"


def test_a_network_is_the_sum_of_its_calls_and_says_whose_share_is_whose(predictor: Predictor) -> None:
    model = CostModel("board", TABLE, predictor, PRIOR)
    calls = [KNOWN[0], NEW, KNOWN[0], KNOWN[5]]
    total, costs = model.network(calls), model.estimates(calls)
    assert total.median_s == pytest.approx(sum(cost.median_s for cost in costs))
    assert total.low_s == pytest.approx(sum(cost.low_s for cost in costs))
    assert total.high_s == pytest.approx(sum(cost.high_s for cost in costs))
    assert total.kernels == 4
    assert total.shares == pytest.approx(
        {
            "measured": (2 * SECONDS[0] + SECONDS[5]) / total.median_s,
            "predicted": costs[1].median_s / total.median_s,
        }
    )


def test_whole_networks_beside_their_kernels_say_what_happens_between_them(predictor: Predictor) -> None:
    errors = Errors(24, 0.02, 0.015, 0.95, 1.0, 0.99, 0.92, 0.0)
    between = NetworkModel(
        scale={"pointwise": 2.0}, gap_s=1e-5, overhead_s=1e-3, range_s=(1e-9, 1.0), errors=errors
    )
    model, plain = (CostModel("board", TABLE, predictor, calibration=b) for b in (between, NetworkModel()))
    calls = [KNOWN[0], NEW, KNOWN[0], KNOWN[5]]
    total, costs = model.network(calls), model.estimates(calls)
    inside = [between.kernel_s(kernel, cost.median_s) for kernel, cost in zip(calls, costs, strict=True)]
    assert costs == plain.estimates(calls)
    assert total.median_s == pytest.approx(sum(inside) + 1e-3)
    assert total.shares["predicted"] == pytest.approx(inside[1] / sum(inside))
    assert (total.calibrated, plain.network(calls).calibrated) == (True, False)
    for one in (model, plain):
        whole, pieces = one.network(calls), one.pieces([calls[:1], calls[1:], []])
        ends = one.whole(*(np.array([sum(end)]) for end in zip(*pieces, strict=True)))
        assert [end[0] for end in ends] == pytest.approx([whole.median_s, whole.low_s, whole.high_s])


def test_kernels_side_by_side_may_overlap() -> None:
    pair = KernelGraph((KNOWN[0], KNOWN[3]), ((), ()))
    between = NetworkModel(overlap=1.0)
    assert CostModel("board", TABLE).network(pair).median_s == pytest.approx(SECONDS[0] + SECONDS[3])
    told = CostModel("board", TABLE, calibration=between).network(pair)
    assert told.median_s == pytest.approx(max(SECONDS[0], SECONDS[3]))
    assert told.low_s < told.median_s < told.high_s


def test_kernels_unlike_all_that_was_measured_are_named_once(predictor: Predictor) -> None:
    strange = depthwise(4000, 300, 300, 5)
    assert predictor.predict([strange])[0].far
    total = CostModel("board", TABLE, predictor).network([KNOWN[0], strange, strange])
    assert total.unsure == (strange,)


def test_a_hole_without_predictor_and_prior_is_an_error() -> None:
    with pytest.raises(MissingEntry, match="not measured on board; measure it with: squeezenas-tvm profile"):
        CostModel("board", TABLE).network([KNOWN[0], NEW])


def test_no_source_at_all_is_refused() -> None:
    with pytest.raises(
        CostModelError, match="target board: no table, no predictor and no prior; make a table"
    ):
        CostModel("board")


def test_the_same_kernel_costs_the_same_in_every_place(predictor: Predictor) -> None:
    model = CostModel("board", TABLE, predictor)
    kernel = relu(48, 40, 72)
    assert len(set(model.estimates([kernel, KNOWN[1], kernel, kernel]))) == 2


def test_what_no_table_can_hold_is_told_by_the_prior(predictor: Predictor) -> None:
    strange = transposed()
    known, told = CostModel("board", TABLE, predictor, PRIOR).estimates([KNOWN[0], strange])
    assert (known.source, told.source, told.far) == ("measured", "prior", True)
    assert told.median_s == PRIOR.predict_s(strange)
    assert (told.low_s, told.high_s) == (told.median_s / OUTSIDE, told.median_s * OUTSIDE)


def test_and_without_a_prior_by_the_physical_base_of_the_predictor(predictor: Predictor) -> None:
    strange = transposed()
    (told,) = CostModel("board", TABLE, predictor).estimates([strange])
    assert (told.source, told.far) == ("prior", True)
    assert told.median_s == predictor.base_s([strange])[0] > 0
    assert (told.low_s, told.high_s) == (told.median_s / OUTSIDE, told.median_s * OUTSIDE)
    with pytest.raises(CostModelError, match=r"^convtranspose\+relu .*: only a prior can tell it, and board"):
        CostModel("board", TABLE).estimates([strange])


def test_somebody_elses_activation_is_predicted_with_its_convolution(predictor: Predictor) -> None:
    builder = GraphBuilder()
    made = builder.add("conv", Conv2d(16, 48, bias=True), "x")
    leaky = Foreign("LeakyRelu", (1, 48, 64, 128), fusion="elementwise")
    theirs = only(builder.build(builder.add("leaky", leaky, made)), 16, 64, 128)
    ours = convolution(16, 48, 64, 128)
    assert not theirs.is_foreign
    (told,) = CostModel("board", None, predictor).estimates([theirs])
    assert told.source == "predicted"
    assert told.median_s == pytest.approx(predictor.predict([ours])[0].median_s)
