"""``deploy``: compiles an architecture with weights for a target into a bundle that runs there."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.cli import Result, leave, run_command, table
from squeezenas_tvm.options import add_dtype, add_resolution, trials_count

if TYPE_CHECKING:
    from squeezenas_tvm.bundles.deploy import Deployed
    from squeezenas_tvm.bundles.kernel_profile import KernelProfile
    from targets import Target

EXAMPLE = (
    "squeezenas-tvm deploy squeezenas-lat-small --target local-cpu --resolution 512x1024 \\\n"
    "    --weights lat_small.pth --trials 64 --out lat-small-bundle\n"
    "squeezenas-tvm deploy squeezenas-lat-small --target jetson-xavier --weights lat_small.pth \\\n"
    "    --trials 64 --tracker 127.0.0.1:9190 --out for-xavier"
)
KEPT = "no bundle was made; what was measured is stored, and the same command goes on from there"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("architecture", help="name of a shipped architecture, or a YAML file")
    parser.add_argument("--target", required=True, help="device to build for: a name, or a YAML file")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help=".safetensors or .pth (default the architecture's, else random)",
    )
    add_resolution(parser, "1024x2048")
    add_dtype(parser)
    parser.add_argument(
        "--trials",
        type=trials_count,
        default=0,
        metavar="N",
        help="schedules tried for each kernel; 0 tunes nothing and uses stored records (default %(default)s)",
    )
    parser.add_argument(
        "--measurements", type=Path, metavar="DIR", help="stored records (default results/TARGET)"
    )
    parser.add_argument("--tracker", metavar="HOST:PORT", help="TVM RPC tracker of a board, for --trials")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="tell what each kernel asks of the device: of a GPU threads, registers, spills, shared memory, "
        "occupancy, bytes loaded for a value of the result and how many times that moves from memory in "
        "sectors; multiply-adds, bytes, and the time that these take by the target's peaks",
    )
    parser.add_argument(
        "--no-check",
        action="store_true",
        help="for GPUs: do not run each kernel on the emulated GPU first, and say so in the bundle",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the bundle")


def execute(args: argparse.Namespace) -> Result:
    """Tune if asked, compile with the best schedules known, write the bundle."""
    from search.architecture import load_architecture
    from search.resolution import Resolution
    from squeezenas_tvm.bundles.deploy import deploy_architecture
    from targets import load_target

    architecture, target = load_architecture(args.architecture), load_target(args.target)
    deployed = deploy_architecture(
        architecture,
        target,
        Resolution.parse(args.resolution),
        args.out,
        weights=args.weights,
        trials=args.trials,
        measurements=args.measurements,
        dtype=args.dtype,
        tracker=args.tracker,
        profile=args.profile,
        check=not args.no_check,
    )
    return Result(document=_document(deployed), text=_text(deployed, target))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("deploy", add_arguments, execute, argv, example=EXAMPLE, kept=KEPT)


def _document(deployed: "Deployed") -> dict[str, Any]:
    manifest = deployed.manifest
    return {
        "bundle": str(deployed.folder),
        "name": manifest.name,
        "target": manifest.target,
        "resolution": f"{manifest.height}x{manifest.width}",
        "dtype": manifest.fingerprint["dtype"],
        "weights": str(deployed.weights) if deployed.weights else None,
        "tuned_kernels": manifest.tuned_kernels,
        "default_kernels": manifest.default_kernels,
        "untuned": manifest.untuned,
        "checked": manifest.checked,
        "files": deployed.files,
        **_profile_document(deployed),
    }


def _profile_document(deployed: "Deployed") -> dict[str, Any]:
    from squeezenas_tvm.bundles.kernel_profile import network_roofline_s

    if deployed.profile is None:
        return {}
    kernels = [asdict(kernel) for kernel in deployed.profile]
    return {"profile": {"kernels": kernels, "roofline_s": network_roofline_s(deployed.profile)}}


def _text(deployed: "Deployed", target: "Target") -> str:
    from squeezenas_tvm.bundles.deploy import untuned_text
    from targets.support.commands import command_line, shell_line

    out, manifest = deployed.folder, deployed.manifest
    resolution = f"{manifest.height}x{manifest.width}"
    lines = [f"{manifest.name} at {resolution} for {manifest.target}: {out}"]
    if deployed.weights is None:
        lines.append("weights: random, so its labels mean nothing; give --weights FILE for real ones")
    lines.append(f"kernels: {manifest.tuned_kernels} tuned, {manifest.default_kernels} on default schedules")
    if manifest.checked:
        lines.append(_checked_line(manifest.checked))
    if target.caution:
        lines.append(target.caution)
    if manifest.untuned:
        lines.append(untuned_text(target, manifest.default_kernels))
    lines.append(
        f"module: {out / 'model.so'} (uint8 RGB frame 1x{resolution}x3 in, class indices 1x{resolution} out)"
    )
    run = ("run", out, "IMAGE", "--out", "seen")
    if target.kind == "local":
        lines.append(f"next: {command_line(*run)}")
    else:
        there = shell_line(("python", f"{out.resolve().name}/run.py", "IMAGE"))
        lines.append(f"next: copy {out} to the device, and there: {there}")
        lines.append(f"or from here: {command_line(*run, '--tracker', 'HOST:PORT')}")
    lines.append(f"from C++: {out / 'cpp'} has an example and how to build it")
    if deployed.profile is not None:
        lines += ["", *_profile_lines(deployed.profile, target)]
    return "\n".join(lines)


def _checked_line(checked: Mapping[str, Any]) -> str:
    if checked["why_not"]:
        return f"kernels not checked: {checked['why_not']}"
    where = f"the emulated GPU ({checked['emulated_gpu']})"
    return f"checked: {checked['kernels']} distinct kernels are right on {where}"


def _profile_lines(profile: "Sequence[KernelProfile]", target: "Target") -> list[str]:
    """A row for each kernel, or for each launch of it on a GPU, and what they come to."""
    from squeezenas_tvm.bundles.kernel_profile import network_roofline_s

    of_gpu = any(kernel.launches for kernel in profile)
    header = ["kernel", "schedule", "calls", *_GPU_COLUMNS * of_gpu, "MMAC", "kB", "roofline us"]
    rows = [row for kernel in profile for row in _rows(kernel, of_gpu=of_gpu)]
    macs = sum(kernel.calls * (kernel.macs or 0) for kernel in profile)
    moved = sum(kernel.calls * kernel.bytes_moved for kernel in profile)
    calls, bound_s = sum(kernel.calls for kernel in profile), network_roofline_s(profile)
    total = f"{len(profile)} distinct kernels, {calls} calls: {macs / 1e6:.1f} MMAC, {moved / 1e6:.1f} MB; "
    total += (
        f"target {target.name} tells no peaks of this dtype, so there is no roofline"
        if bound_s is None
        else f"roofline {1e3 * bound_s:.3f} ms, every map through memory once"
    )
    return [table(header, rows), total]


_GPU_COLUMNS = [
    *("blocks", "threads", "registers", "spilled B", "shared B", "occupancy"),
    *("loaded B a value", "moved"),
]


def _rows(kernel: "KernelProfile", *, of_gpu: bool) -> list[list[str]]:
    first = [kernel.kernel, "tuned" if kernel.tuned else "default", str(kernel.calls)]
    last = [
        f"{kernel.macs / 1e6:.2f}" if kernel.macs is not None else "-",
        f"{kernel.bytes_moved / 1e3:.1f}",
        f"{1e6 * kernel.roofline_s:.2f}" if kernel.roofline_s is not None else "-",
    ]
    if not of_gpu:
        return [[*first, *last]]
    rows = []
    for index, launch in enumerate(kernel.launches):
        numbers = (launch.blocks, launch.threads, launch.registers, launch.stack_bytes, launch.shared_bytes)
        share = f"{launch.occupancy:.2f}" if launch.occupancy is not None else "-"
        loads = launch.loads
        asked = f"{loads.bytes_asked / kernel.values:.1f}" if loads else "-"
        moved = f"{loads.bytes_moved / loads.bytes_asked:.2f}" if loads and loads.bytes_asked else "-"
        again = [f"  launch {index + 1}", "", ""]
        ends = (again, [""] * len(last)) if index else (first, last)
        told = ("-" if n is None else str(n) for n in numbers)
        rows.append([*ends[0], *told, share, asked, moved, *ends[1]])
    return rows


if __name__ == "__main__":
    leave(main())
