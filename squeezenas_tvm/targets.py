"""``targets``: the devices that networks can be built for, and what is missing for one of them."""

import argparse
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from squeezenas_tvm.cli import Result, leave, run_command, table
from squeezenas_tvm.errors import UsageError

if TYPE_CHECKING:
    from targets import PublishedDevice, Target

EXAMPLE = (
    "squeezenas-tvm targets\nsqueezenas-tvm targets local-cpu\nsqueezenas-tvm targets check jetson-xavier"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "name",
        nargs="*",
        metavar="[check] NAME",
        help="one device in full: a name, or a YAML file of your own; with check before it: what it needs, "
        "what of that is there, and how to get the rest (exit code 1 if something is missing)",
    )
    parser.add_argument("--tracker", metavar="HOST:PORT", help="for check: the TVM RPC tracker of a board")


def execute(args: argparse.Namespace) -> Result:
    """List all devices, describe one, or check what one needs."""
    from targets import PublishedDevice, list_published, list_targets, load_device, load_target

    checking = len(args.name) == 2 and args.name[0] == "check"
    if (len(args.name) > 1 and not checking) or args.name == ["check"]:
        raise UsageError(_wrong_words(args.name, (*list_targets(), *list_published())))
    if args.tracker and not checking:
        raise UsageError("targets: --tracker is for: targets check NAME --tracker HOST:PORT")
    if checking:
        return _check(load_target(args.name[1]), args.tracker)
    if args.name:
        device = load_device(args.name[0])
        return _published(device) if isinstance(device, PublishedDevice) else _describe(device)
    found = [load_target(name) for name in list_targets()]
    others = [load_device(name) for name in list_published()]
    document = {"targets": [t.model_dump(exclude_none=True) for t in (*found, *others)]}
    rows: list[tuple[str, ...]] = [(t.name, t.kind, ", ".join(t.dtypes), t.summary) for t in found]
    rows += [(t.name, t.kind, "-", t.summary) for t in others]
    return Result(document=document, text=table(("name", "kind", "dtypes", "what it is"), rows))


def _wrong_words(words: Sequence[str], known: Sequence[str]) -> str:
    from targets.support.text import near_miss

    hint = near_miss(words[0], ["check"]) if words[0] != "check" else ""
    return (
        f"targets: found {' '.join(words)!r}{hint}; allowed: nothing, NAME, or check NAME, "
        f"where NAME is one of {', '.join(known)}, or the path of a .yaml file of your own"
    )


def _check(target: "Target", tracker: str | None) -> Result:
    """What the target needs, as a table; exit code 1 where something is missing."""
    from targets.checks import check_target

    checks = check_target(target, tracker)
    missing = [check for check in checks if not check.ok]
    rows = [(c.name, "ok" if c.ok else "MISSING", c.needed_for, c.found) for c in checks]
    lines = [table(("what", "", "needed for", "found"), rows), ""]
    lines += [f"{check.name}: {check.fix}" for check in missing]
    lines.append(f"{target.name}: {_verdict({check.needed_for for check in missing})}")
    if target.caution:
        lines.append(target.caution)
    document = {"target": target.name, "ok": not missing, "checks": [asdict(check) for check in checks]}
    return Result(document=document, text="\n".join(lines), exit_code=1 if missing else 0)


def _verdict(missing: Collection[str]) -> str:
    """What works without these kinds of needs; see ``targets.checks.Check``."""
    from targets.checks import BUILD, FLOAT16, MEASURE

    if BUILD in missing:
        return "nothing can be built for it yet"
    without = [
        *(["float16"] if FLOAT16 in missing else []),
        *(["profile and deploy --trials"] if MEASURE in missing else []),
    ]
    return f"all but {' and '.join(without)} can be done" if without else "all there"


def _published(device: "PublishedDevice") -> Result:
    """Everything the file of a table says."""
    rows = [
        ("name", device.name),
        ("what it is", device.summary),
        ("device", device.model),
        ("conditions", device.conditions),
        ("origin", device.origin),
        ("licence", device.licence),
        ("without", device.without),
        ("remarks", device.remarks or "none"),
        ("reached", "by nobody here; predict, networks and search read its latencies"),
    ]
    text = "\n".join(f"{name:<12} {value}" for name, value in rows)
    return Result(document=device.model_dump(exclude_none=True), text=text)


def _describe(target: "Target") -> Result:
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
    leave(main())
