"""Files from outside: read whole, or refused with the reason."""

import os
from pathlib import Path

import pytest

from targets.support.reading import read_bytes, read_text


class Refused(Exception):
    pass


def test_text_with_and_without_a_mark(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfgr\xc3\xbcn")
    assert read_text(tmp_path / "a", Refused) == "grün"
    assert read_bytes(tmp_path / "a", Refused, most_bytes=8) == (tmp_path / "a").read_bytes()


def test_what_cannot_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"12345")
    (tmp_path / "binary").write_bytes(b"ab\xff")
    os.mkfifo(tmp_path / "pipe")  # which nobody writes to
    expected = {
        "absent": "absent: a note cannot be read (No such file or directory)",
        "l" * 300: "a note cannot be read (File name too long)",
        "zero\0byte": "cannot be read (embedded null byte)",
        ".": "a note cannot be read (",
        "pipe": "pipe: a note cannot be read (no regular file)",
        "large": "large: larger than 0 KiB, the most that is read of a note",
        "binary": "binary: damaged, no text in UTF-8 (byte 2)",
    }
    for name, said in expected.items():
        with pytest.raises(Refused) as caught:
            read_text(tmp_path / name, Refused, what="a note", most_bytes=4)
        assert said in str(caught.value)
    with pytest.raises(Refused, match="no regular file"):
        read_bytes(Path("/dev/zero"), Refused)
