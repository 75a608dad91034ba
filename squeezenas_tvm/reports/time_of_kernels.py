"""Sections of a profile's page on networks from ONNX files: where the time of each goes, kernel by kernel."""

from collections.abc import Sequence
from pathlib import Path

from cost_models.cost_model import CostModel
from cost_models.database.profiled_networks import ProfiledNetworks
from cost_models.database.table import LatencyTable
from cost_models.errors import CostModelError
from squeezenas_tvm.profiling.time_of_kernels import (
    HEADER,
    LISTED,
    NetworkTime,
    cells,
    far_text,
    measured_roofline,
    network_time,
)
from squeezenas_tvm.reports.page import Markup, PageSection, bar, join, paragraph, table
from squeezenas_tvm.reports.rooflines import PlacedKernel, roofline

_SHARE = HEADER.index("% of time")


def network_times(folder: Path, latencies: LatencyTable, model: CostModel) -> list[NetworkTime]:
    """Of the networks of a folder all of whose kernels are known: one that was stopped knows some alone.

    Raises:
        IncompatibleTable: the list of networks cannot be read.
    """
    kept = ProfiledNetworks.in_folder(folder, latencies.fingerprint)
    rates = measured_roofline(latencies, kept.by_key.values())
    found = []
    for one in kept.networks:
        try:
            found.append(network_time(one.name, one.sizes, kept.graph(one), model, rates))
        except CostModelError:
            continue
    return found


def network_section(network: NetworkTime) -> PageSection:
    """The kernels that take most of a network's time, beside what the device allows."""
    total, rows = network.total, []
    for kernel in network.kernels[:LISTED]:
        row = cells(kernel)
        row[_SHARE] = bar(kernel.share, row[_SHARE])
        rows.append(row)
    ends = f"{total.low_s * 1e3:.2f} to {total.high_s * 1e3:.2f}"
    told = f"At {network.sizes}: {total.median_s * 1e3:.2f} ms ({ends}), {total.kernels} calls of kernels."
    others = network.kernels[LISTED:]
    left = f" {len(others)} others take {sum(kernel.share for kernel in others):.0%}." if others else ""
    parts = [paragraph(f"{told}{left}"), _picture(network), table(list(HEADER), rows)]
    if network.roofline is not None:
        explained = (
            "The roofline is the least time at the best rates that measured kernels of its kind reached: of "
            "multiply-accumulates, and of bytes when each moves once."
        )
        parts.append(paragraph(f"{far_text(network)} {explained}"))
    return PageSection(f"Where the time of {network.name} goes", join(parts))


def _picture(network: NetworkTime) -> Markup:
    if network.roofline is None:
        return Markup()
    placed = [
        PlacedKernel(
            name=own.kernel,
            kind=own.kind,
            macs=own.macs,
            bytes_moved=own.bytes_moved,
            seconds=own.median_s,
            calls=own.calls,
            share=own.share,
            how=own.how,
        )
        for own in network.kernels
    ]
    return roofline(placed, network.roofline, "the network's")


def network_sections(networks: Sequence[NetworkTime]) -> list[PageSection]:
    """Of all of them."""
    return [network_section(network) for network in networks]
