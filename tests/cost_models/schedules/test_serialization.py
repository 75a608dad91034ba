"""Schedules as text: they come back as they were, and what does not fit is refused in one line."""

import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.schedules.conv_template import Tile
from cost_models.schedules.gpu_depthwise import DepthwiseTile
from cost_models.schedules.gpu_matmul import MatmulTile
from cost_models.schedules.serialization import apply_schedule, tile_of, tile_text, trace_text
from cost_models.schedules.tiles import AnyTile
from cost_models.tvm_import import tvm

from ..some_kernels import argmax, convolution, depthwise

ROOT = Path(__file__).parents[3]
TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
CUDA = tvm.target.Target({"kind": "cuda", "arch": "sm_90"})
MATMUL = MatmulTile(filters=4, vectors=1, lanes=4, down=2, across=16, depth=6)
DEPTHWISE = DepthwiseTile(rows=4, columns=1, threads=64)


def module(kernel: Kernel) -> Any:
    return kernel_module(kernel, TARGET)


def tile(channels: int = 2, rows: int = 1, vectors: int = 2, lanes: int = 4, **more: Any) -> Tile:
    sizes = {"channels": channels, "rows": rows, "vectors": vectors, "lanes": lanes}
    return Tile(**{"down": 1, "across": 1, **sizes, **more})


def result(mod: Any) -> Any:
    """What the kernel computes from fixed random arguments."""
    random = np.random.default_rng(0)
    shapes = [[int(extent) for extent in param.shape] for param in mod["main"].params]
    tensors = [tvm.runtime.tensor(random.standard_normal(shape).astype("float32")) for shape in shapes]
    tvm.compile(mod, TARGET)["main"](*tensors)
    return tensors[-1].numpy()


def trace(mod: Any) -> str:
    """Some schedule of a kernel, as MetaSchedule would store it."""
    schedule = tvm.s_tir.Schedule(mod)
    block = schedule.get_child_blocks(schedule.get_sblock("root"))[-1]
    n, *_, last = schedule.get_loops(block)
    schedule.parallel(n)
    schedule.split(last, [None, 4])
    return trace_text(schedule)


def test_a_tile_comes_back_from_its_text() -> None:
    wanted = tile(down=4, filters_first=True)
    assert tile_of(tile_text(wanted)) == wanted
    assert json.loads(tile_text(wanted))["conv"]["down"] == 4


def test_what_a_tile_does_not_say_is_as_in_the_default_schedule() -> None:
    text = '{"conv":{"channels":2,"rows":1,"vectors":2,"lanes":4,"down":1,"across":1}}'
    assert tile_of(text) == tile()


def test_the_text_of_a_trace_is_no_tile() -> None:
    assert tile_of(trace(module(argmax(8, 8)))) is None


@pytest.mark.parametrize(
    ("kernel", "wanted"),
    [
        (convolution(6, 8, 10, 16), tile(vectors=1, lanes=16, rows=2, down=5)),
        (convolution(6, 8, 10, 16), tile(filters_first=True, across=2)),
        (convolution(6, 8, 10, 16), tile(direct=True, down=2)),
        (convolution(6, 8, 10, 16), tile(direct=True, filters_first=True, channels=8)),
        (convolution(6, 8, 10, 13), tile(filters_first=True, across=2)),
        (convolution(6, 8, 10, 13, groups=2), tile(lanes=8, vectors=1, across=2)),
        (convolution(5, 6, 12, 20, 3, stride=2), tile(across=2, filters_first=True)),
        (convolution(4, 6, 9, 9, 3, dilation=2), tile(rows=3, across=2, down=3)),
        (depthwise(6, 12, 20, 5), tile(channels=1, rows=4, lanes=8, across=2)),
        (depthwise(6, 12, 20, stride=2), tile(channels=1, rows=2, down=3, across=2)),
    ],
    ids=lambda value: value.label if isinstance(value, Kernel) else "",
)
def test_tiles_keep_what_the_kernel_computes(kernel: Kernel, wanted: Tile) -> None:
    mod = module(kernel)
    scheduled = apply_schedule(mod, TARGET, tile_text(wanted))
    assert "T.parallel" in str(scheduled)
    assert ("packed" in str(scheduled)) != wanted.direct
    np.testing.assert_allclose(result(scheduled), result(mod), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["tile", "trace"])
