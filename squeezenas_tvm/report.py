"""``report DIR|NETWORK``: one HTML page of what was made or of a network, with nothing outside itself."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from squeezenas_tvm.cli import Result, leave, run_command
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.options import add_shapes, add_table, whole_number

if TYPE_CHECKING:
    from squeezenas_tvm.reports.write import WrittenReport

EXAMPLE = (
    "squeezenas-tvm report results/local-cpu\n"
    "squeezenas-tvm report results/search-local-cpu --out page.html\n"
    "squeezenas-tvm report results/search-local-cpu --serve --port 8080\n"
    "squeezenas-tvm report net.onnx --target jetson-xavier"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "what",
        metavar="DIR|NETWORK",
        help="what profile, search, train, evaluate or run --profile wrote; with --target an architecture by "
        "name or YAML file, or an ONNX file",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.html",
        help="the page (default DIR/report.html, of a network NAME-TARGET.html)",
    )
    of_network = parser.add_argument_group("of a network")
    of_network.add_argument("--target", help="device: a name, or a YAML file")
    add_table(of_network)
    of_network.add_argument(
        "--resolution",
        metavar="HxW",
        help="height and width of the image, pixels (default 1024x2048; of an ONNX file its own)",
    )
    add_shapes(of_network)
    parser.add_argument(
        "--serve",
        action="store_true",
        help="write no file: show the page at an address of this machine alone, and anew whenever files in "
        "DIR change, until Ctrl-C",
    )
    parser.add_argument(
        "--port", type=_port, metavar="N", help="of that address (default: one that is free, as with 0)"
    )


def _port(text: str) -> int:
    return whole_number(text, 0, 65535)


def execute(args: argparse.Namespace) -> Result:
    """Read the folder, write the page; or serve it until Ctrl-C. Or write the page of a network."""
    if args.serve:
        return _serve(args)
    if args.port is not None:
        raise UsageError("--port is of a page that is served; add --serve")
    written = _network(args) if args.target is not None else _folder(args)
    report, page = written.report, written.page
    document = {"kind": written.kind, "folder": args.what, "page": str(page), **report.document}
    if written.kind == "network":
        document["network"] = document.pop("folder")
    size_kb = page.stat().st_size / 1e3
    return Result(document=document, text=f"{report.title}: {report.summary}\nPage: {page}, {size_kb:.0f} kB")


def _folder(args: argparse.Namespace) -> "WrittenReport":
    from search.architecture import list_architectures
    from squeezenas_tvm.bundles.network_files import is_onnx
    from squeezenas_tvm.reports.write import write_report
    from targets.support.commands import command_line
    from targets.support.strict_yaml import YAML_SUFFIXES

    folder = Path(args.what)
    given = {"--table": args.table, "--resolution": args.resolution, "--shape": args.shape}
    if wrong := [option for option, value in given.items() if value]:
        raise UsageError(f"{', '.join(wrong)}: of the page of a network, which takes --target TARGET, too")
    known = is_onnx(folder) or folder.suffix in YAML_SUFFIXES or args.what in list_architectures()
    if known and not folder.is_dir():
        example = command_line("report", args.what, "--target", "local-cpu")
        raise UsageError(f"{args.what}: a network; its page is of a device, such as: {example}")
    return write_report(folder, args.out)


def _network(args: argparse.Namespace) -> "WrittenReport":
    from search.resolution import Resolution
    from squeezenas_tvm.reports.write import write_network_report
    from targets import load_device

    if Path(args.what).is_dir():
        raise UsageError(f"{args.what}: a folder, which knows its target; leave --target out")
    return write_network_report(
        args.what,
        load_device(args.target),
        args.out,
        resolution=Resolution.read(args.resolution) if args.resolution else None,
        shapes=dict(args.shape),
        table=args.table,
    )


def _serve(args: argparse.Namespace) -> Result:
    """Until Ctrl-C."""
    from squeezenas_tvm.reports.live import serve_page

    for name, given in (
        ("--out", args.out is not None),
        ("--json", args.json),
        ("--target", args.target is not None),
    ):
        if given:
            raise UsageError(f"{name} and --serve do not go together; leave one of them out")
    serve_page(Path(args.what), args.port or 0)
    return Result(document={"folder": args.what}, text=f"{args.what} is no longer served")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("report", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


if __name__ == "__main__":
    leave(main())
