"""Options that several commands share; imports only what it is asked for."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from squeezenas_tvm.errors import UsageError

if TYPE_CHECKING:
    from squeezenas_tvm.bundles.runner import Bundle


def add_resolution(parser: argparse.ArgumentParser, default: str) -> None:
    """``--resolution HxW``."""
    parser.add_argument(
        "--resolution",
        metavar="HxW",
        default=default,
        help="height and width of the image, pixels (default %(default)s)",
    )


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """``--dtype``; the target refuses what it does not list."""
    parser.add_argument(
        "--dtype",
        default="float32",
        help="of weights and feature maps: float32, or float16 with sums in float32, where the target lists "
        "it (default %(default)s)",
    )


def add_board(parser: argparse.ArgumentParser) -> None:
    """``--tracker`` and ``--target``, for `opened_bundle`."""
    parser.add_argument(
        "--tracker",
        metavar="HOST:PORT",
        help="run the bundle on a board: TVM RPC tracker at which that is registered",
    )
    parser.add_argument(
        "--target", help="for --tracker: name or YAML file of the board's target (default: the bundle's)"
    )


@contextmanager
def opened_bundle(folder: Path, args: argparse.Namespace, timeout_s: float = 3600.0) -> "Iterator[Bundle]":
    """The bundle on this machine, or on the board that the options of `add_board` name.

    Args:
        timeout_s: after that a board takes itself back.

    Raises:
        UsageError: a target without a tracker.
        BundleError, TargetError, FailedWork: as `Bundle.load` and `board_bundle.open_bundle`.
    """
    if args.tracker is None:
        from squeezenas_tvm.bundles.runner import Bundle

        if args.target is not None:
            raise UsageError(
                "--target is for --tracker HOST:PORT; without one the bundle runs on this machine"
            )
        yield Bundle.load(folder)
        return
    from squeezenas_tvm.bundles.on_board import open_bundle

    with open_bundle(folder, args.target, args.tracker, timeout_s) as bundle:
        yield bundle


def trials_count(text: str) -> int:
    """argparse type: a whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def share_text(shares: Mapping[str, float]) -> str:
    """Whose share of a latency is how large, for people."""
    return ", ".join(f"{share:.0%} {source}" for source, share in shares.items())
