"""The page of a folder while something is at work there: made anew when files change, shown here alone.

A page is made whole before anybody gets it, and until the next one is whole the last one stays. What is asked
comes to a thread that takes what is there; nothing but two paths is answered, and no other host's name.
"""

import contextlib
import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.reports.page import PageSection, Report, allowed, paragraph
from squeezenas_tvm.reports.write import page_text, report_of
from targets.support.interrupts import HeldInterrupts, termination_stops

ADDRESS = "127.0.0.1"
_NAMES = (ADDRESS, "localhost")  # of this machine: another name in a request is a page elsewhere that asks
_WATCHED = (".csv", ".json", ".jsonl", ".yaml", ".sqlite", ".sqlite-wal", ".png", ".jpg")
_POLL_S = 1.0
_SHARE = (
    20.0  # times as long as making a page took until the next: what is measured beside it must not suffer
)
_STORE = "measurements.sqlite"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Made:
    content: bytes
    version: str


class LivePage:
    """The page of a folder, as it was last made; threads may ask for it.

    Args:
        folder: that profile, search or train writes into; empty at first.

    Raises UsageError: no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(
                f"{folder}: no such folder; give the one that profile, search or train writes into"
            )
        self._folder = folder
        self.took_s = 0.0
        self._made = _Made(b"", "")
        self.refresh()

    @property
    def made(self) -> _Made:
        """The last whole page."""
        return self._made

    def refresh(self) -> bool:
        """Make it anew if files have changed since. What cannot be shown is said on the page."""
        version = _version(self._folder)
        if version == self._made.version:
            return False
        started_s = time.monotonic()
        try:
            report = report_of(self._folder)[1]
        except Exception as error:
            if getattr(error, "exit_code", None) is None and not isinstance(error, OSError):
                raise
            report = _waiting(self._folder, str(error))
        self._made = _Made(page_text(report, self._folder, version).encode(), version)
        self.took_s = time.monotonic() - started_s
        return True


def serve_page(folder: Path, port: int = 0, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve the page of a folder on this machine's loopback until Ctrl-C or SIGTERM.

    Args:
        folder: that profile, search or train writes into; it may still be empty.
        port: 0 for one that is free.
        ready: is told the page's address; the log is, without it.

    Raises:
        UsageError: no such folder, or the port is taken.
        KeyboardInterrupt: it was asked to end.
    """
    with termination_stops():
        with HeldInterrupts():
            live = LivePage(folder)
        with _served(live, port) as address:
            (ready or _say)(address)
            while True:
                time.sleep(max(_POLL_S, _SHARE * live.took_s))
                with HeldInterrupts():  # what draws may be inside C++
                    live.refresh()


def _say(address: str) -> None:
    log.info("page: %s (Ctrl-C ends it)", address)


@contextlib.contextmanager
def _served(live: LivePage, port: int) -> Iterator[str]:
    """Answers in the block; gives the address."""
    try:
        server = _Server((ADDRESS, port), _Handler)
    except OSError as error:
        raise UsageError(
            f"--port {port}: cannot be listened on ({error.strerror}); name another, or leave it out"
        ) from None
    server.live = live
    thread = threading.Thread(target=server.serve_forever, name="page", daemon=True)
    thread.start()
    try:
        yield f"http://{ADDRESS}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    live: LivePage


class _Handler(BaseHTTPRequestHandler):
    """``/`` is the page, ``/version`` what changes with it."""

    server: _Server
    server_version, sys_version = "squeezenas-tvm", ""
    timeout = 30.0  # seconds for what is asked

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        host = self.headers.get("Host", "").partition(":")[0]
        if host not in _NAMES:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"ask this machine by its own name\n")
        elif self.path == "/":
            self._send(HTTPStatus.OK, "text/html", self.server.live.made.content)
        elif self.path == "/version":
            self._send(HTTPStatus.OK, "text/plain", self.server.live.made.version.encode())
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is one page: /\n")

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # who asked has left
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Content-Security-Policy", f"{allowed(served=True)}; frame-ancestors 'none'")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("%s: %s", self.address_string(), format % args)


def _version(folder: Path) -> str:
    """Changes with what is in the folder, and in the folders in it."""
    told = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted((*folder.glob("*"), *folder.glob("*/*"))):
        if path.suffix in _WATCHED:
            with contextlib.suppress(OSError):  # it is gone again
                status = path.stat()
                told.update(f"{path}\0{status.st_mtime_ns}\0{status.st_size}\0".encode(errors="replace"))
    return told.hexdigest()[:16]


def _waiting(folder: Path, why: str) -> Report:
    """What is shown of a folder that cannot be shown yet."""
    stored = _stored(folder / _STORE)
    content = paragraph("This page loads itself anew when files in the folder change.")
    return Report(f"Nothing to show of {folder.name} yet", why, [PageSection("Wait", content)], {}, stored)


def _stored(path: Path) -> list[tuple[str, str]]:
    """How far a profile is that has not ended; nothing where that cannot be told."""
    if not path.is_file():
        return []
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as store:
            counts = [
                (store.execute(f"SELECT count(*) FROM {table}").fetchone()[0], what)
                for table, what in (("trials", "trials stored"), ("measurements", "careful timings stored"))
            ]
    except sqlite3.Error:
        return []
    return [(str(count), what) for count, what in counts]
