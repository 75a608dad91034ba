"""The table that others measured: what it holds, how its rows are found, what is refused."""

import statistics
from pathlib import Path

import pytest

from cost_models.cost_model import CostModel
from cost_models.database import published
from cost_models.database.published import COLUMNS, FILE, PublishedTable, published_kernel
from cost_models.errors import CostModelError, IncompatibleTable
from cost_models.estimate import Source
from cost_models.lookup import cost_model
from targets import PublishedDevice, load_device

NAME = "gtx-1080-ti-tensorrt"


def device() -> PublishedDevice:
    found = load_device(NAME)
    assert isinstance(found, PublishedDevice)
    return found


@pytest.fixture(scope="module")
def table() -> PublishedTable:
    return PublishedTable.of(device())


def test_the_rows_are_the_authors(table: PublishedTable) -> None:
    latencies_ms = [1e3 * seconds for seconds in table.rows.values()]
    assert len(latencies_ms) == 667
    assert (round(min(latencies_ms), 6), round(max(latencies_ms), 6)) == (0.020620, 2.832080)
    assert round(statistics.median(latencies_ms), 6) == 0.148624


def test_the_file_is_as_it_was_published(shared_data: Path) -> None:
    shipped = Path(published.__file__).parent.parent / NAME
    for name, original in ((FILE, "latency_table.csv"), ("LICENSE.txt", "LICENSE")):
        assert (shipped / name).read_bytes() == (shared_data / "fasterseg" / original).read_bytes()


def test_no_two_rows_have_one_key(table: PublishedTable) -> None:
    assert len({kernel.key for kernel in table.rows}) == len(table.rows)


def test_rows_are_measured_by_others_within_what_is_known_of_sums(table: PublishedTable) -> None:
    known = published_kernel("conv_2x", (128, 256), 64, 32, 3)
    unknown = published_kernel("conv_2x", (128, 256), 64, 40, 3)
    estimate, none = table.kernels([known, unknown])
    assert none is None
    assert estimate is not None
    assert estimate.source is Source.OTHERS
    assert str(estimate.source) == "measured by others"
    assert (estimate.low_s, estimate.high_s) == (estimate.median_s / 1.1, estimate.median_s * 1.1)


def test_a_cost_model_of_it_adds_rows_up_and_says_whose_they_are(table: PublishedTable) -> None:
    model = cost_model(device())
    kernels = [published_kernel("conv", (128, 256), width, 32, 3) for width in (32, 48)]
    total = model.network(kernels)
    assert total.median_s == pytest.approx(sum(table.rows[kernel] for kernel in kernels))
    assert total.shares == {Source.OTHERS: 1.0}
    assert "478b026" in model.basis
    assert "without normalisation" in model.basis
    assert model.digest() != CostModel(NAME, published=PublishedTable(device(), {})).digest()


def test_what_has_no_row_is_refused_by_its_name() -> None:
    kernel = published_kernel("conv_2x", (64, 128), 40, 64, 3)
    said = r"^conv_2x\.k3 40x64x128->64x64x128: no row in the table of gtx-1080-ti-tensorrt, which others "
    with pytest.raises(CostModelError, match=said):
        cost_model(device()).estimates([kernel])


def test_another_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CostModelError, match=r"measured alone; leave --table out$"):
        cost_model(device(), tmp_path)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["op,ms"], r"found the columns op, ms; allowed: op, h_in, "),
        ([",".join(COLUMNS), "conv,1,2,3"], r"row 1: not enough values"),
        ([",".join(COLUMNS), "conv,8,8,4,4,3,1,1,nan"], r"row 1: takes nan ms, allowed: more than 0"),
        ([",".join(COLUMNS), "conv,8,8,4,4,3,1,1,1", "conv,8,8,4,4,3,1,1,2"], r"row 2: .* has a row already"),
        ([], r"found the columns ; allowed: "),
    ],
)
def test_a_damaged_table_is_refused(
    lines: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "_SHIPPED", tmp_path)
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / FILE).write_text("\n".join(lines))
    with pytest.raises(IncompatibleTable, match=said):
        PublishedTable.of(device())
