"""Pages in a browser: whole on a phone and on a desk, in the dark and on paper; pointed at and zoomed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from search.resolution import Resolution
from squeezenas_tvm.bundles.kept_run import write_profile
from squeezenas_tvm.bundles.kernel_times import KernelTime, KernelTimes, Peaks
from squeezenas_tvm.bundles.overlay import png
from squeezenas_tvm.reports.charts import Series, chart, row
from squeezenas_tvm.reports.page import PageSection, Report, page, paragraph, table
from squeezenas_tvm.reports.write import write_network_report, write_report
from targets import load_target

from ..browser import CUT_OFF, NOT_DRAWN, Browser
from ..helpers import ROOT

HOSTILE = '"><script>window.ran = 1</script><img src=x onerror="window.ran = 2">&amp;'
RESULTS = ROOT / "benchmarks/results/camvid"
FOLDERS = {
    "profile": ROOT / "cost_models/local-cpu",
    "search": RESULTS / "search-local-cpu",
    "training": RESULTS / "found-local-cpu",
}
KINDS = (*FOLDERS, "run", "network")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def pages(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of the pages of a profile, a search and a training that are kept here, and of a network."""
    out = tmp_path_factory.mktemp("pages")
    folders = FOLDERS | {"run": profiled_run(out)}
    written = {name: write_report(folder, out / f"{name}.html") for name, folder in folders.items()}
    written["network"] = write_network_report(
        *("squeezenas-lat-small", load_target("local-cpu"), out / "network.html"),
        resolution=Resolution(256, 512),
        table=FOLDERS["profile"],
    )
    return {name: own.page.as_uri() for name, own in written.items()}


def profiled_run(folder: Path) -> Path:
    """As ``run --profile`` leaves it, with more kernels than are listed at once."""

    def one(n: int) -> KernelTime:
        label = f"conv1x1+relu {n}x64x128->{6 * n}x64x128 {HOSTILE}"
        return KernelTime(label, 2, 3 / n, 0.1 / n, n * 10**6, 10**6, 1 / n)

    kernels = (*map(one, range(1, 30)), KernelTime("pool", 1, 0.1, 0.01, None, None, None))
    times = KernelTimes(kernels, 15.0, Peaks(1e11, 4e10, "measured"))
    picture = png(Image.new("RGB", (600, 300), (90, 120, 60)))
    (folder / "street-overlay.png").write_bytes(picture)
    about = {"network": "net", "target": "local-cpu", "inputs": ["frame"], "runs": 20}
    write_profile(folder, times, **about, overlays=["street-overlay.png"])
    return folder


