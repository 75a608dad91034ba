"""Options that several commands share; imports only what it is asked for."""

import argparse


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
    """``--tracker`` and ``--target``, for `bundles.opened.opened_bundle`."""
    parser.add_argument(
        "--tracker",
        metavar="HOST:PORT",
        help="run the bundle on a board: TVM RPC tracker at which that is registered",
    )
    parser.add_argument(
        "--target", help="for --tracker: name or YAML file of the board's target (default: the bundle's)"
    )


def trials_count(text: str) -> int:
    """argparse type: a whole number from 0 to 2147483647."""
    return whole_number(text, 0, (1 << 31) - 1)


def seed_number(text: str) -> int:
    """argparse type: as ``targets.support.strict_yaml.Seed``."""
    return whole_number(text, 0, (1 << 32) - 1)


def port_number(text: str) -> int:
    """argparse type: a TCP port."""
    return whole_number(text, 1, 65535)


def whole_number(text: str, least: int, most: int) -> int:
    """Raises ArgumentTypeError for other text."""
    if not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more, at most {most}")
    return int(text)
