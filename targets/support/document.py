"""JSON files that are kept: each says its schema and its origin, and a newer one is refused."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict

from targets.support.files import FailedWrite, write_whole
from targets.support.strict_yaml import Refusal, parse_document

Kept = TypeVar("Kept", bound="Document")
_HEAD_BYTES = 1000
_MOST_BYTES = 1 << 30  # far above any of ours; what is larger is none of them

__all__ = ["Document", "DocumentWithFiles", "FailedWrite", "is_document"]


class Document(BaseModel):
    """Base of what is kept as JSON. A subclass names itself, its schema, its refusal and its remedy.

    Attributes:
        WHAT: names the kind of document in errors: ``a table of latencies``.
        SCHEMA: the newest schema that is written; older ones are read through ``upgraded``.
        REFUSAL: what ``load`` raises.
        AGAIN: how a document that cannot be read comes back: ``profile again``.
        schema_version: of this document.
        made_by: program and what it was asked for; empty in documents of before it was kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    WHAT: ClassVar[str]
    SCHEMA: ClassVar[int]
    REFUSAL: ClassVar[Refusal]
    AGAIN: ClassVar[str]

    schema_version: int
    made_by: str = ""

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """A document of an older schema as the newest one says it; in memory, the file stays."""
        return raw

    @classmethod
    def load(cls: type[Kept], path: Path) -> Kept:
        """Read and check. Raises ``REFUSAL``: none there, damaged (all faults), or of a newer schema."""
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise cls.REFUSAL(f"{path}: too large for {cls.WHAT}; {cls.AGAIN}")
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise cls.REFUSAL(f"{path}: {cls.WHAT} cannot be read ({error.strerror}); {cls.AGAIN}") from None
        except UnicodeDecodeError:
            raise cls.REFUSAL(f"{path}: damaged, no text in UTF-8; {cls.AGAIN}") from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls: type[Kept], text: str, where: str) -> Kept:
        """As ``load``, of text that ``where`` names in errors."""
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise cls.REFUSAL(f"{where}: damaged, not JSON ({error}); {cls.AGAIN}") from None
        if not isinstance(raw, dict):
            raise cls.REFUSAL(f"{where}: damaged, {cls.WHAT} is a JSON object; {cls.AGAIN}")
        version = raw.setdefault("schema_version", 1)  # the first documents did not say
        if not isinstance(version, int) or version < 1:
            raise cls.REFUSAL(f"{where}: damaged, schema_version is {version!r}; {cls.AGAIN}")
        if version > cls.SCHEMA:
            raise cls.REFUSAL(
                f"{where}: schema {version}, this program reads {'1 to ' * (cls.SCHEMA > 1)}{cls.SCHEMA}; "
                f"update squeezenas_tvm, or {cls.AGAIN}"
            )
        return parse_document(cls.upgraded(raw), where, cls, lambda said: cls.REFUSAL(f"{said}; {cls.AGAIN}"))

    def save(self, path: Path) -> None:
        """Write it whole. Raises FailedWrite."""
        text = json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False)
        write_whole(path, text + "\n", self.WHAT)


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
        path, refusal = folder / name, type(self).REFUSAL
        try:
            content = path.read_bytes()
        except OSError as error:
            raise refusal(f"{path}: cannot be read ({error.strerror}); {self.AGAIN}") from None
        if hashlib.sha256(content).hexdigest() != self.sha256.get(name):
            raise refusal(f"{path}: differs from its checksum in {self.FILE}; {self.AGAIN}")
        return content
