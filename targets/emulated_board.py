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
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from targets.errors import BoardNotBuilt, MissingTool
from targets.support.commands import module_line
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
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TMPDIR") if name in os.environ}
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
    for left in folder.parent.glob(f".{folder.name}-*"):  # by one that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        work, old = Path(scratch) / "new", Path(scratch) / "old"
        root = work / "root"
        root.mkdir(parents=True)
        _unpack_debian(Path(scratch), root)
        _install_wheels(work / "site", _python(root))
        _tell("loading TVM there, which is faster ever after")
        _run(command(work, ["-c", "import targets.tvm_import"]), environment(work))
        (work / _CONTENTS).write_text(_contents(), encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        work.rename(folder)


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
    pip = [sys.executable, "-m", "pip", "install", *quiet, "--no-deps", *options, "--target", str(site)]
    _run([*pip, *_contents().split()])


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
