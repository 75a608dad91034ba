"""JSON files that are kept: each says its schema and its origin, and a newer one is refused."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict

from targets.support.files import FailedWrite, write_whole
from targets.support.reading import Refusal, read_bytes, read_text
from targets.support.strict_json import json_text, parse_json
from targets.support.strict_yaml import parse_document, spelled_short

Kept = TypeVar("Kept", bound="Document")
_HEAD_BYTES = 1000

__all__ = ["Document", "DocumentWithFiles", "FailedWrite", "is_document"]


class Document(BaseModel):
    """Base of what is kept as JSON. A subclass names itself, its schema, its refusal and its remedy.

    Attributes:
        WHAT: names the kind of document in errors: ``a table of latencies``.
        SCHEMA: the newest schema that is written; older ones are read through ``upgraded``.
        REFUSAL: what ``load`` raises.
        AGAIN: how a document that cannot be read comes back: ``profile again``.
        SUMMED: whether the file's ``sha256`` also has a sum of all else that it holds, by its own name, which
            tells of changed numbers; files of before it was kept have none.
        schema_version: of this document.
        made_by: program and what it was asked for; empty in documents of before it was kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    WHAT: ClassVar[str]
    SCHEMA: ClassVar[int]
    REFUSAL: ClassVar[Refusal]
    AGAIN: ClassVar[str]
    SUMMED: ClassVar[bool] = False

    schema_version: int
    made_by: str = ""

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """A document of an older schema as the newest one says it; in memory, the file stays."""
        return raw

    @classmethod
    def check_raw(cls, raw: Mapping[str, Any], where: str) -> None:
        """Raises ``REFUSAL`` for what is whole, and yet of no use to this program."""

    @classmethod
    def load(cls: type[Kept], path: Path) -> Kept:
        """Read and check. Raises ``REFUSAL``: none there, damaged (all faults), or of a newer schema."""
        text = read_text(path, cls._refused, what=cls.WHAT)
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls: type[Kept], text: str, where: str) -> Kept:
        """As ``load``, of text that ``where`` names in errors."""
        try:
            raw = parse_json(text)
        except ValueError as error:
            raise cls._refused(f"{where}: damaged, not JSON ({error})") from None
        if not isinstance(raw, dict):
            raise cls._refused(f"{where}: damaged, {cls.WHAT} is a JSON object")
        version = raw.setdefault("schema_version", 1)  # the first documents did not say
        if type(version) is not int or version < 1:
            raise cls._refused(f"{where}: damaged, schema_version is {spelled_short(version)}")
        if version > cls.SCHEMA:
            raise cls.REFUSAL(
                f"{where}: schema {version}, this program reads {'1 to ' * (cls.SCHEMA > 1)}{cls.SCHEMA}; "
                f"update squeezenas_tvm, or {cls.AGAIN}"
            )
        own = cls._own_sum(raw, Path(where).name)
        if own is not None and own != _sum(raw):
            raise cls._refused(f"{where}: damaged, its content differs from its own checksum")
        cls.check_raw(raw, where)
        return parse_document(cls.upgraded(raw), where, cls, cls._refused)

    @classmethod
    def _own_sum(cls, raw: dict[str, Any], name: str) -> Any:
        """What the file says is its sum, taken out of what it holds."""
        sums = raw.get("sha256")
        if not isinstance(sums, dict):
            return None
        own = sums.pop(name, None)
        if not sums and "sha256" not in cls.model_fields:
            del raw["sha256"]
        return own

    @classmethod
    def _refused(cls, said: str) -> Exception:
        return cls.REFUSAL(f"{said}; {cls.AGAIN}")

    def save(self, path: Path) -> None:
        """Write it whole. Raises FailedWrite, and NotFinite where a number is none."""
        raw = json.loads(json_text(self.model_dump(mode="json")))
        if self.SUMMED:
            raw["sha256"] = {**raw.get("sha256", {}), path.name: _sum(raw)}
        write_whole(path, json_text(raw, indent=1) + "\n", self.WHAT)


def is_document(path: Path) -> bool:
    """Whether a file begins as one that is kept here, damaged or not."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b'"schema_version"' in file.read(_HEAD_BYTES)


class DocumentWithFiles(Document):
    """Base of a document that lies beside other files of its folder and holds their sums.

    Attributes:
        FILE: its own name.
        sha256: of each of the other files, by name.
    """

    FILE: ClassVar[str]

    sha256: dict[str, str]

    @staticmethod
    def sums(files: Mapping[str, str]) -> dict[str, str]:
        """The field ``sha256`` for files of that text."""
        return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}

    def save_with(self, folder: Path, files: Mapping[str, str]) -> None:
        """Write the files, then the document: it never tells of what is not there. Raises FailedWrite."""
        for name, text in files.items():
            write_whole(folder / name, text, self.WHAT)
        self.save(folder / self.FILE)

    def content(self, folder: Path, name: str) -> bytes:
        """One of the files. Raises ``REFUSAL``: it cannot be read, or is another one than was saved."""
        path = folder / name
        content = read_bytes(path, self._refused)
        if hashlib.sha256(content).hexdigest() != self.sha256.get(name):
            raise self._refused(f"{path}: differs from its checksum in {self.FILE}")
        return content


def _sum(raw: Mapping[str, Any]) -> str:
    """Hex digest of what a document holds, however it is spaced."""
    return hashlib.sha256(json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
