"""Tables, predictors, priors, fitted devices and all of them together keep the contract of a source."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest

from cost_models.cost_model import CostModel
from cost_models.database.records import How
from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.device_models.fitted_device import FittedDevice, MeasuredNetwork
from cost_models.device_models.prior import Prior
from cost_models.estimate import LatencySource
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.predictor import PhysicalBase, Predictor

from .latency_sources import LatencySourceContract
from .some_kernels import convolution, depthwise, residual, space, transposed

KERNELS = space()
BOARD = {"device": "board", "dtype": "float32", "tvm_target": '{"kind":"cuda","arch":"sm_72"}'}
RATES = Prior(
    target="board",
    macs_per_s={"dense": 40e9, "depthwise": 10e9, "grouped": 10e9},
    bytes_per_s=10e9,
    overhead_s=2e-6,
    channel_steps=(16, 1),
    origin="made up",
)


def table_of(slower: float = 1.0) -> LatencyTable:
    rows = {}
    for kernel in KERNELS:
        median_s = slower * RATES.predict_s(kernel)
        rows[kernel.key] = Row(How.TUNED, 1, (0.9 * median_s, median_s, 1.2 * median_s))
    reason = Row(How.ESTIMATED, 3, estimate_s=1e-3, reason="no schedule works")
    return LatencyTable("board", BOARD, rows | {convolution(7, 7, 8, 8).key: reason})


@cache
def predictor_of(slower: float = 1.0, which: int = 0) -> Predictor:
    """``which`` tells apart those that are fitted alike."""
    return Predictor.fit(KERNELS, [slower * RATES.predict_s(kernel) for kernel in KERNELS], BOARD)


def fitted_of(slower: float = 1.0) -> FittedDevice:
    networks = []
    for index, (channels, window) in enumerate(((16, 3), (24, 5), (40, 3), (96, 5), (32, 3))):
        kernels = tuple(residual(channels, 1 + index, window, 32, 64))
        networks.append(MeasuredNetwork(f"n{index}", kernels, slower * sum(map(RATES.predict_s, kernels))))
    others: dict[str, LatencySource] = {"other": CostModel("other", prior=RATES)}
    return FittedDevice.fit("board", networks, others, measured="today")


class _OfConvolutions(LatencySourceContract):
    @pytest.fixture
    def known(self) -> Sequence[Kernel]:
        return KERNELS[:5]


class TestTable(_OfConvolutions):
    @pytest.fixture
    def source(self) -> LatencySource:
        return table_of()

    @pytest.fixture
    def again(self) -> LatencySource:
        return table_of()

    @pytest.fixture
    def changed(self) -> LatencySource:
        return table_of(2.0)

    @pytest.fixture(params=[convolution(31, 77, 20, 40), convolution(7, 7, 8, 8)], ids=["none", "estimated"])
    def unknown(self, request: pytest.FixtureRequest) -> Kernel:
        kernel: Kernel = request.param
        return kernel


class TestPredictor(_OfConvolutions):
    @pytest.fixture
    def source(self) -> LatencySource:
        return predictor_of()

    @pytest.fixture
    def again(self) -> LatencySource:
        return predictor_of(which=1)

    @pytest.fixture
    def changed(self) -> LatencySource:
        return predictor_of(2.0)

    @pytest.fixture
    def unknown(self) -> Kernel:
        return transposed()


class TestPhysicalBase(LatencySourceContract):
    @pytest.fixture
    def source(self) -> LatencySource:
        return PhysicalBase(predictor_of())

    @pytest.fixture
    def again(self) -> LatencySource:
        return PhysicalBase(predictor_of(which=1))

    @pytest.fixture
    def changed(self) -> LatencySource:
        return PhysicalBase(predictor_of(2.0))

    @pytest.fixture
    def known(self) -> Sequence[Kernel]:
        return [transposed(), transposed(10**9)]

    @pytest.fixture
    def unknown(self) -> Kernel:
        return depthwise(8, 16, 16)


class TestPrior(_OfConvolutions):
    @pytest.fixture
    def source(self) -> LatencySource:
        return RATES

    @pytest.fixture
    def again(self) -> LatencySource:
        return replace(RATES)

    @pytest.fixture
    def changed(self) -> LatencySource:
        return replace(RATES, overhead_s=3e-6)


class TestFittedDevice(_OfConvolutions):
    @pytest.fixture
    def source(self) -> LatencySource:
        return fitted_of()

    @pytest.fixture
    def again(self) -> LatencySource:
        return fitted_of()

    @pytest.fixture
    def changed(self) -> LatencySource:
        return fitted_of(1.5)


class TestCostModelOfAllSources(_OfConvolutions):
    @pytest.fixture
    def source(self) -> LatencySource:
        return CostModel("board", table_of(), predictor_of(), RATES)

    @pytest.fixture
    def again(self) -> LatencySource:
        return CostModel("board", table_of(), predictor_of(which=1), replace(RATES))

    @pytest.fixture
    def changed(self) -> LatencySource:
        return CostModel("board", table_of(2.0), predictor_of(), RATES)


class TestCostModelOfATable(TestTable):
    @pytest.fixture
    def source(self) -> LatencySource:
        return CostModel("board", table_of())

    @pytest.fixture
    def again(self) -> LatencySource:
        return CostModel("board", table_of())

    @pytest.fixture
    def changed(self) -> LatencySource:
        return CostModel("board", table_of(2.0))


class TestCostModelOfAFit(TestFittedDevice):
    @pytest.fixture
    def source(self) -> LatencySource:
        return CostModel("board", prior=fitted_of())

    @pytest.fixture
    def again(self) -> LatencySource:
        return CostModel("board", prior=fitted_of())

    @pytest.fixture
    def changed(self) -> LatencySource:
        return CostModel("board", prior=fitted_of(1.5))
