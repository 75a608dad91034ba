"""The benchmark of zoomed operations, without timing any: what it takes and what it says."""

from zoomed_operations import cells, report

from cost_models.ir.fusion import Kernel
from search.resolution import Resolution


def seconds(kernel: Kernel) -> float:
    """On a machine of 100 GMAC/s and 10 GB/s whose resizes reach half of it."""
    bound_s = max(kernel.macs / 100e9, kernel.bytes_moved / 10e9)
    return bound_s * (1 + kernel.label.startswith("resize"))


def test_a_zoomed_operation_is_resizes_around_convolutions() -> None:
    found = cells(Resolution(256, 512))
    assert [kernel.label.split()[0] for (kernel,) in found.pop("last resize")] == ["resize.corners", "resize"]
    assert {name: len(groups) for name, groups in found.items()} == dict.fromkeys(
        ["conv", "conv_downup", "conv_2x", "conv_2x_downup"], 6
    )
    labels = [kernel.label.split()[0] for kernel in found["conv_2x_downup"][0]]
    assert labels == ["resize.corners", "conv3x3+relu", "conv3x3", "resize.corners+relu"]


def test_shares_are_told_by_sort_and_operation_and_other_schedules_in_rounds() -> None:
    every = cells(Resolution(256, 512))
    kernels = list(dict.fromkeys(k for groups in every.values() for group in groups for k in group))
    measured = {("default", k): [seconds(k)] * 3 for k in kernels}
    resizes = [k for k in kernels if k.label.startswith("resize")]
    measured |= {("before", k): [f * seconds(k) for f in (2.0, 2.5, 4.0)] for k in resizes}
    said = report(measured, every)
    rows = {line.split()[0]: line.split() for line in said.splitlines() if line.strip()}
    assert rows["conv"][1:3] == ["6", "100"]
    assert 50 <= int(rows["conv_downup"][2]) < 100
    assert f"{resizes[0].label}" in said
    assert said.splitlines()[-1].split()[-4:] == ["2.50", "2.00", "to", "4.00"]
