"""Where a network's time goes, by a table whose numbers are known."""

import pytest

from cost_models.cost_model import CostModel
from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.errors import MissingEntry
from cost_models.ir.fusion import Kernel
from cost_models.ir.kernel_graph import KernelGraph
from squeezenas_tvm.profiling.time_of_kernels import (
    far_text,
    measured_roofline,
    network_document,
    network_lines,
    network_time,
)

from ...cost_models.some_kernels import convolution

FAST, SLOW, SMALL = convolution(64, 64, 32, 64), convolution(64, 64, 32, 32), convolution(8, 8, 4, 4)
TAKES_S = {FAST: 1e-3, SLOW: 4e-3, SMALL: 1e-5}  # half the work, four times as long


def table(*kernels: Kernel) -> LatencyTable:
    return LatencyTable("board", {}, {k.key: Row("tuned", 4, (TAKES_S[k],) * 3) for k in kernels})


def test_the_longest_come_first_and_what_is_far_from_the_roofline_is_named() -> None:
    graph = KernelGraph.chain([FAST, SLOW, FAST, SMALL])
    model = CostModel("board", table(*TAKES_S))
    network = network_time(
        "net.onnx", "1x64x32x64", graph, model, measured_roofline(table(*TAKES_S), TAKES_S)
    )
    assert [kernel.kernel for kernel in network.kernels] == [SLOW.key, FAST.key, SMALL.key]
    assert [kernel.calls for kernel in network.kernels] == [1, 2, 1]
    assert [kernel.share for kernel in network.kernels] == pytest.approx([4 / 6.01, 2 / 6.01, 0.01 / 6.01])
    slow, fast, small = network.kernels
    assert slow.times_roofline == pytest.approx(4 * FAST.bytes_moved / SLOW.bytes_moved)
    assert fast.times_roofline == pytest.approx(1)
    assert network.far == [slow]
    assert not small.is_far  # too short to matter
    assert network.total.median_s == pytest.approx(6.01e-3)
    assert far_text(network).startswith(f"Over 2 times the roofline, 67% of the time: {SLOW.key}.")
    first, rows, last = network_lines(network)
    assert first.startswith("net.onnx at 1x64x32x64: 6.01 ms (")
    assert first.endswith("; 3 distinct kernels, 4 calls")
    assert rows.splitlines()[2].split()[-4:] == ["4.000", "66.6", "tuned", "7.9"]
    assert last == far_text(network)
    told = network_document(network)
    assert [kernel["far"] for kernel in told["kernels"]] == [True, False, False]
    assert told["latency_ms"]["median"] == pytest.approx(6.01)


def test_where_all_is_near_nothing_is_named() -> None:
    model, graph = CostModel("board", table(FAST)), KernelGraph.chain([FAST])
    network = network_time("net.onnx", "", graph, model, measured_roofline(table(FAST), [FAST, SLOW]))
    assert far_text(network) == "No kernel of 1% of the time or more is 2 times the roofline or longer."


def test_what_nobody_measured_has_no_time() -> None:
    assert measured_roofline(table(), [FAST]) is None
    with pytest.raises(MissingEntry):
        network_time("net.onnx", "", KernelGraph.chain([SLOW]), CostModel("board", table(FAST)), None)
