"""ONNX networks in the profile command, and what predict, deploy, networks and report then know of them."""

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from cost_models.database.environment import environment
from cost_models.database.history import History
from cost_models.database.profiled_networks import FILE, ProfiledNetworks
from cost_models.database.records import Measurement
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.predictor import MANIFEST
from cost_models.lowering import pipeline
from cost_models.onnx_io.whole_model import read_whole
from cost_models.tuning.effort import Effort
from squeezenas_tvm import compare, deploy, networks, predict, profile, report
from squeezenas_tvm.bundles.runner import Bundle
from targets import load_target

from ..targets.boards import BoardFiles, start
from ..targets.conftest import free_port, open_yard
from .helpers import quick_target, refused_by
from .onnx_networks import STEM, UP, H, W, node, uneven, up, write

TRIALS = 2
KEPT = ("trials", "measurements", "block_timings")
refused = partial(refused_by, profile.main)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quick_target(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both networks and something else."""
    folder = tmp_path_factory.mktemp("networks")
    up(folder / "up.onnx")
    uneven(folder / "uneven.onnx")
    (folder / "notes.txt").write_text("half of the kernels are in both\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def profiled(files: Path, quick: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Both networks measured in one run: the folder of the results, and the document."""
    out = tmp_path_factory.mktemp("profiled")
    return out, document(
        profile.main, str(files), "--target", str(quick), *into(out), "--trials", str(TRIALS)
    )


def into(out: Path) -> tuple[str, str]:
    return "--out", str(out)


def document(main: Any, *argv: str) -> Any:
    """What a command prints as JSON; it must end well."""
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("squeezenas_tvm.cli.emit", lambda text: printed.append(text) or True)
        assert main([*argv, "--json"]) == 0
    return json.loads(printed[0])


def stored(folder: Path) -> dict[str, list[Any]]:
    store = sqlite3.connect(folder / "measurements.sqlite")
    try:
        return {table: store.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() for table in KEPT}
    finally:
        store.close()


def hashes(path: Path, target: Path) -> dict[str, int]:
    """Structural hash of each kernel that TVM makes of a file -> its calls."""
    lowered = pipeline.lower(read_whole(path).proto, load_target(target).tvm_target())
    return {kernel.hash: kernel.calls for kernel in pipeline.kernels(lowered).values()}


# --- profile ---


def test_kernels_are_those_that_tvm_cuts_and_equal_ones_are_one(
    profiled: tuple[Path, Any], files: Path, quick: Path
) -> None:
    folder, told = profiled
    cut = {name: hashes(files / f"{name}.onnx", quick) for name in ("uneven", "up")}
    kernels = told["kernels"]
    assert kernels["distinct"] == len(cut["up"].keys() | cut["uneven"].keys())
    assert kernels["in_several"] == len(cut["up"].keys() & cut["uneven"].keys()) == 2  # stem, pooling
    assert kernels["apart"] == sum(map(len, cut.values()))
    assert told["missing"] == []
    kept = ProfiledNetworks.load(folder / FILE)
    assert [one.name for one in kept.networks] == ["uneven.onnx", "up.onnx"]
    assert kept.networks[0].sizes == f"1x3x{H}x{W}"
    for one, name in zip(kept.networks, ("uneven", "up"), strict=True):
        assert len(one.kernels) == sum(cut[name].values())
        modules = {kernel.module for kernel in kept.graph(one).kernels if kernel.module}
        assert modules <= cut[name].keys()
    of_spaces = [kernel for kernel in kept.by_key.values() if not kernel.module]
    assert kernels["of_spaces"] == len(of_spaces)
    assert {kernel.label.split()[0] for kernel in of_spaces} >= {"conv3x3s2+relu", "conv1x1"}
    labels = {kernel.label.split()[0] for kernel in kept.by_key.values() if kernel.module}
    assert {"maxpool", "convtranspose+relu"} <= labels
    assert all(kernel.is_writable for kernel in of_spaces)


def test_every_kernel_was_tuned_and_stands_in_the_table(profiled: tuple[Path, Any], quick: Path) -> None:
    folder, told = profiled
    table, kept = LatencyTable.load(folder, target="quick-cpu"), ProfiledNetworks.load(folder / FILE)
    assert table.rows.keys() == kept.by_key.keys()
    assert all(row.samples_s for row in table.rows.values())
    assert told["tuning"]["trials"] > len(table.rows)
    for network, one in zip(told["networks"], kept.networks, strict=True):
        sum_ms = 1e3 * sum(table.rows[key].median_s for key in one.kernels)
        assert network["latency_ms"]["median"] == pytest.approx(sum_ms)
        assert sum(kernel["share"] for kernel in network["kernels"]) == pytest.approx(1)
        shares = [kernel["share"] for kernel in network["kernels"]]
        assert shares == sorted(shares, reverse=True)
        assert all(kernel["times_roofline"] > 0.999 for kernel in network["kernels"])
        assert network["sources"] == {"measured": pytest.approx(1)}


def test_each_network_was_timed_whole(profiled: tuple[Path, Any]) -> None:
    folder, told = profiled
    for network in told["networks"]:
        assert 0 < network["whole_ms"] < 1000 * network["latency_ms"]["median"]
    with MeasurementStore.open(folder / "measurements.sqlite", create=False) as store:
        abouts = [described["network"] for described in store.blocks().values()]
    assert sorted(about["file"] for about in abouts) == ["uneven.onnx", "up.onnx"]


def test_the_same_again_measures_nothing_and_another_network_what_is_new(
    profiled: tuple[Path, Any], files: Path, quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(profiled[0], tmp_path / "again")
    before = stored(folder)
    given = ["--target", str(quick), *into(folder), "--trials", str(TRIALS)]
    assert profile.main([str(files), *given]) == 0
    assert stored(folder)["trials"] == before["trials"]
    said = capfd.readouterr().out
    assert f"up.onnx at 1x3x{H}x{W}: " in said
    assert "of time  fastest schedule  times roofline" in said
    apart, distinct = (profiled[1]["kernels"][name] for name in ("apart", "distinct"))
    assert f"2 networks of {apart} kernels have {distinct} distinct ones; 2 of these run in several" in said
    assert f"--measurements {folder}" in said
    trained = up(tmp_path / "up.onnx", seed=1)  # other weights: the same network
    more = [node("Relu", ["scores"], ["last"], name="last")]
    other = write(tmp_path / "more.onnx", [*UP, *more], ["last"])
    told = document(profile.main, str(trained), str(other), *given)
    assert told["kernels"]["distinct"] == told["kernels"]["in_several"] + 2  # the head, with and without
    after = stored(folder)
    assert after["trials"][: len(before["trials"])] == before["trials"]
    assert 0 < len(after["trials"]) - len(before["trials"]) <= TRIALS
    names = [one.name for one in ProfiledNetworks.load(folder / FILE).networks]
    assert names == ["uneven.onnx", "up.onnx", "more.onnx"]


def test_a_file_that_has_changed_is_not_the_network_that_was_profiled(
    profiled: tuple[Path, Any],
    quick: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # short names: of messages 300 characters are shown
    folder = Path(shutil.copytree(profiled[0], "stopped"))
    for name in ("table.json", "kernels.csv"):  # as a run leaves it that was stopped
        (folder / name).unlink()
    write(Path("up.onnx"), STEM, ["m"])
    argv = ["up.onnx", "--target", str(quick), *into(folder)]
    refused(argv, "up.onnx: its layers are not those that were profiled into stopped as up.onnx at", capfd)


@pytest.mark.slow
def test_the_largest_kernels_alone(files: Path, quick: Path, tmp_path: Path) -> None:
    """Of more kernels than asked for those with most work are measured; the others are told by these."""
    nodes = [node("Conv", ["image", "stem"], ["c"], name="stem", pads=[1, 1, 1, 1], strides=[2, 2])]
    for window in range(1, 9):  # each of another pooling and mean
        sides = {"kernel_shape": [window, window], "strides": [window, window]}
        nodes += [
            node("MaxPool", ["c"], [f"p{window}"], name=f"pool{window}", **sides),
            node("ReduceMean", [f"p{window}"], [f"q{window}"], name=f"mean{window}", axes=[2, 3]),
        ]
    path = write(tmp_path / "wide.onnx", nodes, [f"q{window}" for window in range(1, 9)])
    told = document(
        profile.main,
        str(path),
        "--target",
        str(quick),
        *into(tmp_path / "out"),
        "--trials",
        "0",
        "--kernels",
        "10",
    )
    measured = [k for k in told["networks"][0]["kernels"] if k["how"] == "default"]
    assert len(measured) == 10
    assert told["kernels"]["predicted"] == told["kernels"]["distinct"] - 10 > 0
    assert any(kernel["kernel"].startswith("conv3x3s2") for kernel in measured)
    assert (tmp_path / "out" / MANIFEST).exists()


def test_a_bundle_is_measured_as_its_network(
    profiled: tuple[Path, Any], files: Path, quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    given = ("--target", str(quick))
    assert deploy.main([str(files / "up.onnx"), *given, "--out", str(bundle)]) == 0
    assert predict.main([str(files / "up.onnx"), *given, "--table", str(profiled[0])]) == 0
    taller = tmp_path / "taller"
    assert (
        deploy.main([str(up(tmp_path / "t.onnx", shape=(1, 3, 2 * H, W))), *given, "--out", str(taller)]) == 0
    )
    capfd.readouterr()
    table = ("--table", str(profiled[0]))
    said = f"measure it with: squeezenas-tvm profile --target quick-cpu.yaml {taller}"
    refused_by(compare.main, [str(bundle), str(taller), *given, *table], said, capfd)
    done = document(profile.main, str(taller), *given, *into(tmp_path / "out"), "--trials", "0")
    assert [network["name"] for network in done["networks"]] == ["t"]
    told = document(compare.main, str(taller), *given, "--table", str(tmp_path / "out"))
    assert told["networks"][0]["name"] == "t"


# --- what is known of them then ---


def test_predict_says_measured(
    profiled: tuple[Path, Any], files: Path, quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, told = profiled
    renamed = shutil.copy(files / "up.onnx", tmp_path / "renamed.onnx")
    given = ["--target", str(quick), "--table", str(folder)]
    known, other = document(predict.main, str(renamed), str(uneven(tmp_path / "n.onnx", seed=9)), *given)[
        "networks"
    ]
    assert known["sources"] == other["sources"] == {"measured": pytest.approx(1)}
    assert known["outside"] == []
    by_name = {network["name"]: network for network in told["networks"]}
    assert known["latency_ms"]["median"] == pytest.approx(by_name["up.onnx"]["latency_ms"]["median"])
    assert sum(kernel["calls"] for kernel in known["kernels"]) == by_name["up.onnx"]["calls"]
    taller = str(up(tmp_path / "taller.onnx", shape=(1, 3, 2 * H, W)))  # without a prior, and with few rows
    measured_by = f"squeezenas-tvm profile --target quick-cpu.yaml {taller}"
    told_so = f"not measured on quick-cpu; measure it with: {measured_by}"
    refused_by(predict.main, [taller, *given], told_so, capfd)


def test_open_shapes_are_closed_by_name_or_resolution(
    profiled: tuple[Path, Any], quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = up(tmp_path / "open.onnx", shape=("n", 3, "h", "w"))
    given = ["--target", str(quick), "--table", str(profiled[0])]
    by_name = document(predict.main, str(path), *given, "--shape", f"image=1x3x{H}x{W}")["networks"]
    by_size = document(predict.main, str(path), *given, "--resolution", f"{H}x{W}")["networks"]
    assert by_name == by_size
    assert by_name[0]["sources"] == {"measured": pytest.approx(1)}
    of_two = [str(path), *given, "--shape", f"image=2x3x{H}x{W}"]  # whose kernels are others
    refused_by(predict.main, of_two, "not measured on quick-cpu; measure it with: ", capfd)
    refused_by(
        predict.main,
        [str(path), *given, "--shape", "picture=1x3x8x8"],
        "--shape picture: no such input",
        capfd,
    )


def best_trials(folder: Path, target: Path) -> Mapping[str, int]:
    """Make the first trial of every kernel that has one that ran its fastest schedule by far."""
    chosen = {}
    with MeasurementStore.open(folder / "measurements.sqlite") as store:
        history = History.of(store, environment(load_target(target)))
        for key, described in store.kernels().items():
            trials = history.best(Kernel.from_description(described), 1)
            for id_, trial in trials.items():
                timing = Measurement(kernel=key, how="tuned", samples_s=(1e-9,))
                store.add_measurement(history.environment, timing, trial=id_)
                chosen[key] = trial.schedule
    return chosen


def test_a_network_is_deployed_with_the_schedules_that_were_found(
    profiled: tuple[Path, Any], files: Path, quick: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(profiled[0], tmp_path / "best")
    chosen = best_trials(folder, quick)
    (one,) = [n for n in ProfiledNetworks.load(folder / FILE).networks if n.name == "up.onnx"]
    tuned = [key for key in dict.fromkeys(one.kernels) if key in chosen]
    assert any(key.startswith("convtranspose") for key in tuned)
    path, bundle = files / "up.onnx", tmp_path / "bundle"
    given = ["--target", str(quick), "--measurements", str(folder), *into(bundle)]
    told = document(deploy.main, str(path), *given, "--profile")
    assert (told["tuned_kernels"], told["default_kernels"]) == (
        len(tuned),
        len(set(one.kernels)) - len(tuned),
    )
    image = np.random.default_rng(3).random((1, 3, H, W), np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"image": image})
    assert {kernel["tuned"] for kernel in told["profile"]["kernels"]} >= {True}
    labels = {kernel["kernel"].split()[0] for kernel in told["profile"]["kernels"]}
    assert {"maxpool", "convtranspose+relu"} <= labels
    (found,) = Bundle.load(bundle).run([image])
    assert np.abs(found - expected).max() < 1e-4
    framed = document(
        deploy.main, str(path), *given[:-1], str(tmp_path / "framed"), "--frame", "--end", "argmax"
    )
    assert framed["tuned_kernels"] >= len(tuned) - 2  # but for those at the ends


def test_deploy_tunes_what_nobody_has_profiled(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    little = Effort(name="quick", trials=2, transfers=1, anchors=0.5)
    monkeypatch.setattr("squeezenas_tvm.deploy.EFFORTS", {"quick": little})
    path, records = write(tmp_path / "stem.onnx", STEM, ["m"]), tmp_path / "records"
    given = [str(path), "--target", str(quick), "--measurements", str(records), *into(tmp_path / "bundle")]
    told = document(deploy.main, *given, "--effort", "quick")
    table = LatencyTable.load(records, target="quick-cpu")
    distinct = told["tuned_kernels"] + told["default_kernels"]
    assert len(table.rows) == distinct == 2
    assert sum(row.trials for row in table.rows.values()) > 0
    assert sum(row.how != "default" for row in table.rows.values()) == told["tuned_kernels"]
    capfd.readouterr()
    refused_by(deploy.main, [*given, "--effort", "quick", "--trials", "3"], "two amounts of work", capfd)


def test_networks_stand_beside_those_of_spaces(
    profiled: tuple[Path, Any], files: Path, quick: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["--target", str(quick), "--table", str(profiled[0]), "--resolution", "64x128"]
    listed = document(networks.main, "squeezenas-lat-small", str(files), *given)
    assert listed[0]["name"] == "squeezenas-lat-small"
    assert {network["name"] for network in listed[1:]} == {"uneven.onnx", "up.onnx"}
    known = {network["name"]: network["estimated_latency_ms"] for network in listed[1:]}
    told = {network["name"]: network["latency_ms"]["median"] for network in profiled[1]["networks"]}
    assert {name: latency["median"] for name, latency in known.items()} == pytest.approx(told)
    assert networks.main([str(files), *given]) == 0
    said = capfd.readouterr().out
    assert f"of up.onnx at {H}x{W}" in said
    assert "100% measured" in said


def test_the_page_shows_where_the_time_goes(profiled: tuple[Path, Any], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    told = document(report.main, str(profiled[0]), *into(out))
    assert {network["name"] for network in told["files"]} == {"up.onnx", "uneven.onnx"}
    page = out.read_text(encoding="utf-8")
    assert "Where the time of up.onnx goes" in page
    assert "convtranspose+relu" in page
    assert "times roofline" in page


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A board's target file and its tracker; the board is this machine, its server a process."""
    files = BoardFiles(tmp_path_factory.mktemp("board"))
    with open_yard() as yard:
        server = start(files.path, yard.address, free_port())
        try:
            yield files.path, yard.address
        finally:
            server.terminate()
            server.wait(timeout=60)


@pytest.mark.slow
def test_a_board_measures_a_batch_over_rpc(board: tuple[Path, str], tmp_path: Path) -> None:
    target, tracker = board
    path = write(tmp_path / "open.onnx", STEM, ["m"], shape=("n", 3, "h", "w"))
    given = ["--target", str(target), "--tracker", tracker, *into(tmp_path / "out"), "--trials", "1"]
    told = document(profile.main, str(path), *given, "--shape", f"image=2x3x{H}x{W}")
    assert told["target"] == "test-board"
    assert told["networks"][0]["inputs"] == f"2x3x{H}x{W}"
    assert told["tuning"]["trials"] > 0
    assert told["missing"] == []
    (one,) = told["boards"]
    assert one["done"] >= told["kernels"]["distinct"]
