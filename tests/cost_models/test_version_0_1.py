"""Files as 0.1 wrote and shipped them are read as they are: its headers, with little behind them."""

import shutil
from pathlib import Path

import pytest

from cost_models.cost_model import CostModel
from cost_models.database.table import LatencyTable
from cost_models.device_models.fitted_device import FILE, FittedDevice
from cost_models.device_models.prior import Prior
from cost_models.kernel_models.features import FEATURES_VERSION
from cost_models.kernel_models.intervals import SIZES
from cost_models.kernel_models.predictor import MANIFEST, Predictor, PredictorDocument
from cost_models.lookup import shipped_prior, shipped_table
from cost_models.network_models.energy import read_energy
from cost_models.network_models.network_model import NetworkModel, load_networks

from .some_kernels import convolution, residual

HERE = Path(__file__).parent / "version_0_1"
SHIPPED = shipped_table("local-cpu") or Path()


def test_a_table_says_for_what_it_was_made_by_its_labels() -> None:
    table = LatencyTable.load(HERE / "local-cpu", target="local-cpu")
    assert table.fingerprint["default_schedules"] == 2
    assert table.made_by == "squeezenas_tvm profile, effort standard"
    told = [(one.space, one.resolution, one.outputs) for one in table.profiled]
    assert told == [(None, "256x512", 19), (None, "360x480", 11), (None, "512x1024", 19)]


def test_what_is_saved_anew_keeps_that(tmp_path: Path) -> None:
    table = LatencyTable.load(HERE / "local-cpu")
    table.save(tmp_path, made_by="a test")
    assert LatencyTable.load(tmp_path) == table


def test_a_predictor(tmp_path: Path) -> None:
    told = PredictorDocument.load(HERE / "local-cpu" / MANIFEST)
    assert told.kernels["depthwise"] == 195
    assert told.machine.lanes == 16
    assert told.features_version == FEATURES_VERSION
    assert {row[SIZES.index("compared")] for row in told.known} == {0.0}  # they did not tell it
    for name in (MANIFEST, "residual.json"):
        shutil.copy(SHIPPED / name, tmp_path)
    assert Predictor.load(tmp_path).kernels([convolution(8, 8, 16, 16)]) != [None]


def test_a_calibration_of_networks() -> None:
    fingerprint = LatencyTable.load(HERE / "local-cpu").fingerprint
    model = NetworkModel.load(HERE / "local-cpu", fingerprint=fingerprint)
    assert model.calibrated
    assert model.range_s == (pytest.approx(3.45e-3, rel=0.01), pytest.approx(34.36e-3, rel=0.01))
    assert len(load_networks(HERE / "local-cpu")) == len(model.left_out) == 2


def test_a_prior_and_what_was_fitted_with_it() -> None:
    prior = Prior.load(HERE / "jetson-xavier" / "prior.json")
    assert prior == shipped_prior("jetson-xavier")
    known = CostModel("jetson-xavier", prior=prior)
    fitted = FittedDevice.load(HERE / "fitted" / FILE, lambda name, dtype: known, target="a board")
    assert set(fitted.others) == {"jetson-xavier"}
    kernels = [convolution(3, 16, 64, 128, 3, stride=2), residual(96, 6, 5, 32, 64)[1]]
    told = [estimate.median_s for estimate in fitted.kernels(kernels) if estimate]
    assert told == pytest.approx([0.00026795640256572643, 0.003502742498264774])


def test_energy_readings() -> None:
    (one,) = read_energy(HERE / "fitted")
    assert (one.network, one.reading.busy_w) == ("squeezenas-lat-small", 12.5)
