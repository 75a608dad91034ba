"""A real browser, spoken to over a pipe by the Chrome DevTools protocol."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_S = 120.0
_WORDS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)

# Text that leaves its picture, and what leaves the window where nothing scrolls.
CUT_OFF = """(() => {
  const found = [];
  const inside = (one, frame, what) => {
    if (one.left < frame.left - 1 || one.right > frame.right + 1 || one.top < frame.top - 1
        || one.bottom > frame.bottom + 1) found.push(what);
  };
  for (const text of document.querySelectorAll("svg text")) {
    let svg = text.ownerSVGElement;
    while (svg.ownerSVGElement) svg = svg.ownerSVGElement;
    inside(text.getBoundingClientRect(), svg.getBoundingClientRect(), `picture: ${text.textContent}`);
  }
  for (const one of document.querySelectorAll("main *, header *")) {
    const { left, right } = one.getBoundingClientRect();
    if (!one.closest(".scroll") && !one.closest("svg") && (left < -1 || right > innerWidth + 1))
      found.push(`window: ${one.tagName} ${one.textContent.slice(0, 40)}`);
  }
  if (document.scrollingElement.scrollWidth > innerWidth) found.push("the page scrolls sideways");
  return found;
})()"""
NOT_DRAWN = """[...document.querySelectorAll("svg[data-frame]")].filter((svg) => {
  const { width, height } = svg.getBoundingClientRect();
  const marks = [...svg.querySelectorAll(".dot, .line, .area, .part")];
  const buttons = svg.closest("figure").querySelectorAll("button").length;
  return width < 200 || height < 30 || !marks.length || (buttons !== 3 && !svg.closest(".strip"));
}).length"""


def find_browser() -> str:
    """Its path; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("no browser here; as root: apt-get install chromium")
    return found


class Browser:
    """One that runs until the block ends, with one tab."""

    def __init__(self, folder: Path) -> None:
        self._out, theirs_in = os.pipe()[::-1]
        theirs_out, self._in = os.pipe()[::-1]
        words = [find_browser(), *_WORDS, f"--user-data-dir={folder}", "about:blank"]
        shell = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, *words],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer, self._count, self._session = b"", 0, ""
        self.complaints: list[str] = []
        (page,) = [one for one in self("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        told = self._sent(method, **params)
        assert "refused" not in told, (method, told)
        return told

    def _sent(self, method: str, **params: Any) -> dict[str, Any]:
        """A command's result, or that it was refused."""
        self._count += 1
        about = {"sessionId": self._session} if self._session else {}
        message = {"id": self._count, "method": method, "params": params, **about}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (told := self._next()).get("id") != self._count:
            pass
        result: dict[str, Any] = told["result"] if "result" in told else {"refused": told["error"]}
        return result

    def _next(self) -> dict[str, Any]:
        """A message; complaints are kept."""
        give_up_at = time.monotonic() + _PATIENCE_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(give_up_at - time.monotonic(), 0))
            assert ready, "the browser is silent"
            read = os.read(self._in, 1 << 20)
            assert read, "the browser has ended"
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\0")
        told: dict[str, Any] = json.loads(line)
        params = told.get("params", {})
        if told.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        if told.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])
        return told

    def see(
        self, address: str, width: int, *, height: int = 900, dark: bool = False, media: str = "screen"
    ) -> None:
        """Load a page in a window of that size, as light or dark as its user likes it; waits for its end."""
        self.complaints.clear()
        phone = {"deviceScaleFactor": 1, "mobile": width < 600}
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, **phone)
        liked = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", media=media, features=[liked])
        self("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def wait_for(self, expression: str) -> None:
        """Until it is true."""
        give_up_at = time.monotonic() + _PATIENCE_S
        while not self._sent("Runtime.evaluate", expression=expression).get("result", {}).get("value"):
            assert time.monotonic() < give_up_at, expression  # between two pages there is none to ask
            time.sleep(0.05)

    def tell(self, expression: str) -> Any:
        """The value of JavaScript, as JSON holds it."""
        told = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """``mouseMoved``, ``mousePressed`` or ``mouseReleased``, at a place in the window."""
        self("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the left button held down."""
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, button="left", buttons=1, clickCount=1)
        self.mouse("mouseMoved", *end, button="left", buttons=1)
        self.mouse("mouseReleased", *end, button="left", clickCount=1)

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=True)["data"]))
