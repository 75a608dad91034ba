"""A page that is served: to this machine alone, whole at all times, anew when files change, until Ctrl-C."""

import http.client
import re
import shutil
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cost_models.database.store import MeasurementStore
from squeezenas_tvm import report
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.reports.live import LivePage, _served
from targets import load_target

from ..browser import Browser
from ..helpers import ROOT, command, fill, finish, kernels_of, quick_target, refused_by

SEARCH = ROOT / "benchmarks/results/camvid/search-local-cpu"
TRAINING = ROOT / "benchmarks/results/camvid/found-local-cpu"
check_refused = partial(refused_by, report.main)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a search whose report is whole."""
    return Path(shutil.copytree(SEARCH, tmp_path / "search"))


class Served:
    """The command, and what it answers."""

    def __init__(self, folder: Path) -> None:
        self.process = command("report", str(folder), "--serve", cwd=folder.parent)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.fullmatch(r"page: (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", line)
        assert found, line
        self.address = found[1]

    def get(self, path: str = "") -> str:
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            content: bytes = answer.read()
        return content.decode()

    def wait_for_another(self, version: str) -> None:
        give_up_at = time.monotonic() + 120
        while self.get("version") == version:
            assert time.monotonic() < give_up_at
            time.sleep(0.05)


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    own = Served(folder)
    yield own
    own.process.kill()
    own.process.communicate()


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_it_is_made_anew_when_files_change_and_ends_with_ctrl_c(folder: Path, served: Served) -> None:
    before, page, version = files(folder), served.get(), served.get("version")
    assert "<h1>Search for local-cpu</h1>" in page
    assert f'data-version="{version}"' in page
    assert "connect-src 'self'" in page
    curves = (folder / "curves.csv").read_text().splitlines(keepends=True)
    (folder / "curves.csv").write_text("".join(curves[:5]))
    served.wait_for_another(version)
    assert served.get() != page
    (folder / "curves.csv").write_text("".join(curves))
    served.process.send_signal(signal.SIGINT)
    code, out, said = finish(served.process, 60)
    assert (code, out) == (130, "")
    assert said.splitlines()[-1] == "stopped: nothing was changed"
    assert files(folder).keys() == before.keys()


def test_sigterm_ends_it_too(served: Served) -> None:
    served.process.send_signal(signal.SIGTERM)
    code, _, said = finish(served.process, 60)
    assert code == 143
    assert said.splitlines()[-1] == "stopped by SIGTERM: nothing was changed"


def test_a_folder_may_be_empty_at_first_and_what_is_damaged_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    live = LivePage(folder)
    assert b"Nothing to show of training yet" in live.made.content
    assert not live.refresh()
    shutil.copytree(TRAINING, folder, dirs_exist_ok=True)
    assert live.refresh()
    assert b"<h1>Training of chosen</h1>" in live.made.content
    (folder / "best.json").write_text("{")
    assert live.refresh()
    assert b"best.json, line 1: not JSON" in live.made.content
    shutil.copy(TRAINING / "best.json", folder)
    assert live.refresh()
    assert b"<h1>Training of chosen</h1>" in live.made.content


def test_a_bug_is_not_hidden(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = LivePage(folder)
    (folder / "more.csv").write_text("")

    def fails(folder: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("squeezenas_tvm.reports.live.report_of", fails)
    with pytest.raises(ZeroDivisionError):
        live.refresh()


def test_no_part_of_a_page_is_ever_served(folder: Path) -> None:
    """While it is made anew as fast as that goes, others ask."""
    live, seen, over = LivePage(folder), set[bytes](), threading.Event()
    curves = (folder / "curves.csv").read_text().splitlines(keepends=True)
    with _served(live, 0) as address:

        def ask() -> None:
            while not over.is_set():
                with urllib.request.urlopen(address, timeout=60) as answer:
                    content: bytes = answer.read()
                seen.add(content)

        asking = [threading.Thread(target=ask) for _ in range(3)]
        for thread in asking:
            thread.start()
        for count in (3, 4, 5, 6):
            (folder / "curves.csv").write_text("".join(curves[:count]))
            assert live.refresh()
            while live.made.content not in seen:
                time.sleep(0.01)
        over.set()
        for thread in asking:
            thread.join()
    assert len(seen) >= 4
    for content in seen:
        assert content.startswith(b"<!DOCTYPE html>")
        assert content.endswith(b"</body>\n</html>\n")


def test_other_names_of_this_machine_and_other_places_are_not_answered(folder: Path) -> None:
    with _served(LivePage(folder), 0) as address:
        port = int(address.rstrip("/").rpartition(":")[2])

        def status(path: str, host: str, method: str = "GET") -> int:
            asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            asked.request(method, path, headers={"Host": host})
            answer = asked.getresponse()
            assert bool(answer.read()) == (method != "HEAD")
            return answer.status

        assert status("/", f"127.0.0.1:{port}") == status("/", f"localhost:{port}") == 200
        assert status("/", f"127.0.0.1:{port}", "HEAD") == 200
        assert status("/", f"evil.example:{port}") == 403
        assert status("/search.json", f"127.0.0.1:{port}") == 404
        assert status("/../search.json", f"127.0.0.1:{port}") == 404
        with socket.socket() as other, pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.2", port))  # as any address but one


def test_refusals(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "no such folder; give the one that profile, search or train writes into"
    check_refused([str(tmp_path / "none"), "--serve"], said, capsys)
    check_refused([str(folder), "--port", "0"], "--port is of a page that is served; add --serve", capsys)
    check_refused([str(folder), "--serve", "--port", "70000"], "at most 65535", capsys)
    given = [str(folder), "--serve", "--out", str(tmp_path / "page.html")]
    check_refused(given, "--out and --serve do not go together", capsys)
    check_refused([str(folder), "--serve", "--json"], "--json and --serve do not go together", capsys)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = f"--port {port}: cannot be listened on (Address already in use); name another"
        check_refused([str(folder), "--serve", "--port", port], said, capsys)
    with pytest.raises(UsageError, match="no such folder"):
        LivePage(folder / "search.json")


def test_a_profile_that_is_under_way_says_how_far_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "profile"
    folder.mkdir()
    target = load_target(quick_target(tmp_path))
    MeasurementStore.open(folder / "measurements.sqlite").close()
    live = LivePage(folder)
    assert b"<b>0</b><span>careful timings stored</span>" in live.made.content
    fill(folder, target, kernels_of()[:5])
    assert live.refresh()
    assert b"<b>5</b><span>careful timings stored</span>" in live.made.content
    assert b"a profile that has not ended" in live.made.content


def test_a_browser_loads_it_anew_by_itself(served: Served, folder: Path, tmp_path: Path) -> None:
    with Browser(tmp_path / "browser") as browser:
        browser.see(served.address, 1200)
        assert "after 34 epochs" in browser.tell("document.querySelector('header p').textContent")
        curves = (folder / "curves.csv").read_text().splitlines(keepends=True)
        (folder / "curves.csv").write_text("".join(curves[:5]))
        browser.wait_for("document.querySelector('header p')?.textContent.includes('after 4 epochs')")
        assert browser.complaints == []
        served.process.send_signal(signal.SIGINT)
        served.process.wait(60)
        time.sleep(2)  # it asks once more, in vain
        assert "after 4 epochs" in browser.tell("document.querySelector('header p').textContent")
