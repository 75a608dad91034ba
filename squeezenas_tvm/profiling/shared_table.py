"""A device's measurements in one file: a ZIP archive of a profile's folder, with provenance and sums.

What is in it came from outside: names are compared with those that a profile writes, sizes are bounded, sums
and documents are checked before anything stands where the program looks for tables.
"""

import hashlib
import io
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from cost_models.database import profiled_networks
from cost_models.database.table import HEADER, ROWS, LatencyTable
from cost_models.device_models import fitted_device
from cost_models.errors import CostModelError, IncompatibleTable
from cost_models.kernel_models import predictor
from cost_models.lookup import cost_model, results_folder
from cost_models.network_models import energy, network_model
from squeezenas_tvm.about import __version__
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.measure import SAMPLES
from targets import Target, load_target
from targets.support.document import Document
from targets.support.files import InTheWay, now_utc, refuse_others, sha256
from targets.support.folders import whole_folder

PROVENANCE = "provenance.json"
FILES = (
    *(HEADER, ROWS, predictor.MANIFEST, predictor.TREES, network_model.MODEL, network_model.NETWORKS),
    *(profiled_networks.FILE, energy.FILE, fitted_device.FILE),
)
_MOST_BYTES = 1 << 28  # of a file
_MOST_STORE_BYTES = 1 << 34  # of measurements
_BLOCK = 1 << 20
_DAMAGED = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)  # that zipfile raises
_TIME = (1980, 1, 1, 0, 0, 0)  # in the archive: equal folders give equal archives but for the provenance


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Provenance(Document):
    """``provenance.json`` of an archive.

    Attributes:
        at: when it was made, ISO 8601.
        target, machine, fingerprint: of the table.
        rows: kernels that it knows.
        files: sums and sizes by name.
    """

    WHAT: ClassVar[str] = "the provenance of a shared table"
    SCHEMA: ClassVar[int] = 1
    REFUSAL = UsageError
    AGAIN: ClassVar[str] = "export the table again"

    at: str
    target: str
    machine: str | None
    fingerprint: dict[str, Any]
    rows: Annotated[int, Field(ge=0)]
    files: dict[str, _File]


@dataclass(frozen=True)
class SharedTable:
    """An archive that was written, or read.

    Attributes:
        file: the archive.
        folder: of the profile.
        provenance: what the archive says of itself.
    """

    file: Path
    folder: Path
    provenance: Provenance


def export_table(folder: Path, out: Path, *, measurements: bool = False) -> SharedTable:
    """Write what a profile left in ``folder`` into one file.

    Args:
        out: a .zip file; one that an export wrote is replaced.
        measurements: also all that was ever measured there, with the schedules that were tried.

    Raises:
        IncompatibleTable: no table in ``folder``, or a damaged one.
        UsageError: ``out`` is no .zip, or cannot be written; no measurements.
        InTheWay: another file is there.
    """
    if out.suffix != ".zip":
        raise UsageError(f"--out {out}: must end in .zip")
    if out.exists() and not _is_archive(out):
        refuse_others([out], "name another --out")
    table = LatencyTable.load(folder)
    names = [name for name in FILES if (folder / name).is_file()]
    with tempfile.TemporaryDirectory() as scratch:
        sources = {name: folder / name for name in names}
        if measurements:
            sources[SAMPLES] = _copied_store(folder / SAMPLES, Path(scratch) / SAMPLES)
        provenance = Provenance(
            schema_version=Provenance.SCHEMA,
            made_by=f"squeezenas-tvm {__version__}",
            at=now_utc(),
            target=table.target,
            machine=table.machine,
            fingerprint=dict(table.fingerprint),
            rows=len(table.rows),
            files={name: _described(path) for name, path in sources.items()},
        )
        partial = out.with_name(f"{out.name}.partial")
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            _write(partial, provenance, sources)
            partial.replace(out)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise UsageError(f"{out}: cannot be written ({error.strerror}); name another --out") from None
    return SharedTable(out, folder, provenance)


def import_table(file: Path, out: Path | None = None, target: Target | None = None) -> SharedTable:
    """Check what another export wrote, and put it where tables are looked for.

    Args:
        out: folder for it, which is not there yet; ``results/TARGET`` when None.
        target: that it must be of; the one of its name when None.

    Raises:
        UsageError: no such archive, one of a newer schema, damaged, or with files that no profile writes.
        UnknownTarget: nobody here knows its target; give the target's file.
        IncompatibleTable: of another target, or of another processor than this machine's where it is of this
            machine's kind, or damaged.
        InTheWay: something is at ``out``.
    """
    with _opened(file) as archive:
        provenance = _provenance(file, archive)
        known = target or load_target(provenance.target)
        place = results_folder(known.name, out)

        def check() -> None:
            if place.exists() and (not place.is_dir() or any(place.iterdir())):
                raise InTheWay(
                    f"{place}: there already; name another folder with --out, and give it to --table"
                )

        try:
            with whole_folder(place, check) as folder:
                for name, told in provenance.files.items():
                    _unpack(file, archive, name, told, folder / name)
                _check_fits(known, folder, file)
        except OSError as error:
            raise UsageError(f"{place}: cannot be written ({error.strerror}); name another --out") from None
    return SharedTable(file, place, provenance)


