"""Networks derived from logits: brought within a budget, and what they can cost at all."""

from dataclasses import replace

import numpy as np
import pytest

from cost_models.cost_model import CostModel
from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.errors import MissingEntry
from cost_models.lookup import cost_model
from search.costs.chain_costs import space_costs
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.fasterseg.logits import Logits
from search.spaces.fasterseg.spaces import FASTERSEG
from search.strategies.fasterseg.derived import PAIRS, DerivedNetworks
from search.strategies.fasterseg.latency import Chances, GridLatency
from targets import load_device

from ..helpers import GRID, SIZE, TARGET, costs_of

HEAD = segmentation_head(19)


def networks() -> DerivedNetworks:
    costs = costs_of(GRID)
    return DerivedNetworks(GRID, costs, GridLatency.of(costs.model, GRID, SIZE))


@pytest.fixture(scope="module", name="networks")
def _networks() -> DerivedNetworks:
    return networks()


def drawn_logits(seed: int, spread: float = 1.0) -> Logits:
    random = np.random.default_rng(seed)
    alike = Logits.uniform(GRID.grid)
    parts = (alike.alpha, alike.beta, alike.ratio)
    return Logits(*(tuple(random.normal(0, spread, own.shape) for own in part) for part in parts))


def test_all_that_logits_mean_lies_within_the_range(networks: DerivedNetworks) -> None:
    least_s, most_s = networks.range_s()
    assert 0 < least_s < most_s
    found = [own for seed in range(30) for own in networks.pairs(drawn_logits(seed))]
    spent_s = networks.latencies_s(found)
    assert least_s <= spent_s.min()
    assert spent_s.max() <= most_s
    assert networks.costs.range("latency")[0] < least_s  # some networks are never derived


@pytest.mark.parametrize("fine_scale", PAIRS)
def test_a_network_is_brought_within_a_budget(networks: DerivedNetworks, fine_scale: int) -> None:
    logits = drawn_logits(1)
    own = networks.pair(logits, fine_scale)
    (spent_s,) = networks.latencies_s([own])
    assert networks.within(logits, fine_scale, float(spent_s)) == own
    for share in (0.95, 0.8):
        found = networks.within(logits, fine_scale, share * float(spent_s))
        assert networks.latencies_s([found])[0] <= share * spent_s
        same = sum(found[name] == option for name, option in own.items())
        assert same > len(own) / 3  # what was learned is not thrown away


def test_another_path_is_taken_where_the_likeliest_is_too_dear(networks: DerivedNetworks) -> None:
    least_s, _ = networks.range_s()
    ends = []
    for seed in range(4):
        found = [networks.within(drawn_logits(seed, 3.0), pair, 1.02 * least_s) for pair in PAIRS]
        ends.append(float(networks.latencies_s(found).min()))
    assert max(ends) <= 1.02 * least_s


def test_the_authors_window_is_that_of_their_student(networks: DerivedNetworks) -> None:
    """Whose table has rows for all of it: the steered latency is what ``predict`` says."""
    student, size = FASTERSEG[1], Resolution(1024, 2048)
    model = cost_model(load_device("gtx-1080-ti-tensorrt"))
    theirs = DerivedNetworks(
        student, space_costs(model, student, size, HEAD), GridLatency.of(model, student, size)
    )
    least_s, most_s = theirs.range_s()
    assert least_s < 1 / 175 < 1 / 155 < most_s


def table_of(*, all_widths: bool) -> CostModel:
    """A made-up table of the grid's kernels, or of those of two widths alone; no predictor."""
    space = GRID if all_widths else replace(GRID, grid=replace(GRID.grid, widths=(4, 8)))
    rows = {kernel.key: Row("default", 4, (1e-4, 1e-4, 1e-4)) for kernel in space_kernels(space, SIZE, HEAD)}
    return CostModel(TARGET, LatencyTable(TARGET, {}, rows))


def test_a_table_of_all_pairs_of_widths_is_enough() -> None:
    """Skips that do not go down have no kernel in any network: they cost nothing."""
    latency = GridLatency.of(table_of(all_widths=True), GRID, SIZE)
    assert not latency.cells_s[0, False][0].any()
    assert latency.cells_s[0, False][1:].all()
    assert latency.cells_s[0, True].all()
    assert sum(latency.expected(Chances.uniform(GRID.grid))) > 0


def test_a_table_without_a_pair_of_widths_is_refused_with_the_command_that_measures() -> None:
    model = table_of(all_widths=False)
    said = rf"not measured on {TARGET}; measure it with: squeezenas-tvm profile --target {TARGET}"
    with pytest.raises(MissingEntry, match=said):
        space_costs(model, GRID, SIZE, HEAD)
    with pytest.raises(MissingEntry, match=said):
        GridLatency.of(model, GRID, SIZE)


def test_what_a_table_lacks_is_predicted_and_said() -> None:
    known = table_of(all_widths=False)
    model = replace(known, prior=costs_of(GRID).model.prior)
    sources = space_costs(model, GRID, SIZE, HEAD).sources
    assert set(sources) == {"measured", "prior"}
    assert GridLatency.of(model, GRID, SIZE).cells_s[0, False][1:].all()
