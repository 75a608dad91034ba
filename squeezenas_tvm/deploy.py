"""``deploy``: compiles a network with weights for a target into a bundle that runs there."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cost_models.tuning.effort import EFFORTS
from squeezenas_tvm.cli import Result, leave, run_command, table
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.options import add_dtype, add_ends, trials_count

if TYPE_CHECKING:
    from squeezenas_tvm.bundles.assemble import Manifest
    from squeezenas_tvm.bundles.deploy import Deployed
    from squeezenas_tvm.bundles.deployable import Ends
    from squeezenas_tvm.bundles.kernel_profile import KernelProfile
    from targets import Target

EXAMPLE = (
    "squeezenas-tvm deploy squeezenas-lat-small --target local-cpu --resolution 512x1024 \\\n"
    "    --weights lat_small.pth --trials 64 --out lat-small-bundle\n"
    "squeezenas-tvm deploy squeezenas-lat-small --target jetson-xavier --weights lat_small.pth \\\n"
    "    --trials 64 --tracker 127.0.0.1:9190 --out for-xavier\n"
    "squeezenas-tvm deploy unet.onnx --target local-cpu --resolution 512x1024 --frame --end argmax \\\n"
    "    --labels names.txt --out unet-bundle"
)
USUAL = "1024x2048"  # resolution of an architecture
_FRAME = ("frame", "mean", "std", "bgr")
KEPT = "no bundle was made; what was measured is stored, and the same command goes on from there"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "architecture",
        metavar="NETWORK",
        help="name of a shipped architecture, YAML file of another, or ONNX file of any network",
    )
    parser.add_argument("--target", required=True, help="device to build for: a name, or a YAML file")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help=".safetensors or .pth (default the architecture's, else random)",
    )
    parser.add_argument(
        "--resolution",
        metavar="HxW",
        help="height and width of the image, pixels (default 1024x2048; of an ONNX file its own)",
    )
    add_dtype(parser)
    parser.add_argument(
        "--trials",
        type=trials_count,
        default=0,
        metavar="N",
        help="schedules tried for each kernel; 0 tunes nothing and uses stored records (default %(default)s)",
    )
    parser.add_argument(
        "--effort",
        choices=list(EFFORTS),
        help="instead of --trials: search some kernels, and lend their schedules to others as profile does",
    )
    parser.add_argument(
        "--measurements", type=Path, metavar="DIR", help="stored records (default results/TARGET)"
    )
    parser.add_argument(
        "--tracker", metavar="HOST:PORT", help="TVM RPC tracker of a board, for --trials or --effort"
    )
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
    add_ends(parser)


def execute(args: argparse.Namespace) -> Result:
    """Tune if asked, compile with the best schedules known, write the bundle."""
    from search.architecture import load_architecture
    from search.resolution import Resolution
    from squeezenas_tvm.bundles.deploy import Wishes, deploy_architecture, deploy_onnx
    from squeezenas_tvm.bundles.network_files import is_onnx, refuse_other_formats
    from targets import load_target

    refuse_other_formats(args.architecture)
    if args.trials and args.effort:
        raise UsageError(f"--trials {args.trials}, --effort {args.effort}: two amounts of work; give one")
    wishes = Wishes(
        trials=args.trials,
        effort=EFFORTS[args.effort] if args.effort else None,
        measurements=args.measurements,
        tracker=args.tracker,
        profile=args.profile,
        check=not args.no_check,
    )
    if is_onnx(args.architecture):
        ends = _ends(args)
        target = load_target(args.target)
        deployed = deploy_onnx(Path(args.architecture), target, args.out, wishes, ends)
        return Result(document=_document(deployed), text=_text(deployed, target))
    _refuse_ends(args)
    architecture, target = load_architecture(args.architecture), load_target(args.target)
    resolution = Resolution.parse(args.resolution or USUAL)
    deployed = deploy_architecture(
        *(architecture, target, resolution, args.out, wishes), weights=args.weights, dtype=args.dtype
    )
    return Result(document=_document(deployed), text=_text(deployed, target))


def _refuse_ends(args: argparse.Namespace) -> None:
    given = {name: getattr(args, name) for name in (*_FRAME, "layout", "shape", "end", "output", "labels")}
    if wrong := [f"--{name}" for name, value in given.items() if value]:
        raise UsageError(f"{', '.join(wrong)}: for ONNX files; {args.architecture} has its own frame and end")


def _ends(args: argparse.Namespace) -> "Ends":
    """What is asked of an ONNX file's network. Raises UsageError."""
    from cost_models.onnx_io.ends import End, Frame
    from search.resolution import Resolution
    from search.spaces.camera import IMAGENET_MEAN, IMAGENET_STD
    from squeezenas_tvm.bundles.deployable import Ends

    if args.weights:
        raise UsageError(f"--weights {args.weights}: {args.architecture} has its own")
    frame, end = None, None
    if any(getattr(args, name) for name in _FRAME):
        frame = Frame(args.mean or IMAGENET_MEAN, args.std or IMAGENET_STD, bgr=args.bgr, layout=args.layout)
        if min(frame.std) <= 0:
            raise UsageError(f"--std {','.join(map(str, frame.std))}: allowed: numbers above 0")
    elif args.layout:
        raise UsageError(f"--layout {args.layout} is for a camera's frame; give --frame, too")
    if args.end:
        kind, _, count = args.end.partition(":")
        counts = kind == "topk" and count.isdecimal() and 1 <= int(count) <= 1000
        if kind not in ("argmax", "topk", "depth") or not (counts or (kind != "topk" and not count)):
            raise UsageError(f"--end {args.end}: allowed: argmax, topk:5 (1 to 1000), depth")
        end = End(kind, int(count or 1))
    return Ends(
        resolution=Resolution.read(args.resolution) if args.resolution else None,
        shapes=dict(args.shape),
        frame=frame,
        end=end,
        output=args.output,
        labels=args.labels,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("deploy", add_arguments, execute, argv, example=EXAMPLE, kept=KEPT)


def _document(deployed: "Deployed") -> dict[str, Any]:
    manifest = deployed.manifest
    return {
        "bundle": str(deployed.folder),
        "name": manifest.name,
        "target": manifest.target,
        "resolution": _resolution(manifest),
        "inputs": [dict(value) for value in manifest.inputs],
        "outputs": [dict(value) for value in manifest.outputs],
        "dtype": manifest.fingerprint["dtype"],
        "weights": str(deployed.weights) if deployed.weights else None,
        "tuned_kernels": manifest.tuned_kernels,
        "default_kernels": manifest.default_kernels,
        "untuned": manifest.untuned,
        "checked": manifest.checked,
        "files": deployed.files,
        **_profile_document(deployed),
    }


def _resolution(manifest: "Manifest") -> str | None:
    """Of the frame that the module takes; None where it takes none."""
    from squeezenas_tvm.bundles.values import is_frame

    first = manifest.inputs[0]
    return "x".join(map(str, first["shape"][1:3])) if is_frame(first) else None


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
    from squeezenas_tvm.bundles.values import FRAME, said, segments

    size = _resolution(manifest) or ", ".join(map(said, manifest.inputs))
    lines = [f"{manifest.name} at {size} for {manifest.target}: {out}"]
    if deployed.weights is None:
        lines.append("weights: random, so its labels mean nothing; give --weights FILE for real ones")
    lines.append(f"kernels: {manifest.tuned_kernels} tuned, {manifest.default_kernels} on default schedules")
    if manifest.checked:
        lines.append(_checked_line(manifest.checked))
    if target.caution:
        lines.append(target.caution)
    if manifest.untuned:
        lines.append(untuned_text(target, manifest.default_kernels))
    ends = {"inputs": manifest.inputs, "outputs": manifest.outputs}
    if segments(ends):
        told = f"uint8 RGB frame 1x{size}x3 in, class indices 1x{size} out"
    else:
        told = f"{', '.join(map(said, manifest.inputs))} in, {', '.join(map(said, manifest.outputs))} out"
    lines.append(f"module: {out / 'model.so'} ({told})")
    takes_frame = manifest.inputs[0]["meaning"] == FRAME
    file = "IMAGE" if takes_frame else "ARRAY.npy" if len(manifest.inputs) == 1 else "ARRAYS.npz"
    run = ("run", out, file, "--out", "seen")
    if target.kind == "local":
        lines.append(f"next: {command_line(*run)}")
    else:
        there = shell_line(("python", f"{out.resolve().name}/run.py", file))
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
