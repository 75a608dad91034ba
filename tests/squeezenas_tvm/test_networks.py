"""The networks command: what the shipped architectures compute and, with a table, what they cost."""

import hashlib
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cost_models.database.table import LatencyTable
from cost_models.errors import IncompatibleTable
from cost_models.lookup import cost_model
from cost_models.tuning.effort import Effort
from search.architecture import Architecture, list_architectures, load_architecture
from search.costs.kernel_table import cost_table
from search.errors import InvalidArchitecture, SearchError
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from squeezenas_tvm.networks import main
from squeezenas_tvm.profiling.measure import Wanted, measure_kernels
from targets import load_target

from .helpers import SIZE, command, fill, finish, kernels_of, refused_by

# GMACs at 1024x2048: of the authors' code with the precision it gives, or of the papers' tables.
OURS = "squeezenas-lat-small-camvid"
FASTDENSE = {name for name in list_architectures() if name.startswith("fastdense")}  # no GMACs at that size
PUBLISHED = {
    "squeezenas-lat-small": (4.465099, 0.002),
    "squeezenas-mac-small": (3.007513, 0.002),
    "squeezenas-mac-large": (9.386148, 0.002),
    "squeezenas-lat-large": (19.57, 0.005),
    "squeezenas-lat-xlarge": (32.73, 0.005),
    "squeezenas-mac-xlarge": (21.84, 0.005),
    "mobilenetv3-small-seg": (2.90, 0.03),
    "mobilenetv3-large-seg": (9.74, 0.03),
    "fasterseg-student": (27.770487, 1e-7),
    "fasterseg-teacher": (107.778933, 1e-7),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a table of local-cpu with all kernels of Small at 64x128, by a formula."""
    folder = tmp_path_factory.mktemp("table")
    target = load_target("local-cpu")
    fill(folder, target, kernels_of())
    measure_kernels(target, Wanted(kernels=[], effort=Effort.alone(0)), folder)
    return folder


def networks(capfd: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, Any]]:
    assert main([*argv, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert isinstance(document, list)
    return document


def test_a_space_of_which_none_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--space", "fasterseg-student:layers=8,base=3"]) == 0
    assert "no architecture of space fasterseg-student:layers=8,base=3 ships" in capsys.readouterr().out


def test_macs_and_parameters_are_the_published_ones(capfd: pytest.CaptureFixture[str]) -> None:
    found = {network["name"]: network for network in networks(capfd)}
    assert found.keys() == {*PUBLISHED, OURS, *FASTDENSE}
    for name, (gmacs, tolerance) in PUBLISHED.items():
        assert found[name]["gmacs"] == pytest.approx(gmacs, rel=tolerance), name
        assert found[name]["space"] == load_architecture(name).space
        assert "estimated_latency_ms" not in found[name]
    assert [found[f"squeezenas-{name}"]["params"] for name in ("lat-small", "mac-small", "mac-large")] == [
        465774,
        277598,
        704382,
    ]
    assert found["squeezenas-lat-small"]["published"]["latency_ms"] == 34.57
    assert found["fasterseg-student"]["published"]["fps"] == 163.9


def test_latency_is_the_sum_of_the_tables_entries(table: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = ["--space", "small", "--target", "local-cpu", "--table", str(table), "--resolution", str(SIZE)]
    found = networks(capfd, *given)
    assert [network["name"] for network in found] == ["squeezenas-mac-small", OURS, "squeezenas-lat-small"]
    costs = cost_table(LatencyTable.load(table), get_space("small"), SIZE, segmentation_head(19))
    assert found.pop(1)["estimated_latency_ms"]["sources"]["predicted"] < 0.5  # its classifiers
    for network in found:
        blocks = load_architecture(network["name"]).blocks
        entries = [row[name] for row, name in zip(costs.blocks, blocks, strict=True)]
        entries += costs.fixed.values()
        latency = network["estimated_latency_ms"]
        assert latency["median"] == pytest.approx(sum(e.median_s for e in entries) * 1e3)
        assert latency["low"] <= latency["median"] <= latency["high"]
        assert latency["kernels"] == sum(e.kernels for e in entries if e)
        assert (latency["sources"], latency["calibrated"]) == ({"measured": pytest.approx(1)}, False)


def test_networks_of_other_spaces_are_predicted_and_say_so(
    table: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["--target", "local-cpu", "--table", str(table), "--resolution", str(SIZE)]
    found = {network["name"]: network["estimated_latency_ms"] for network in networks(capfd, *given)}
    assert found["squeezenas-lat-small"]["sources"] == {"measured": pytest.approx(1)}
    assert found["squeezenas-lat-large"]["sources"]["predicted"] > 0.5
    assert main(given) == 0
    said = capfd.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if line}
    assert lines["squeezenas-lat-small"].endswith("100% measured")
    assert lines["squeezenas-lat-large"].endswith("% predicted")
    assert "Estimates: sums of kernels, without what happens between them." in said


def test_holes_that_nothing_tells_are_dashes_and_say_what_to_do(
    table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alone = copy_of(table, tmp_path / "alone")
    assert main(["--target", "local-cpu", "--table", str(alone), "--resolution", str(SIZE)]) == 0
    said = capfd.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if line}
    assert " to " in lines["squeezenas-lat-small"]
    assert lines["squeezenas-lat-large"].split()[-2:] == ["-", "-"]
    given = "--target local-cpu --space squeezenas-large --resolution 64x128"
    assert f"-: kernels of squeezenas-large are not measured: squeezenas-tvm profile {given}" in said


def test_macs_follow_the_resolution(capfd: pytest.CaptureFixture[str]) -> None:
    (small,) = networks(capfd, "squeezenas-lat-small", "--resolution", "512x1024")
    assert small["gmacs"] == pytest.approx(4.465 / 4, rel=0.01)
    assert small["resolution"] == "512x1024"


def test_file_of_ones_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    blocks = ["k3e6"] * 20
    path.write_text(f"space: squeezenas-small\nname: mine\nblocks: {blocks}\n", encoding="utf-8")
    (mine,) = networks(capfd, str(path))
    assert (mine["name"], mine["blocks"], mine["published"]) == ("mine", blocks, None)
    graph = Architecture(space="squeezenas-small", blocks=blocks).network()
    assert mine["gmacs"] == round(graph.macs({"x": (1, 3, *Resolution(1024, 2048))}) / 1e9, 6)


# --- wrong input ---


check_refused = partial(refused_by, main)


def write_architecture(folder: Path, blocks: list[str], more: str = "") -> str:
    path = folder / "mine.yaml"
    path.write_text(f"space: squeezenas-small\nblocks: {blocks}\n{more}", encoding="utf-8")
    return str(path)


def test_unknown_names(capfd: pytest.CaptureFixture[str]) -> None:
    check_refused(
        ["squeezenas-lat-smal"], "'squeezenas-lat-smal', did you mean squeezenas-lat-small?; allowed", capfd
    )
    check_refused(["--space", "larg"], "unknown space 'larg', did you mean large?; allowed: ", capfd)
    check_refused(["--target", "jetson-xaver"], "did you mean jetson-xavier?; allowed: ", capfd)


def test_architecture_with_an_unknown_block(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    blocks = ["k3e6"] * 18 + ["k3e60", "k7e6"]
    path = write_architecture(tmp_path, blocks)
    check_refused(
        [path], f"{path}: space squeezenas-small: position 18: unknown block 'k3e60', did you", capfd
    )
    with pytest.raises(SearchError, match=r"position 19: unknown block 'k7e6'.*allowed there: k3e1, "):
        load_architecture(path)


def test_architecture_with_too_few_blocks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_architecture(tmp_path, ["k3e6"] * 3)
    said = f"{path}: space squeezenas-small has 20 positions, the architecture has 3 blocks"
    check_refused([path], said, capfd)


def test_architecture_with_unknown_keys(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_architecture(tmp_path, ["k3e6"] * 20, "num_clases: 19\nnmae: x\n")
    check_refused([path], "num_clases: unknown key, did you mean num_classes?", capfd)
    with pytest.raises(InvalidArchitecture, match=r"nmae: unknown key, did you mean name\?"):
        load_architecture(path)


def test_table_of_another_target(table: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check_refused(
        ["--target", "jetson-xavier", "--table", str(table)],
        f"{table}: is a table of local-cpu, not of jetson-xavier; give --table the folder of a profile of",
        capfd,
    )


def test_table_without_its_target(table: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check_refused(["--table", str(table)], "--table needs --target", capfd)


def test_no_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check_refused(["--target", "jetson-xavier", "--table", str(tmp_path)], "table cannot be read", capfd)


def test_a_device_nobody_has_attached_is_told_by_its_prior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for network in networks(capfd, "--target", "jetson-xavier"):
        assert network["estimated_latency_ms"]["sources"] == {"prior": pytest.approx(1)}


def test_without_a_table_of_ones_own_the_shipped_one_serves_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["squeezenas-lat-small", "--target", "local-cpu", "--resolution", "256x512", "--json"]) == 0
    captured = capfd.readouterr()
    (network,) = json.loads(captured.out)
    assert network["estimated_latency_ms"]["median"] > 0
    assert re.search(
        r"local-cpu: this device is not profiled yet; .* shipped table, measured on .*, \d+ cores,",
        captured.err,
    )


def copy_of(table: Path, folder: Path) -> Path:
    LatencyTable.load(table).save(folder, made_by="a test")
    return folder


def test_damaged_table(table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = copy_of(table, tmp_path / "broken")
    rows = bytearray((broken / "kernels.csv").read_bytes())
    rows[-3] ^= 1
    (broken / "kernels.csv").write_bytes(rows)
    check_refused(
        ["--target", "local-cpu", "--table", str(broken)],
        "kernels.csv: differs from its checksum in table.json; profile again into the same folder",
        capfd,
    )


def test_table_of_another_environment(table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Edited by somebody who also set the sums right."""
    other = copy_of(table, tmp_path / "other")
    header = json.loads((other / "table.json").read_text(encoding="utf-8"))
    header["fingerprint"] |= {"device": "another CPU", "tvm_version": "0.28.0"}
    header["sha256"]["kernels.csv"] = hashlib.sha256((other / "kernels.csv").read_bytes()).hexdigest()
    (other / "table.json").write_text(json.dumps(header), encoding="utf-8")
    given = ["--target", "local-cpu", "--table", str(other)]
    check_refused(given, f"{other}: was measured in another environment (device 'another CPU' instead", capfd)
    with pytest.raises(IncompatibleTable, match=r"tvm_version '0\.28\.0' instead of '0\.27"):
        cost_model(load_target("local-cpu"), other)
    check_refused(given, "profile again: squeezenas-tvm profile --target local-cpu", capfd)


def test_wrong_resolution_in_a_process_of_its_own(tmp_path: Path) -> None:
    code, out, said = finish(command("networks", "--resolution", "7x7", cwd=tmp_path))
    assert (code, out) == (2, "")
    assert said == (
        "error: resolution 7x7: sides must be 64 to 8192 pixels; the nearest that works is 64x64\n"
    )
