"""Options that several commands share; imports only what it is asked for."""

import argparse
import math
from pathlib import Path


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


def add_table(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """``--table DIR``: where costs on ``--target`` are from."""
    parser.add_argument(
        "--table",
        type=Path,
        metavar="DIR",
        help="folder of its table (default results/TARGET, else the shipped one, else the target's prior)",
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


def add_ends(parser: argparse.ArgumentParser) -> None:
    """What an ONNX file leaves open, and what stands before and behind its network."""
    group = parser.add_argument_group("ONNX files")
    add_shapes(group)
    group.add_argument(
        "--frame",
        action="store_true",
        help="take a camera's frame (uint8, NHWC, RGB) and normalise it inside the module; --mean, --std and "
        "--bgr mean that, too",
    )
    for name, of_imagenet in (("mean", "0.485,0.456,0.406"), ("std", "0.229,0.224,0.225")):
        group.add_argument(
            f"--{name}",
            type=three_numbers,
            metavar="R,G,B",
            help=f"of pixel values divided by 255 (default {of_imagenet}, that of ImageNet)",
        )
    group.add_argument("--bgr", action="store_true", help="the network takes blue first")
    group.add_argument(
        "--layout",
        choices=("NCHW", "NHWC"),
        help="of the image that the network takes (default: as it seems to be)",
    )
    group.add_argument(
        "--end",
        metavar="WHAT",
        help="argmax: the class of each pixel of the image; topk:5: the classes of the five highest scores; "
        "depth: metres of each pixel of the image (default: the network's outputs as they are)",
    )
    group.add_argument("--output", metavar="NAME", help="output that --end is for, where there are several")
    group.add_argument(
        "--labels",
        metavar="FILE",
        help="what its classes are: a text file with a name a line, or cityscapes, camvid",
    )


def add_shapes(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """``--shape NAME=1x3x512x1024``, once an input."""
    parser.add_argument(
        "--shape",
        type=named_shape,
        action="append",
        default=[],
        metavar="NAME=NxCxHxW",
        help="shape of an input whose sizes an ONNX file leaves open; may be given several times",
    )


def named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """argparse type: an input's name and its sides."""
    name, _, sides = text.rpartition("=")
    numbers = sides.split("x")
    if not name or not all(n.isdecimal() and len(n) < 10 and int(n) > 0 for n in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=NxCxHxW, such as image=1x3x512x1024")
    return name, tuple(map(int, numbers))


def three_numbers(text: str) -> tuple[float, float, float]:
    """argparse type: of red, green and blue."""
    try:
        red, green, blue = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers R,G,B") from None
    if not all(map(math.isfinite, (red, green, blue))):
        raise argparse.ArgumentTypeError(f"{text!r} is not three finite numbers R,G,B")
    return red, green, blue
