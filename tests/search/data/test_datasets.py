"""Which data set a word names."""

import subprocess
import sys
from pathlib import Path

import pytest

from search.data import open_data
from search.errors import InvalidData, InvalidResolution

from .packagings import camvid_tutorial


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            "camvit:x",
            r"^unknown data set 'camvit', did you mean camvid\?; allowed: camvid:FOLDER, .*synthetic:C",
        ),
        ("", r"^unknown data set ''; allowed: "),
        ("camvid", r"^data set camvid: no folder is named; write camvid:FOLDER$"),
        ("cityscapes:", r"^data set cityscapes:: no folder is named; write cityscapes:FOLDER$"),
        ("cityscapes-coarse:/no/such", r"no folder /no/such; write cityscapes-coarse:FOLDER$"),
        ("camvid:/dev/null", r"^data set camvid:/dev/null: no folder /dev/null; write"),
        ("synthetic:0", r"^data set synthetic:0: write synthetic, synthetic:COUNT or synthetic:COUNT:HxW"),
        ("synthetic:-3", r"^data set synthetic:-3: write"),
        ("synthetic:many", r"^data set synthetic:many: write"),
    ],
)
def test_what_it_does_not_know(spec: str, text: str) -> None:
    with pytest.raises(InvalidData, match=text):
        open_data(spec)


def test_a_size_that_no_network_takes() -> None:
    with pytest.raises(InvalidResolution, match="sides must be 64 to 8192 pixels"):
        open_data("synthetic:4:32x64")


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camvid_tutorial(tmp_path / "camvid")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_data("camvid:~/camvid").name == "camvid"


def test_no_pytorch_is_needed() -> None:
    code = "import sys, search.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