def test_a_schedule_gives_the_same_kernel_in_another_process(form: str, tmp_path: Path) -> None:
    mod = module(convolution(4, 8, 6, 16))
    text = tile_text(tile()) if form == "tile" else trace(mod)
    (tmp_path / "mod.json").write_text(tvm.ir.save_json(mod))
    (tmp_path / "schedule.json").write_text(text)
    script = """
    import sys
    from pathlib import Path
    from cost_models.schedules.serialization import apply_schedule
    from cost_models.tvm_import import tvm
    folder = Path(sys.argv[1])
    mod = tvm.ir.load_json((folder / "mod.json").read_text())
    target = tvm.target.Target({"kind": "llvm", "num-cores": 2})
    scheduled = apply_schedule(mod, target, (folder / "schedule.json").read_text())
    (folder / "scheduled.json").write_text(tvm.ir.save_json(scheduled))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    elsewhere = tvm.ir.load_json((tmp_path / "scheduled.json").read_text())
    tvm.ir.assert_structural_equal(elsewhere, apply_schedule(mod, TARGET, text))


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (tile(channels=9), "9 does not divide 8 channels of a group"),
        (tile(channels=0), "0 does not divide 8 channels of a group"),
        (tile(rows=3), "3 does not divide 10 rows"),
        (tile(across=5), "40 does not divide 16 columns"),
        (tile(rows=0), "0 does not divide 10 rows"),
    ],
)
def test_a_tile_that_does_not_divide_the_kernel_is_refused(wanted: Tile, reason: str) -> None:
    with pytest.raises(CostModelError, match=f"schedule does not fit the kernel.*{reason}.*anew"):
        apply_schedule(module(convolution(6, 8, 10, 16)), TARGET, tile_text(wanted))


def test_tiles_that_would_read_beyond_the_input_are_refused() -> None:
    with pytest.raises(CostModelError, match="the input must be packed"):
        apply_schedule(module(convolution(6, 8, 10, 16, 3)), TARGET, tile_text(tile(direct=True)))
    with pytest.raises(CostModelError, match="a packed tile must have all 16 columns"):
        apply_schedule(module(convolution(6, 8, 10, 13)), TARGET, tile_text(tile()))


def test_schedules_of_another_kernel_are_refused() -> None:
    other = module(argmax(8, 8))
    with pytest.raises(CostModelError, match=r"does not fit the kernel.*not a fused NCHW convolution.*anew"):
        apply_schedule(other, TARGET, tile_text(tile()))
    with pytest.raises(CostModelError, match=r"schedule does not fit the kernel.*tune this one anew"):
        apply_schedule(other, TARGET, trace(module(convolution(4, 8, 6, 16))))


def test_tiles_are_refused_for_a_gpu() -> None:
    with pytest.raises(CostModelError, match="is for targets of kind llvm, not cuda: tune this kernel anew"):
        apply_schedule(module(convolution(4, 8, 6, 16)), CUDA, tile_text(tile()))


def test_tiles_of_gpus_have_a_form_of_their_own() -> None:
    for tile, form in ((MATMUL, "gpu_matmul"), (DEPTHWISE, "gpu_depthwise")):
        assert list(json.loads(tile_text(tile))) == [form]
        assert tile_of(tile_text(tile)) == tile
    scheduled = apply_schedule(module(convolution(6, 8, 10, 16)), CUDA, tile_text(MATMUL))
    assert "vthread.x" in str(scheduled)


@pytest.mark.parametrize(
    ("kernel", "tile", "reason"),
    [
        (convolution(6, 8, 10, 16), replace(MATMUL, across=4096), "allowed are 1024 threads"),
        (convolution(6, 8, 10, 16), replace(MATMUL, depth=1 << 12), "and 49152 bytes"),
        (convolution(6, 8, 10, 16), replace(MATMUL, filters=64, lanes=1, vectors=8), "255 registers"),
        (convolution(6, 8, 10, 16), replace(MATMUL, vectors=0), "not 1 to 4096"),
        (convolution(6, 8, 10, 16), DEPTHWISE, "a tile for depthwise convolutions"),
        (depthwise(6, 12, 20), replace(DEPTHWISE, rows=1 << 10), "255 registers"),
        (argmax(8, 8), MATMUL, "not a fused NCHW convolution"),
    ],
    ids=["threads", "shared", "registers", "none", "another kind", "rows", "another kernel"],
)
def test_tiles_that_a_gpu_cannot_take_are_refused(kernel: Kernel, tile: AnyTile, reason: str) -> None:
    with pytest.raises(CostModelError, match=f"schedule does not fit the kernel.*{reason}.*anew"):
        apply_schedule(module(kernel), CUDA, tile_text(tile))


def test_tiles_of_gpus_are_refused_for_a_cpu() -> None:
    with pytest.raises(CostModelError, match="is for targets of kind cuda, not llvm: tune this kernel anew"):
        apply_schedule(module(convolution(4, 8, 6, 16)), TARGET, tile_text(MATMUL))


@pytest.mark.parametrize(
    "text",
    [
        "tile",
        "7",
        "{}",
        '{"pool": {}}',
        '{"conv": 4}',
        '{"conv": {"channels": 4}}',
        tile_text(tile()).replace("4", '"4"'),
        tile_text(tile()).replace("rows", "lines"),
    ],
)
def test_what_is_no_schedule_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(
        CostModelError, match=r"^not the text of a schedule: .*tune this kernel anew"
    ) as caught:
        apply_schedule(module(convolution(4, 8, 6, 16)), TARGET, text)
    assert "\n" not in str(caught.value)
