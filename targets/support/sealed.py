"""Text files that this program may write anew: they end in a comment with the sum of all before it.

One that a person wrote, or has changed since, has no such end. It is left as it is.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from targets.support.files import InTheWay, put_whole

YAML, HTML = "# {}\n", "<!-- {} -->\n"  # comments
_WORDS = "written by squeezenas-tvm, sha256 {}"
_SEAL = re.compile(rb"(?:# |<!-- )written by squeezenas-tvm, sha256 ([0-9a-f]{64})(?: -->)?\n\Z")
_MOST_BYTES = 1 << 28  # far above any of ours


def sealed(text: str, comment: str = YAML) -> str:
    """Text with the comment that tells whether it was changed since."""
    text = text if text.endswith("\n") else f"{text}\n"
    return text + comment.format(_WORDS.format(hashlib.sha256(text.encode()).hexdigest()))


def is_sealed(path: Path) -> bool:
    """Whether this program wrote a file, and nobody has changed it since."""
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return False
    content = path.read_bytes()
    seal = _SEAL.search(content)
    return seal is not None and hashlib.sha256(content[: seal.start()]).hexdigest().encode() == seal[1]


def write_sealed(files: Mapping[Path, str], advice: str, comment: str = YAML) -> None:
    """Write texts, each whole; what says the same already is not touched. All or none of them.

    Args:
        advice: what to do about files of others.

    Raises:
        InTheWay: a file there is not this program's, or was changed.
        OSError: no room, or a place that cannot be written.
    """
    new = {path: text for path, text in files.items() if not says(path, text, comment)}
    others = [str(path) for path in new if _is_a_file(path) and not is_sealed(path)]
    if others:
        raise InTheWay(
            f"{', '.join(others)}: would be overwritten, and squeezenas-tvm did not write it so; {advice}"
        )
    for path, text in new.items():
        put_whole(path, sealed(text, comment).encode())


def _is_a_file(path: Path) -> bool:
    return os.path.lexists(path) and not path.is_dir()  # a folder refuses by itself


def says(path: Path, text: str, comment: str = YAML) -> bool:
    """Whether a file holds this text, sealed or not."""
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return False
    return path.read_bytes() in (text.encode(), sealed(text, comment).encode())
