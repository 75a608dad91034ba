"""Kernels under their roofs, by kernels whose rates are known."""

import re

import pytest

from cost_models.kernel_models.roofline import PhysicalModel
from squeezenas_tvm.reports.rooflines import PlacedKernel, roofline

from ...cost_models.some_kernels import argmax, convolution, depthwise

TIMED = {convolution(64, 64, 32, 64): 1e-3, convolution(64, 64, 16, 16): 1e-3, depthwise(64, 32, 64): 2e-4}
IDLE = {argmax(8, 8): 1e-6}


def placed(share: float = 0.25) -> list[PlacedKernel]:
    return [
        PlacedKernel(k.label, k.kind, k.macs, k.bytes_moved, seconds, 2.0, share, "tuned")
        for k, seconds in {**TIMED, **IDLE}.items()
    ]


def figure() -> str:
    model = PhysicalModel.fit([*TIMED, *IDLE], [*TIMED.values(), *IDLE.values()])
    return roofline(placed(), model, "a network's")


def test_every_kernel_that_multiplies_is_there_with_its_numbers() -> None:
    told = [own.split("\n") for own in re.findall(r'data-t="([^"]*)"', figure())]
    assert len(told) == 3
    for kernel, seconds in TIMED.items():
        (lines,) = [own for own in told if own[0] == kernel.label.replace(">", "&gt;")]
        assert lines[1] == "25.0% of a network&#x27;s latency"
        assert lines[2] == f"{seconds * 1e3:.3f} ms a call, 2 calls"
        assert lines[3].startswith(f"{kernel.macs / seconds / 1e9:.3g} GMAC/s, ")
        assert lines[4] == f"{kernel.macs / kernel.bytes_moved:.3g} MACs a byte"
    reached = {lines[0]: int(re.findall(r"(\d+)% of its roof", lines[3])[0]) for lines in told}
    assert max(reached.values()) == 100  # somebody sets each rate
    assert "1 kernels that multiply nothing are not in it: 25% of the latency." in figure()


def test_roofs_meet_where_the_bandwidth_reaches_the_rate() -> None:
    svg = figure()
    lines = {
        name: [tuple(map(float, place.split())) for place in path.split("L")]
        for path, name in re.findall(r'<path d="M([^"]*)" class="line"[^>]*data-name="([^"]*)"', svg)
    }
    (memory,) = [places for name, places in lines.items() if name.startswith("bandwidth")]
    flat = [places for name, places in lines.items() if "GMAC/s" in name]
    assert len(flat) == 2
    for (x0, y0), (x1, y1) in flat:
        assert (y0, x0 < x1) == (y1, True)
    (_, _), (x, y) = memory
    (start,) = [places[0] for places in flat if places[0][1] == min(own[0][1] for own in flat)]
    assert (x, y) == pytest.approx(start, abs=0.15)  # the highest roof begins at the end of the bandwidth's


def test_where_nothing_multiplies_there_is_no_picture() -> None:
    model = PhysicalModel.fit(list(IDLE), list(IDLE.values()))
    assert roofline(placed()[-1:], model, "a network's") == ""