def drawn(tmp_path: Path, *figures: str) -> str:
    content = row([*figures])  # type: ignore[list-item]
    report = Report("charts", "", [PageSection("Charts", content)], {})
    (tmp_path / "charts.html").write_text(page(report, "a test"), encoding="utf-8")
    return (tmp_path / "charts.html").as_uri()


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_all_is_drawn_and_nothing_is_cut_off(
    kind: str, dark: bool, width: int, browser: Browser, pages: dict[str, str]
) -> None:
    browser.see(pages[kind], width, dark=dark)
    browser.tell("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.tell("document.querySelectorAll('svg[data-frame]').length") > 0
    assert browser.tell(NOT_DRAWN) == 0
    assert browser.tell(CUT_OFF) == []
    background = browser.tell("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(20, 24, 29)") == dark
    assert browser.complaints == []


@pytest.mark.parametrize("kind", KINDS)
def test_on_paper_it_is_light_and_without_buttons(kind: str, browser: Browser, pages: dict[str, str]) -> None:
    browser.see(pages[kind], 800, dark=True, media="print")
    assert browser.tell("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.tell("[...document.querySelectorAll('button, nav')].every((one) => !one.offsetHeight)")
    assert browser.tell("document.querySelectorAll('button').length") > 0


def place_of(browser: Browser, selector: str) -> tuple[float, float]:
    """The middle of an element, scrolled into view."""
    browser.tell(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
    browser.tell("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return tuple(  # type: ignore[return-value]
        browser.tell(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return [r.left + r.width / 2, r.top + r.height / 2]; })()"
        )
    )


def shown(browser: Browser) -> str | None:
    """What is told at the pointer; None where nothing is."""
    told = browser.tell(
        "(({ hidden, textContent }) => hidden ? null : textContent)(document.getElementById('told'))"
    )
    assert told is None or isinstance(told, str)
    return told


def test_marks_say_what_they_are_when_pointed_at(browser: Browser, pages: dict[str, str]) -> None:
    browser.see(pages["profile"], 1600)
    dot = "svg[aria-label^='Roofline'] .dot"
    browser.mouse("mouseMoved", *place_of(browser, dot))
    told = shown(browser)
    assert told is not None
    every = f"[...document.querySelectorAll({json.dumps(dot)})].map((one) => one.dataset.t)"
    assert told in browser.tell(every)
    assert "% of a network's latency" in told
    assert "GMAC/s" in told
    browser.mouse("mouseMoved", 2, 2)
    assert shown(browser) is None


def test_lines_tell_their_points_and_keys_walk_along_them(browser: Browser, tmp_path: Path) -> None:
    figure = chart("c", [Series("loss", [(1, 3.25), (2, 2.5), (3, 1.125)])], x="epoch", y="loss")
    browser.see(drawn(tmp_path, figure), 1600)
    browser.tell("document.querySelector('svg[data-frame]').focus()")
    last = "epoch 3\nloss: 1.125"
    for expected in ("epoch 1\nloss: 3.25", "epoch 2\nloss: 2.5", last, last):
        browser("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight")
        assert shown(browser) == expected
    browser("Input.dispatchKeyEvent", type="keyDown", key="Escape", code="Escape")
    assert shown(browser) is None


PLACES = """[...document.querySelectorAll('.dot[transform]')].map((one) => {
  const { e, f } = one.transform.baseVal.consolidate().matrix;
  return [e, f].map((value) => Math.round(10 * value) / 10);
})"""
NUMBERS = "[...document.querySelectorAll('.ticks text')].map((one) => one.textContent)"


def frame(browser: Browser) -> list[float]:
    """Left, top, right and bottom of the first chart's frame, in the window."""
    found = browser.tell("""(() => {
      const svg = document.querySelector("svg[data-frame]");
      const { left, top, width } = svg.getBoundingClientRect();
      const scale = width / svg.viewBox.baseVal.width;
      const at = svg.dataset.frame.split(" ").map(Number);
      return at.map((value, index) => value * scale + (index % 2 ? top : left));
    })()""")
    return [float(value) for value in found]


@pytest.mark.parametrize("logarithmic", ["", "xy"])
def test_a_chart_is_zoomed_and_shown_whole_again(logarithmic: str, browser: Browser, tmp_path: Path) -> None:
    points = [(10.0**power, 10.0**power) for power in range(5)]
    figure = chart("c", [Series("s", points, "dots")], x="ms", y="%", logarithmic=logarithmic)
    browser.see(drawn(tmp_path, figure), 1600)
    places, numbers = browser.tell(PLACES), browser.tell(NUMBERS)
    left, top, right, bottom = frame(browser)
    browser.drag((left + 1, bottom - 1), ((left + right) / 2, (top + bottom) / 2))
    assert browser.tell("document.querySelector('figure').classList.contains('zoomed')")
    zoomed = browser.tell(PLACES)
    assert zoomed != places
    for before, after in zip(places, zoomed, strict=True):  # from the corner that was kept, twice as far
        assert after[0] - 68 == pytest.approx(2 * (before[0] - 68), abs=4)
        assert 218 - after[1] == pytest.approx(2 * (218 - before[1]), abs=4)
    assert browser.tell(NUMBERS) != numbers
    assert browser.tell(CUT_OFF) == []
    browser.tell("document.querySelector('figure button:last-child').click()")
    assert (browser.tell(PLACES), browser.tell(NUMBERS)) == (places, numbers)
    for label, larger in (("zoom in", True), ("zoom out", False)):
        browser.tell(f"document.querySelector('button[title=\"{label}\"]').click()")
        assert browser.tell("document.querySelector('figure').classList.contains('zoomed')") == larger
    assert browser.complaints == []


def column(browser: Browser, index: int) -> list[str]:
    told = browser.tell(
        f"[...document.querySelectorAll('tbody tr')].map((r) => r.cells[{index}].textContent)"
    )
    return list(told)


def test_tables_are_sorted_by_a_press_on_a_head(browser: Browser, tmp_path: Path) -> None:
    rows = [["net10", "10.5 (9 to 12)", "< 7 %"], ["net9", "9.25 (8 to 10)", "-"], [HOSTILE, "100", "7 %"]]
    browser.see(drawn(tmp_path, table(["network", "ms", "share"], rows)), 1600)
    names = [row[0] for row in rows]
    heads = [place_of(browser, f"thead th:nth-child({number})") for number in (1, 2, 3)]

    def press(number: int) -> list[str]:
        browser.mouse("mousePressed", *heads[number], button="left", buttons=1, clickCount=1)
        browser.mouse("mouseReleased", *heads[number], button="left", clickCount=1)
        return column(browser, 0)

    assert press(1) == ["net9", "net10", HOSTILE]
    assert press(1) == [HOSTILE, "net10", "net9"]
    assert press(1) == names  # as it was
    assert press(0)[-2:] == ["net9", "net10"]
    assert press(2) == ["net10", HOSTILE, "net9"]  # what has nothing is last, whichever way
    assert press(2) == [HOSTILE, "net10", "net9"]
    browser.tell("document.querySelector('thead th').focus()")
    browser("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter")
    assert column(browser, 0)[-2:] == ["net9", "net10"]
    sorts = browser.tell("[...document.querySelectorAll('th')].map((one) => one.getAttribute('aria-sort'))")
    assert sorts == ["ascending", "none", "none"]
    assert browser.complaints == []


def test_names_are_text_wherever_they_are_shown(browser: Browser, tmp_path: Path) -> None:
    figure = chart(
        HOSTILE,
        [Series(HOSTILE, [(1, 1), (2, 2)], "dots", told=[HOSTILE, HOSTILE], labels=[HOSTILE, ""])],
        x=HOSTILE,
        y=HOSTILE,
    )
    browser.see(drawn(tmp_path, figure, paragraph(HOSTILE)), 1600)
    browser.mouse("mouseMoved", *place_of(browser, ".dot"))
    assert shown(browser) == HOSTILE
    assert browser.tell("window.ran") is None
    assert browser.tell("document.querySelectorAll('script').length") == 1
    assert browser.tell("document.querySelectorAll('img').length") == 0


def test_what_got_into_a_page_would_neither_run_nor_load(browser: Browser, tmp_path: Path) -> None:
    report = Report("a page", "", [], {})
    text = page(report, "a test").replace("</main>", f'</main><b x="{HOSTILE}</b>')
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    browser.see((tmp_path / "page.html").as_uri(), 800)
    assert browser.tell("document.querySelectorAll('script').length") == 2  # the page's own, and what got in
    assert browser.tell("window.ran") is None
    assert any("Content Security Policy" in said for said in browser.complaints)


def test_a_copy_elsewhere_needs_nothing_else(browser: Browser, pages: dict[str, str], tmp_path: Path) -> None:
    shutil.copy(pages["search"].removeprefix("file://"), tmp_path / "alone.html")
    browser.see((tmp_path / "alone.html").as_uri(), 1600)
    assert browser.tell("performance.getEntriesByType('resource').length") == 0
    assert browser.complaints == []