def _check_fits(target: Target, folder: Path, file: Path) -> None:
    """Raises IncompatibleTable, naming the archive, where ``cost_model`` would not use what is in it."""
    try:
        cost_model(target, folder)
    except CostModelError as error:
        raise IncompatibleTable(str(error).replace(str(folder), str(file))) from None


def _copied_store(path: Path, copy: Path) -> Path:
    """As it is at one moment, whoever writes to it."""
    if not path.is_file():
        raise UsageError(f"{path}: no measurements; leave --measurements out")
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as store, closing(sqlite3.connect(copy)) as other:
            store.backup(other)
    except sqlite3.Error as error:
        raise UsageError(f"{path}: cannot be read ({error}); leave --measurements out") from None
    return copy


def _described(path: Path) -> _File:
    return _File(sha256=sha256(path), bytes=path.stat().st_size)


def _write(partial: Path, provenance: Provenance, sources: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        text = provenance.model_dump_json(indent=1) + "\n"
        archive.writestr(zipfile.ZipInfo(PROVENANCE, _TIME), text)
        for name, path in sources.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as packed:
                shutil.copyfileobj(source, packed, _BLOCK)


def _is_archive(path: Path) -> bool:
    """Whether an export wrote it."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return PROVENANCE in archive.namelist()


def _opened(file: Path) -> zipfile.ZipFile:
    if not file.is_file():
        raise UsageError(f"{file}: no such file; give what `table export` wrote")
    try:
        return zipfile.ZipFile(file)
    except (*_DAMAGED, OSError) as error:
        raise UsageError(f"{file}: no archive ({error}); give what `table export` wrote") from None


def _provenance(file: Path, archive: zipfile.ZipFile) -> Provenance:
    """Raises UsageError where the archive is not as `export_table` makes it."""
    names = archive.namelist()
    if PROVENANCE not in names:
        raise UsageError(f"{file}: has no {PROVENANCE}; give what `table export` wrote")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / PROVENANCE
        path.write_bytes(_bounded(file, archive, PROVENANCE, _MOST_BYTES))
        try:
            provenance = Provenance.load(path)
        except UsageError as error:
            raise UsageError(str(error).replace(str(path), f"{file}: {PROVENANCE}")) from None
    allowed = {*FILES, SAMPLES}
    if sorted(names) != sorted([PROVENANCE, *provenance.files]) or not allowed >= provenance.files.keys():
        odd = sorted({*names} ^ {PROVENANCE, *provenance.files} or provenance.files.keys() - allowed)
        named = ", ".join(odd[:5]) or "a name twice"
        raise UsageError(f"{file}: damaged, or holds what no profile writes: {named}; export the table again")
    if not {HEADER, ROWS} <= provenance.files.keys():
        raise UsageError(f"{file}: has no {HEADER} with {ROWS}; export the table again")
    return provenance


def _bounded(file: Path, archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    whole = io.BytesIO()
    _copy(file, archive, name, most_bytes, whole)
    return whole.getvalue()


def _unpack(file: Path, archive: zipfile.ZipFile, name: str, told: _File, place: Path) -> None:
    """Raises UsageError where a file is another than the provenance tells."""
    most = _MOST_STORE_BYTES if name == SAMPLES else _MOST_BYTES
    with place.open("wb") as out:
        digest = _copy(file, archive, name, min(most, told.bytes), out)
    if digest != told.sha256:
        raise UsageError(f"{file}: {name} differs from its checksum in {PROVENANCE}; copy it again")


def _copy(file: Path, archive: zipfile.ZipFile, name: str, most_bytes: int, out: IO[bytes]) -> str:
    """SHA-256 of what was copied; no more than ``most_bytes`` are, whatever the archive says of its size."""
    digest, left = hashlib.sha256(), most_bytes
    for block in _blocks(file, archive, name):
        left -= len(block)
        if left < 0:
            raise UsageError(f"{file}: {name} is larger than it should be; export the table again")
        digest.update(block)
        out.write(block)
    return digest.hexdigest()


def _blocks(file: Path, archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """What an archive holds under a name. Raises UsageError where that is damaged."""
    try:
        with archive.open(name) as packed:
            while block := packed.read(_BLOCK):
                yield block
    except (*_DAMAGED, OSError) as error:  # OSError: a place before the beginning
        raise UsageError(f"{file}: {name} is damaged ({error}); copy it again") from None
