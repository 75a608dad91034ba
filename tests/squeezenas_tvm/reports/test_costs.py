"""Tables of spaces with more options than people read in a row: in words and on a page."""

import re
from pathlib import Path

import numpy as np
import pytest

from cost_models.database.profiled import Profiled
from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from search.costs.kernel_table import space_kernels
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from squeezenas_tvm.profiling.measure import Measured
from squeezenas_tvm.profiling.summary import summarize
from squeezenas_tvm.reports.costs import costs_section, covered

from ..helpers import SIZE, seconds

SPACE = get_space("fasterseg-student")
TUNING = {"trials": 0, "valid": 0, "wall_s": 0.0, "kernels": {}}


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    kernels = list(space_kernels(SPACE, SIZE, segmentation_head(19)))
    rows = {kernel.key: Row("default", 0, (seconds(kernel),)) for kernel in kernels}
    profiled = Profiled(space=SPACE.name, resolution=str(SIZE), outputs=19, kernels=list(rows))
    return LatencyTable("board", {"device": "board", "dtype": "float32"}, rows, profiled=(profiled,))


def test_a_profile_shows_the_ends_of_each_slot(table: LatencyTable, tmp_path: Path) -> None:
    kernels = list(space_kernels(SPACE, SIZE, segmentation_head(19)))
    text = summarize(Measured(table, TUNING, None, {}), kernels, SPACE, SIZE, 19, tmp_path).text()
    lines = text.splitlines()
    assert lines[2].split() == [
        "options",
        "fastest,",
        "ms",
        "which",
        "middle,",
        "ms",
        "slowest,",
        "ms",
        "which",
    ]
    rows = {line.split()[0]: line.split() for line in lines[4:39]}
    assert set(rows) == {part.slot for part in SPACE.parts(SIZE, segmentation_head(19)) if part.slot}
    assert rows["deep.0"][1] == "100"
    assert max(map(len, lines[:40])) < 160


def test_a_page_does_so_too_and_tells_the_mean_of_networks(table: LatencyTable) -> None:
    (found,) = covered(table)
    page = str(costs_section(found))
    assert "deep, layer 0" in page
    assert "fine, 1/16 to 1/8" in page
    assert len(re.sub("<figure.*?</figure>", "", page)) < 50_000
    assert len(page) < 80_000
    random = np.random.default_rng(0)
    drawn = [SPACE.network(SPACE.sample(random), segmentation_head(19)) for _ in range(40)]
    work = np.array([network.macs({"x": (1, 3, *SIZE)}) for network in drawn])
    mean_s = found.mean_s()
    assert mean_s is not None
    least_s = 1e-10 * (work.mean() - 4 * work.std() / len(work) ** 0.5)
    assert least_s < mean_s < 10 * least_s
