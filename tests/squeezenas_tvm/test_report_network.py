"""``report NETWORK --target T``: the page of one network, with the numbers of ``predict``."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import squeezenas_tvm as st
from search.architecture import dump_architecture, load_architecture
from squeezenas_tvm import predict, report

from . import onnx_networks
from .helpers import NAME, pretend_processor, refused_by
from .pages import Page

check_refused = partial(refused_by, report.main)
FULL = "256x512"  # of the table that comes with the package


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pretend_processor(monkeypatch)


def told(main: Any, capfd: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_an_architecture_has_the_latency_that_predict_tells(capfd: pytest.CaptureFixture[str]) -> None:
    words = (NAME, "--target", "local-cpu", "--resolution", FULL)
    found = told(report.main, capfd, *words)
    (network,) = told(predict.main, capfd, *words)["networks"]
    assert (found["kind"], found["network"], found["page"]) == ("network", NAME, f"{NAME}-local-cpu.html")
    assert found["latency_ms"] == pytest.approx(network["latency_ms"])
    assert sum(kernel["share"] for kernel in found["kernels"]) == pytest.approx(1)
    calls = {kernel["kernel"]: kernel["calls"] for kernel in found["kernels"]}
    assert calls == {kernel["kernel"]: kernel["calls"] for kernel in network["kernels"]}
    page = Page(Path(found["page"]).read_text(encoding="utf-8"))
    assert f"{network['latency_ms']['median']:.2f} ms" in page.words
    assert found["kernels"][0]["kernel"][:40] in page.words
    assert any(chart.startswith("Roofline") for chart in page.charts)
    assert "any kind, " in page.words  # one roof for all, of what was measured


def test_no_kernel_is_faster_than_the_best_rates(capfd: pytest.CaptureFixture[str]) -> None:
    found = told(report.main, capfd, NAME, "--target", "local-cpu", "--resolution", FULL)
    assert all(kernel["times_roofline"] >= 0.99 for kernel in found["kernels"] if kernel["macs"])


def test_files_of_both_kinds_and_open_sizes(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Path("mine.yaml").write_text(dump_architecture(load_architecture(NAME)), encoding="utf-8")
    own = told(report.main, capfd, "mine.yaml", "--target", "local-cpu", "--resolution", FULL)
    assert own["page"] == "mine-local-cpu.html"
    path = onnx_networks.write(tmp_path / "up.onnx", onnx_networks.UP, ["scores"], shape=(1, 3, "h", "w"))
    words = (str(path), "--target", "local-cpu", "--out", "page.html")
    asked = ("--shape", "image=1x3x64x128")
    found = told(report.main, capfd, *words, *asked)
    (network,) = told(predict.main, capfd, *words[:3], *asked)["networks"]
    assert found["latency_ms"] == pytest.approx(network["latency_ms"])
    by_size = told(report.main, capfd, *words, "--resolution", "64x128")
    assert by_size["latency_ms"] == found["latency_ms"]


def test_where_a_prior_alone_tells_there_is_no_roof(capfd: pytest.CaptureFixture[str]) -> None:
    found = told(report.main, capfd, NAME, "--target", "jetson-xavier")
    assert {kernel["times_roofline"] for kernel in found["kernels"]} == {None}
    page = Page(Path(found["page"]).read_text(encoding="utf-8"))
    assert "100% prior" in page.words
    assert "roofline" not in page.words.lower().replace("times roofline", "")
    assert page.charts == []


def test_the_table_of_others_tells_architectures(capfd: pytest.CaptureFixture[str]) -> None:
    found = told(report.main, capfd, "fasterseg-student", "--target", "gtx-1080-ti-tensorrt")
    assert found["latency_ms"]["median"] > 0


def test_the_table_of_others_tells_no_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = onnx_networks.write(tmp_path / "up.onnx", onnx_networks.UP, ["scores"])
    words = [str(path), "--target", "gtx-1080-ti-tensorrt"]
    check_refused(words, "is a table of operations; allowed: architectures", capsys)


def test_names_with_html_are_text(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = onnx_networks.write(tmp_path / "<blink>&net.onnx", onnx_networks.UP, ["scores"])
    found = told(report.main, capfd, str(path), "--target", "local-cpu", "--out", "page.html")
    page = Page(Path(found["page"]).read_text(encoding="utf-8"))
    assert "<blink>&net.onnx" in page.words
    assert "blink" not in page.tags


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            [NAME],
            f"{NAME}: a network; its page is of a device, such as: squeezenas-tvm report {NAME} --target",
        ),
        (["net.onnx"], "net.onnx: a network; its page is of a device"),
        (["mine.yaml"], "mine.yaml: a network; its page is of a device"),
        (["none"], "none: no such folder; give the one that profile, search or train wrote into"),
        ([".", "--target", "local-cpu"], ".: a folder, which knows its target; leave --target out"),
        ([".", "--resolution", FULL], "--resolution: of the page of a network, which takes --target TARGET"),
        ([".", "--table", "t", "--shape", "x=1x3x8x8"], "--table, --shape: of the page of a network"),
        (["none.onnx", "--target", "local-cpu"], "none.onnx: "),
        (["squeezenas-lat-smal", "--target", "local-cpu"], "did you mean squeezenas-lat-small?"),
        ([NAME, "--target", "local-cp"], "did you mean local-cpu?"),
        ([NAME, "--target", "local-cpu", "--resolution", "0x64"], "0x64"),
        ([NAME, "--target", "local-cpu", "--out", "page.pdf"], "--out page.pdf: must end in .html"),
        ([NAME, "--target", "local-cpu", "--serve"], "--target and --serve do not go together"),
        ([NAME, "--target", "local-cpu", "--shape", "x=1x3x8x8"], "--shape"),
    ],
)
def test_refusals(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_refused(words, said, capsys)


def test_a_page_that_others_changed_stays(capsys: pytest.CaptureFixture[str]) -> None:
    words = [NAME, "--target", "local-cpu", "--resolution", FULL]
    assert report.main(words) == 0
    assert report.main(words) == 0  # its own
    page = Path(f"{NAME}-local-cpu.html")
    page.write_text(page.read_text(encoding="utf-8") + "<!-- mine -->", encoding="utf-8")
    capsys.readouterr()
    assert report.main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {page.name}: ")


def test_from_python(tmp_path: Path) -> None:
    page = st.write_report(NAME, target=st.load_target("local-cpu"), resolution=(256, 512))
    assert page == Path(f"{NAME}-local-cpu.html")
    again = st.write_report(
        NAME, tmp_path / "own.html", target=st.load_target("local-cpu"), resolution=(256, 512)
    )
    strip = Page(page.read_text(encoding="utf-8")).rows
    assert Page(again.read_text(encoding="utf-8")).rows == strip
