"""Default tiles beside others, on kernels of tiny maps."""

import json
import sys
from pathlib import Path

import pytest
from tile_choice import convolutions as kernels
from tile_choice import main, ratios, some_tiles

from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Conv2d
from cost_models.lowering.best_schedules import kernel_module
from cost_models.schedules.conv_template import find_conv, schedule_conv
from cost_models.schedules.tile_model import Cpu, choose_tile
from targets import load_target


def test_the_default_tile_is_the_first_of_distinct_ones_that_fit() -> None:
    target, net = load_target("local-cpu").tvm_target(), GraphBuilder()
    (kernel,) = split_into_kernels(
        net.build(net.conv_bn("conv", Conv2d(16, 24), "x")), {"x": (1, 16, 32, 64)}
    )
    conv = find_conv(kernel_module(kernel, target))
    tiles = some_tiles(conv, Cpu.of(target), 12)
    assert tiles[0] == choose_tile(conv, Cpu.of(target))
    assert 12 <= len(tiles) == len(set(tiles)) <= 13
    for tile in tiles:
        schedule_conv(conv, tile)


def test_ratios_are_told_by_kind_and_of_all_time() -> None:
    rows = [
        {"kind": "1x1", "default_ms": 2.0, "best_ms": 1.0},
        {"kind": "1x1", "default_ms": 1.0, "best_ms": 1.0},
        {"kind": "depthwise", "default_ms": 9.0, "best_ms": 6.0},
    ]
    found = ratios(rows)
    assert found["1x1"] == {"kernels": 2, "mean": pytest.approx(2**0.5), "most": 2.0, "time": 1.5}
    assert found["all"]["time"] == pytest.approx(12 / 8)
    assert found["depthwise"]["mean"] == pytest.approx(1.5)


def test_finished_kernels_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tile_choice.convolutions", lambda *given: dict([*kernels(*given).items()][:2]))
    given = ["squeezenas-lat-small", "--resolution", "64x64", "--tiles", "2", "--out", str(tmp_path / "rows")]
    monkeypatch.setattr(sys, "argv", ["x", *given, "--json"])
    main()
    document = json.loads(capsys.readouterr().out)
    assert [row["kind"] for row in document["kernels"]] == ["others", "1x1"]
    assert all(row["default_ms"] >= row["best_ms"] > 0 for row in document["kernels"])
    monkeypatch.setattr("tile_choice.row_of", lambda *_: pytest.fail("a kernel was measured again"))
    main()
    assert json.loads(capsys.readouterr().out)["kernels"] == document["kernels"]
