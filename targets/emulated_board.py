"""A board for those who have none: an arm64 user space in a folder, run by qemu on this machine.

It needs no root: Debian's arm64 packages of Python are fetched with a package database of its own and
unpacked, PyPI's aarch64 wheels of TVM and what its RPC server needs lie beside them; 0.5 GiB in the user's
cache folder, made once. Everything is real but the processor: it proves cross-compiling, RPC and deployment.
Its timings mean nothing.

qemu-user-static must be installed, and the system must be a Debian whose archive has arm64.
"""

import contextlib
import fcntl
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from targets.errors import BoardNotBuilt, MissingTool
from targets.support.child_python import child_python
from targets.support.commands import module_line
from targets.support.folders import whole_folder
from targets.target import load_target

NAME = "emulated-aarch64"
_DEBIAN = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
_WHEELS = (
    *("apache-tvm", "apache-tvm-ffi", "numpy", "ml_dtypes", "typing_extensions"),
    *("cloudpickle", "psutil", "tornado"),  # of TVM's RPC
    *("annotated-types", "pydantic", "pydantic_core", "pyyaml", "typing-inspection"),
)
_PLATFORMS = ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "manylinux_2_28_aarch64")
_HERE = Path(__file__).resolve().parent
_CONTENTS = "contents"
_NAMED = 5  # of what is in the way
SAFE = {"PYTHONSAFEPATH": "1"}  # what Python runs there by ``-m`` is not looked for in the current folder


def default_folder() -> Path:
    """Where the user space is kept: in the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "squeezenas-tvm" / NAME


def find_qemu() -> str:
    """The emulator. Raises MissingTool."""
    found = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if found is None:
        raise MissingTool(
            "no qemu-aarch64 on this machine; on Debian and Ubuntu: apt install qemu-user-static"
        )
    return found


def is_built(folder: Path) -> bool:
    """Whether the user space is there, with packages of the versions that are installed here."""
    contents = folder / _CONTENTS
    return contents.is_file() and contents.read_text(encoding="utf-8") == _contents()


def build(folder: Path) -> None:
    """Make the user space; what is there already, of the same versions, is kept.

    Either all of it stands at ``folder`` afterwards or what was there before does.

    Raises:
        MissingTool: no qemu, or no apt.
        BoardNotBuilt: a package could not be fetched or unpacked, or the folder not be written.
    """
    find_qemu()
    if is_built(folder):
        return
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MissingTool(f"no {tool} on this machine; the emulated board can be built on a Debian")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if not is_built(folder):
                _build(folder)
    except OSError as error:
        raise BoardNotBuilt(
            f"{error.filename or folder}: {error.strerror or error}; make room there or name another --folder"
        ) from error


def command(folder: Path, arguments: Sequence[str]) -> list[str]:
    """Command line that runs Python with ``arguments`` in the user space, see `environment`."""
    root = folder / "root"
    return [find_qemu(), "-L", str(root), str(_python(root)), *arguments]


def environment(folder: Path, packages: Sequence[Path] = (_HERE,)) -> dict[str, str]:
    """Environment variables for it: these packages from here, all others from its own folder.

    Args:
        packages: folders of Python packages that need nothing but what the user space has; at least this one.
    """
    kept = {
        name: os.environ[name]
        for name in ("HOME", "LANG", "PATH", "TMPDIR", "XDG_CONFIG_HOME")
        if name in os.environ
    }
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(_link(packages, folder / "ours")), str(folder / "site")]),
        "TVM_NUM_THREADS": str(load_target(NAME).tvm["num-cores"]),
    }


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process builds in this block."""
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(folder: Path) -> None:
    with whole_folder(folder, lambda: _check_ours(folder)) as work:
        root = work / "root"
        root.mkdir()
        _unpack_debian(work.parent, root)
        _install_wheels(work / "site", _python(root))
        _tell("loading TVM there, which is faster ever after")
        _run(command(work, ["-m", "targets.tvm_import"]), {**environment(work), **SAFE})
        (work / _CONTENTS).write_text(_contents(), encoding="utf-8")


def _check_ours(folder: Path) -> None:
    """Raise BoardNotBuilt where building there would replace anything but an older user space."""
    if not os.path.lexists(folder):
        return
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    contents = folder / _CONTENTS
    if contents.is_file() and contents.read_bytes().startswith(b"apache-tvm=="):
        found -= {"root", "site", "ours", _CONTENTS}
    if found:
        named = ", ".join(sorted(found)[:_NAMED])
        raise BoardNotBuilt(f"{folder}: holds {named}, which is no emulated board; name another --folder")


def _link(packages: Sequence[Path], folder: Path) -> Path:
    """A folder with these packages alone: this machine's other packages may lie beside them."""
    folder.mkdir(exist_ok=True)
    for package in packages:
        link = folder / package.name
        if not link.is_symlink() or link.readlink() != package:
            link.unlink(missing_ok=True)
            link.symlink_to(package)
    return folder


def _unpack_debian(scratch: Path, root: Path) -> None:
    """Fetch packages with all they need, by an apt that knows of no installed package, and unpack them."""
    state, cache = scratch / "state", scratch / "cache"
    for place in (state / "lists" / "partial", cache / "archives" / "partial"):
        place.mkdir(parents=True)
    (state / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "",  # who unpacks also fetches
        "Dir::State": str(state),
        "Dir::State::status": str(state / "status"),
        "Dir::Cache": str(cache),
    }
    apt = ["apt-get", "-qq", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    _tell("fetching Debian's arm64 packages of Python")
    _run([*apt, "update"])
    _run([*apt, "install", "--yes", "--download-only", "--no-install-recommends", *_DEBIAN])
    for package in sorted((cache / "archives").glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(package), str(root)])


def _install_wheels(site: Path, python: Path) -> None:
    version = python.name.removeprefix("python")
    platforms = [part for name in _PLATFORMS for part in ("--platform", name)]
    options = ["--implementation", "cp", "--python-version", version, "--only-binary=:all:", *platforms]
    quiet = ["-q", "--disable-pip-version-check", "--no-input", "--no-compile"]
    _tell(f"fetching aarch64 wheels of TVM and what it needs, for Python {version}")
    wanted = ["--no-deps", *options, "--target", str(site), *_contents().split()]
    _run(child_python("pip", "install", *quiet, *wanted))


def _contents() -> str:
    """NAME==VERSION of every wheel, as installed here."""
    return "\n".join(f"{name}=={importlib.metadata.version(name)}" for name in _WHEELS)


def _python(root: Path) -> Path:
    found = [path for path in (root / "usr" / "bin").glob("python3.*") if not path.is_symlink()]
    if not found:
        raise BoardNotBuilt(
            f"{root}: no Python there; build it: {module_line('squeezenas_tvm.emulated_board', 'build')}"
        )
    return found[0]


def _run(line: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        line, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = [part.strip() for part in (done.stdout + done.stderr).splitlines() if part.strip()]
        errors = [part for part in said if part.startswith(("E:", "ERROR"))]
        reason = next(iter([*errors, *said[-1:]]), "no message")
        raise BoardNotBuilt(
            f"{Path(line[0]).name} failed with {done.returncode}: {reason}; nothing was changed: check that "
            "this machine reaches its package sources, and give the same command again"
        )


def _tell(text: str) -> None:
    sys.stderr.write(f"emulated board: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.stderr.write("error: the command is now: python -m squeezenas_tvm.emulated_board\n")
    sys.exit(2)
