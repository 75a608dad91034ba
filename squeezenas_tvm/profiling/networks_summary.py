"""What ``profile net.onnx`` shows: where the time of each network goes, and how sure that is."""

from typing import Any

from cost_models.lookup import results_folder
from squeezenas_tvm.profiling.measure import SAMPLES
from squeezenas_tvm.profiling.profile_networks import NetworksProfile
from squeezenas_tvm.profiling.summary import network_errors_text, quality, quality_text
from squeezenas_tvm.profiling.time_of_kernels import network_document, network_lines
from targets.support.commands import command_line


def networks_document(profile: NetworksProfile) -> dict[str, Any]:
    """For JSON."""
    measured = profile.measured
    return {
        "target": measured.table.target,
        "networks": [
            network_document(network) | {"whole_ms": None if s is None else s * 1e3}
            for network, s in zip(profile.networks, profile.whole_s, strict=True)
        ],
        "kernels": {
            **_counts(profile),
            "predicted": len(measured.predicted),
            **quality(_rows(profile)),
        },
        "estimated": dict(measured.problems),
        "missing": profile.holes,
        "tuning": measured.tuning,
        "boards": list(measured.table.boards),
        "folder": str(profile.folder),
    }


def networks_text(profile: NetworksProfile, target: str) -> str:
    """For people; ``target`` as it was given."""
    measured, counts = profile.measured, _counts(profile)
    lines: list[str] = []
    for network, whole_s in zip(profile.networks, profile.whole_s, strict=True):
        timed = [] if whole_s is None else [f"Timed whole: {whole_s * 1e3:.2f} ms."]
        lines += [*network_lines(network), *timed, ""]
    if len(profile.networks) > 1:
        lines.append(
            f"{len(profile.networks)} networks of {counts['apart']} kernels have {counts['distinct']} "
            f"distinct ones; {counts['in_several']} of these run in several networks."
        )
    lines.append(f"{counts['of_spaces']} of {counts['distinct']} kernels are those that spaces have, too.")
    if measured.predicted:
        lines.append(f"{len(measured.predicted)} kernels were left out, and are predicted.")
    lines += quality_text(quality(_rows(profile)), measured) + network_errors_text(measured)
    own = profile.folder == results_folder(measured.table.target)
    given = () if own else ("--measurements", profile.folder)
    names = [network.name for network in profile.networks]
    told = command_line("deploy", names[0], "--target", target, *given, "--out", "BUNDLE")
    lines += ["", f"Table and raw samples: {profile.folder / SAMPLES}; its schedules go into: {told}"]
    return "\n".join(lines)


def _counts(profile: NetworksProfile) -> dict[str, int]:
    return {
        "apart": profile.apart,
        "distinct": len(profile.distinct),
        "in_several": profile.in_several,
        "of_spaces": profile.of_spaces,
    }


def _rows(profile: NetworksProfile) -> list[Any]:
    rows = profile.measured.table.rows
    return [rows[kernel.key] for kernel in profile.distinct if kernel.key in rows]
