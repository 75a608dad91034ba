"""A device from a few measured networks: what its kernels cost, how sure that is, what its file must be."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cost_models.cost_model import CostModel
from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.device_models.fewshot import TERMS
from cost_models.device_models.fitted_device import CALIBRATED, FILE, FittedDevice, MeasuredNetwork
from cost_models.device_models.prior import Prior
from cost_models.errors import CostModelError, IncompatiblePrior, MissingEntry
from cost_models.estimate import OUTSIDE
from cost_models.ir.fusion import Kernel

from ..some_kernels import convolution, depthwise, relu, residual

BOARD = Prior(
    target="a board",
    macs_per_s={"dense": 40e9, "depthwise": 10e9, "grouped": 10e9},
    bytes_per_s=10e9,
    overhead_s=2e-6,
    channel_steps=(16, 1),
    origin="made up",
)
ONCE_S = 300e-6


def network(seed: int) -> list[Kernel]:
    """Eight residual blocks at sizes that halve on the way, and what a network has besides."""
    random = np.random.default_rng(seed)
    kernels = [convolution(3, 16, 128, 256, 3, stride=2)]
    for stage, (channels, height) in enumerate(((16, 64), (24, 32), (40, 16), (96, 8))):
        for _ in range(1 + (stage + int(random.integers(3))) % 3):
            expansion, window = int(random.choice((1, 3, 6))), int(random.choice((3, 5)))
            kernels += residual(channels, expansion, window, height, 2 * height)
    return [*kernels, convolution(96, 96, 8, 16, groups=2), relu(96, 8, 16)]


def seconds(kernels: Sequence[Kernel]) -> float:
    return ONCE_S + sum(map(BOARD.predict_s, kernels))


def measured(count: int = 8) -> list[MeasuredNetwork]:
    networks, noise = [network(seed) for seed in range(count)], np.random.default_rng(0).normal(size=count)
    return [
        MeasuredNetwork(f"n{i}", tuple(kernels), seconds(kernels) * math.exp(0.01 * noise[i]))
        for i, kernels in enumerate(networks)
    ]


# What a data sheet might say of the board: a few times off, each rate another way.
RATES = {"dense": 120e9, "depthwise": 15e9, "grouped": 50e9}
SHEET = replace(BOARD, macs_per_s=RATES, overhead_s=10e-6)


@pytest.fixture(scope="module")
def fitted() -> FittedDevice:
    return FittedDevice.fit("a board", measured(), {}, measured="measured.csv, today", start=SHEET)


OTHERS = [network(seed) for seed in range(100, 140)]


def test_networks_that_were_not_measured_are_told(fitted: FittedDevice) -> None:
    model = CostModel("a board", prior=fitted)
    totals = [model.network(kernels) for kernels in OTHERS]
    errors = [abs(t.median_s / seconds(k) - 1) for t, k in zip(totals, OTHERS, strict=True)]
    assert np.mean(errors) < 0.03
    assert all(total.shares == {"prior": pytest.approx(1)} for total in totals)
    assert not any(total.unsure for total in totals)
    factor = fitted.model.error_factor
    assert factor < 1.2 < OUTSIDE
    assert totals[0].high_s == pytest.approx(totals[0].median_s * factor)
    assert totals[0].low_s == pytest.approx(totals[0].median_s / factor)


def test_a_network_is_the_sum_of_its_kernels_and_what_it_costs_once() -> None:
    fitted = FittedDevice.fit("a board", measured(), {}, measured="today")
    model, kernels = CostModel("a board", prior=fitted), OTHERS[0]
    parts = sum(said.median_s for said in fitted.kernels(kernels))
    once_s = fitted.model.costs_s[TERMS.index("network")]
    assert once_s > 0
    assert model.network(kernels).calibrated
    assert model.network(kernels).median_s == pytest.approx(parts + once_s)
    assert sum(part[0] for part in model.pieces([kernels[:5], kernels[5:]])) == pytest.approx(parts)


def test_what_was_measured_of_kernels_comes_first(fitted: FittedDevice) -> None:
    kernels = OTHERS[0]
    table = LatencyTable("a board", {"dtype": "float32"}, {kernels[0].key: Row("tuned", 1, (1.0, 2.0, 3.0))})
    known, new = CostModel("a board", table, prior=fitted).estimates(kernels[:2])
    assert (known.median_s, known.source) == (2.0, "measured")
    assert (new.median_s, new.source) == (fitted.kernels([kernels[1]])[0].median_s, "prior")
    mixed = CostModel("a board", table, prior=fitted).network(kernels[:2])
    assert mixed.median_s == pytest.approx(known.median_s + new.median_s)
    assert not mixed.calibrated


def test_kernels_unlike_those_of_the_networks_have_a_wide_interval(fitted: FittedDevice) -> None:
    alike, large, dense = fitted.kernels(
        [depthwise(96, 8, 16), depthwise(960, 200, 400), convolution(256, 256, 2, 2, 3)]
    )
    assert not alike.far
    assert large.far
    assert dense.far
    assert large.high_s == pytest.approx(large.median_s * OUTSIDE)
    assert fitted.kernels([]) == []


def test_the_own_prior_is_calibrated_on_the_networks_and_takes_part(fitted: FittedDevice) -> None:
    assert fitted.calibrated is not None
    assert fitted.model.weights[CALIBRATED] > 0.5
    assert fitted.calibrated.macs_per_s["dense"] == pytest.approx(40e9, rel=0.5)  # the data sheet says 120e9
    alone = FittedDevice.fit("a board", measured(5), {}, measured="today")
    assert alone.calibrated is None
    assert set(alone.model.weights) == {"work"}


def like_another() -> tuple[FittedDevice, CostModel]:
    """A device that is exactly half as fast as another one, with habits that no physics explains."""
    odd = CostModel("odd", prior=replace(BOARD, channel_steps=(1, 32), overhead_s=200e-6))
    networks = [
        replace(n, seconds=2 * sum(cost.median_s for cost in odd.estimates(n.kernels))) for n in measured()
    ]
    useless = CostModel("useless", prior=replace(BOARD, macs_per_s=dict.fromkeys(BOARD.macs_per_s, 1e6)))
    return FittedDevice.fit("twice", networks, {"useless": useless, "odd": odd}, measured="today"), odd


def test_only_devices_that_tell_something_are_kept() -> None:
    fitted, odd = like_another()
    assert set(fitted.others) == {"odd"}
    assert fitted.model.shares == pytest.approx([2], rel=0.01)
    total = CostModel("twice", prior=fitted).network(OTHERS[3])
    assert total.median_s == pytest.approx(2 * odd.network(OTHERS[3]).median_s, rel=0.01)


def test_origin_says_to_what_it_was_fitted_and_how_well(fitted: FittedDevice) -> None:
    error = 100 * float(np.abs(fitted.model.left_out).mean())
    assert fitted.origin == (
        f"fitted to 8 measured networks (measured.csv, today), left-out error {error:.1f} %"
    )


def nothing(name: str, dtype: str) -> None:
    raise AssertionError(f"{name} is not needed")


def test_a_file_gives_the_same_device(fitted: FittedDevice, tmp_path: Path) -> None:
    path = tmp_path / "board" / FILE
    fitted.save(path, made_by="a command")
    document = json.loads(path.read_text())
    assert (document["source"], document["made_by"], document["origin"]) == (
        "prior",
        "a command",
        fitted.origin,
    )
    loaded = FittedDevice.load(path, nothing, target="a board")
    assert loaded.kernels(OTHERS[0]) == fitted.kernels(OTHERS[0])
    assert loaded.network_model() == fitted.network_model()
    assert (loaded.networks, loaded.sizes, loaded.origin) == (fitted.networks, fitted.sizes, fitted.origin)


def test_a_device_that_has_changed_or_gone_asks_for_a_new_fit(tmp_path: Path) -> None:
    fitted, odd = like_another()
    path = tmp_path / FILE
    fitted.save(path, made_by="a command")
    assert FittedDevice.load(path, lambda name, dtype: odd, target="twice").others == {"odd": odd}
    other = CostModel("odd", prior=replace(BOARD, overhead_s=201e-6))
    with pytest.raises(
        IncompatiblePrior, match="known of odd, which has changed since; fit it again: a comm"
    ):
        FittedDevice.load(path, lambda name, dtype: other, target="twice")
    with pytest.raises(IncompatiblePrior, match="known of odd, which is gone; fit it again: a command"):
        FittedDevice.load(path, lambda name, dtype: None, target="twice")


def test_a_sum_changes_with_what_is_known() -> None:
    rows = {"k": Row("tuned", 1, (1.0, 2.0, 3.0))}
    table = LatencyTable("a", {"dtype": "float32"}, rows)
    sums = {
        CostModel("a", table).digest(),
        CostModel("a", replace(table, rows={"k": Row("tuned", 1, (1.0, 2.1, 3.0))})).digest(),
        CostModel("a", table, prior=BOARD).digest(),
        CostModel("a", prior=BOARD).digest(),
    }
    assert len(sums) == 4
    assert CostModel("a", table).digest() in sums


@pytest.mark.parametrize(
    "change",
    [
        {"costs_s": dict.fromkeys(TERMS, math.nan)},
        {"costs_s": {"network": 1.0}},
        {"shares": [1.0, 2.0, 3.0, 4.0]},
        {"networks": []},
        {"calibrated": {"target": "a board"}},
        {"others": 7},
    ],
)
def test_a_damaged_file_is_refused(fitted: FittedDevice, tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / FILE
    fitted.save(path, made_by="a command")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": {}} | change))
    with pytest.raises(
        IncompatiblePrior,
        match=r"fitted\.json: .*; fit it again: .* --from-networks FILE\.csv",
    ):
        FittedDevice.load(path, nothing, target="a board")


def test_other_files_schemas_and_targets_are_refused(fitted: FittedDevice, tmp_path: Path) -> None:
    path = tmp_path / FILE
    with pytest.raises(IncompatiblePrior, match=r"a fitted device cannot be read \(No such file"):
        FittedDevice.load(path, nothing, target="a board")
    fitted.save(path, made_by="a command")
    with pytest.raises(IncompatiblePrior, match="was fitted for a board, not for another"):
        FittedDevice.load(path, nothing, target="another")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))
    with pytest.raises(IncompatiblePrior, match="schema 2, this program reads 1; update squeezenas_tvm"):
        FittedDevice.load(path, nothing, target="a board")


def test_networks_that_all_take_as_long_are_a_constant() -> None:
    networks = [replace(n, seconds=7e-3) for n in measured(6)]
    model = CostModel("a board", prior=FittedDevice.fit("a board", networks, {}, measured="today"))
    total = model.network(OTHERS[0])
    assert total.median_s == pytest.approx(7e-3, rel=1e-3)
    assert 0 < total.low_s <= total.median_s <= total.high_s
    assert all(cost.median_s > 0 for cost in model.estimates(OTHERS[0]))


def test_too_few_networks_and_no_latencies_are_refused() -> None:
    with pytest.raises(CostModelError, match="measure at least 4"):
        FittedDevice.fit("a board", measured(3), {}, measured="today")
    bad = [*measured(4), replace(measured(1)[0], seconds=0.0)]
    for start in (None, SHEET):
        with pytest.raises(CostModelError, match=r"above 0 s|> 0 s"):
            FittedDevice.fit("a board", bad, {}, measured="today", start=start)


def test_another_device_that_does_not_know_a_kernel_is_named() -> None:
    rows = {kernel.key: Row("tuned", 1, (1e-3,)) for kernel in measured(1)[0].kernels[:3]}
    little = LatencyTable("little", {"dtype": "float32"}, rows)
    with pytest.raises(MissingEntry, match="not measured on little; measure it with"):
        FittedDevice.fit("a board", measured(), {"little": little}, measured="today")
