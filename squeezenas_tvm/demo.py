"""``demo``: the main job from end to end on this machine, by the commands that a user would type.

Deploys a network on default schedules and shows what it sees, for a first picture in a minute; then profiles
the Small space, estimates the published networks from that table, deploys again with the schedules that were
found, runs that, and times both by turns.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.cli import Result, dispatch, leave, run_command
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.options import trials_count

if TYPE_CHECKING:
    from squeezenas_tvm.comparing.turns import Pair

EXAMPLE = "squeezenas-tvm demo\nsqueezenas-tvm demo --image street.jpg --weights lat_small.pth"
KEPT = "what was measured is stored in {out}; the same command goes on from there"
SPACE, TARGET = "small", "local-cpu"
TRAINED, PUBLISHED = "squeezenas-lat-small-camvid", "squeezenas-lat-small"
DRAWN = "This street is drawn; on photographs it sees better: the same command with --image STREET.jpg"
SCENE_SIZE, SCENE_SEED = (512, 1024), 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--image", type=Path, help="image to segment; a drawn street scene if left out")
    parser.add_argument(
        "--weights", type=Path, help=f"weights of {PUBLISHED} (default: ours, of CamVid's 11 classes)"
    )
    parser.add_argument(
        "--resolution", metavar="HxW", default="256x512", help="of the network (default %(default)s)"
    )
    parser.add_argument(
        "--trials", type=trials_count, metavar="N", default=4, help="schedules a kernel (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="(default %(default)s)")


def execute(args: argparse.Namespace) -> Result:
    """Run the steps one after another, each as its own command line."""
    from search.data.image_files import read_image
    from search.resolution import Resolution
    from squeezenas_tvm.comparing.turns import Pair, by_turns

    started = time.monotonic()
    Resolution.parse(args.resolution)
    out: Path = args.out
    for path in (args.image, args.weights):
        if path is not None and not os.path.isfile(path):
            raise UsageError(f"{path}: no such file")
    if args.image:
        read_image(args.image)  # which is needed last: in minutes
    image = args.image or _draw(out / "scene.png")
    table, default, bundle, seen = (out / name for name in ("profile", "default", "bundle", "seen"))
    size = ["--resolution", args.resolution]
    network = [PUBLISHED, "--weights", str(args.weights)] if args.weights else [TRAINED]
    on = ["--target", TARGET]
    deploy = ["deploy", *network, *on, *size]
    overlay = seen / f"{image.stem}-overlay.png"
    for step in (
        [*deploy, "--measurements", str(out / "none"), "--out", str(default)],
        ["run", str(default), str(image), "--out", str(seen)],
    ):
        _run(step)
    sys.stderr.write(f"\nFirst picture: {overlay}, on default schedules. Now they are measured and tuned.\n")
    for step in (
        ["profile", *on, "--space", SPACE, *size, "--trials", str(args.trials), "--out", str(table)],
        ["networks", *on, "--space", SPACE, *size, "--table", str(table)],
        [*deploy, "--measurements", str(table), "--out", str(bundle)],
        ["run", str(bundle), str(image), "--out", str(seen)],
    ):
        _run(step)
    sys.stderr.write("\nBoth again by turns, since this machine may be faster or slower than minutes ago.\n")
    timed = Pair(*by_turns([default, bundle]))
    places = {"table": str(table), "overlay": str(overlay), "module": str(bundle / "model.so")}
    minutes = (time.monotonic() - started) / 60
    lines = [f"Done in {minutes:.1f} minutes.", *(f"{name:<8} {path}" for name, path in places.items())]
    lines.append(timed.said("default schedules", "tuned ones"))
    text = "\n".join(lines if args.image else [*lines, DRAWN])
    return Result(document=places | {"minutes": minutes, "by_turns": _document(timed)}, text=text)


def _document(timed: "Pair") -> dict[str, Any]:
    (default_ms, tuned_ms), (low, high) = timed.medians_ms, timed.interval
    told = {"default_ms": default_ms, "tuned_ms": tuned_ms, "ratio": timed.ratio, "low": low, "high": high}
    return {**told, "told_apart": timed.told_apart, "rounds": len(timed.ratios)}


def _run(step: Sequence[str]) -> None:
    """One command in this process. Its own error line has been printed when it fails."""
    from targets.support.commands import command_line

    sys.stderr.write(f"\n$ {command_line(*step)}\n")
    sys.stderr.flush()
    code = dispatch(step)
    if code == 130:
        raise KeyboardInterrupt
    if code == 2:
        raise UsageError(f"the demo's step {step[0]} was refused, see above")
    if code:
        raise FailedWork(
            f"the demo's step {step[0]} failed, see above; what it measured is kept, run the demo again"
        )


def _draw(path: Path) -> Path:
    """A street-like scene of the project's own, so that nothing must be downloaded."""
    import numpy as np
    from PIL import Image

    from search.data.scenes.scene import draw_scene
    from squeezenas_tvm.bundles.images import check_places
    from squeezenas_tvm.bundles.overlay import png
    from targets.support.files import put_whole

    check_places([path], [])
    image, _ = draw_scene(*SCENE_SIZE, np.random.default_rng(SCENE_SEED))
    try:
        put_whole(path, png(Image.fromarray(image)))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}; name another --out") from None
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("demo", add_arguments, execute, argv, example=EXAMPLE, kept=KEPT)


if __name__ == "__main__":
    leave(main())
