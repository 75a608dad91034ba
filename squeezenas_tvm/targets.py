"""``targets``: the devices that networks can be built for."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from squeezenas_tvm.cli import Result, run_command, table

EXAMPLE = "squeezenas-tvm targets\nsqueezenas-tvm targets local-cpu"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("name", nargs="?", help="one device in full: a name, or a YAML file of your own")


def execute(args: argparse.Namespace) -> Result:
    """List all devices, or describe one."""
    from targets import list_targets, load_target

    if args.name:
        return _describe(load_target(args.name))
    found = [load_target(name) for name in list_targets()]
    document = {"targets": [t.model_dump(exclude_none=True) for t in found]}
    rows = [(t.name, t.kind, ", ".join(t.dtypes), t.summary) for t in found]
    return Result(document=document, text=table(("name", "kind", "dtypes", "what it is"), rows))


def _describe(target: Any) -> Result:
    """Everything the file says and, for this machine, what was found on it."""
    from targets.local_machine import LocalMachine

    fingerprint = target.fingerprint(target.dtypes[0])
    document = target.model_dump(exclude_none=True) | {
        "fingerprint": fingerprint.as_dict(),
        "digest": fingerprint.digest,
    }
    found = []
    if target.kind == "local":
        machine = LocalMachine.detect()
        document["machine"] = asdict(machine)
        found = [
            ("vectors", ", ".join(machine.vector_extensions)),
            ("memory", f"{machine.memory_bytes / 2**30:.1f} GiB"),
        ]
    rows = [
        ("name", target.name),
        ("what it is", target.summary),
        ("device", fingerprint.device),
        ("cores", str(fingerprint.cores)),
        *found,
        ("power mode", fingerprint.power_mode),
        ("TVM target", fingerprint.tvm_target),
        ("TVM, LLVM", f"{fingerprint.tvm_version}, {fingerprint.llvm_version}"),
        ("dtypes", ", ".join(target.dtypes)),
        ("RPC key", target.rpc.key),
        ("fingerprint", fingerprint.digest),
    ]
    return Result(document=document, text="\n".join(f"{name:<12} {value}" for name, value in rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("targets", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


if __name__ == "__main__":
    sys.exit(main())
