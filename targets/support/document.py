"""JSON files that are kept: each says its schema and its origin, and a newer one is refused."""

import json
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict

from targets.support.files import FailedWrite, write_whole
from targets.support.strict_yaml import Refusal, parse_document

Kept = TypeVar("Kept", bound="Document")
_MOST_BYTES = 1 << 30  # far above any of ours; what is larger is none of them

__all__ = ["Document", "FailedWrite"]


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

    model_config = ConfigDict(frozen=True, extra="forbid")

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
                f"{where}: schema {version}, this program reads 1 to {cls.SCHEMA}; "
                f"update squeezenas_tvm, or {cls.AGAIN}"
            )
        return parse_document(cls.upgraded(raw), where, cls, cls.REFUSAL)

    def save(self, path: Path) -> None:
        """Write it whole. Raises FailedWrite."""
        text = json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False)
        write_whole(path, text + "\n", self.WHAT)
