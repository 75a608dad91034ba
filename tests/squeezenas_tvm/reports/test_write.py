"""A page from Python."""

import shutil
from pathlib import Path

import pytest

from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.reports.write import write_report

from ..helpers import ROOT

SEARCH = ROOT / "benchmarks/results/camvid/search-local-cpu"


def test_the_page_lies_in_the_folder_or_where_it_is_asked_for(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SEARCH, tmp_path / "search"))
    for out in (None, tmp_path / "elsewhere" / "page.html"):
        written = write_report(folder, out)
        assert (written.kind, written.page) == ("search", out or folder / "report.html")
        assert written.report.title in written.page.read_text(encoding="utf-8")


def test_what_is_no_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.html"):
        write_report(SEARCH, tmp_path / "page.pdf")
    with pytest.raises(UsageError, match="no such folder"):
        write_report(tmp_path / "none")
