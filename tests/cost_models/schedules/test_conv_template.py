"""Strided convolutions in the template: right at every size and edge, and loaded in whole vectors."""

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cost_models.lowering.pipeline import kernels, lower
from cost_models.schedules.conv_template import Conv, Tile, find_conv, schedule_conv
from cost_models.schedules.sblocks import scheduled_module
from cost_models.schedules.serialization import tile_of
from cost_models.schedules.tile_model import Cpu, all_tiles, choose_tile
from cost_models.tvm_import import tvm

from ..two_runtimes import run_onnx

HERE = tvm.target.Target({"kind": "llvm", "num-cores": 2, "mcpu": tvm.target.codegen.llvm_get_system_cpu()})
ANY = tvm.target.Target({"kind": "llvm", "num-cores": 2})  # four lanes, sixteen registers


def model_of(
    weight: Any, size: tuple[int, int], *, stride: Any, pads: Any, dilation: int = 1, groups: int = 1
) -> onnx.ModelProto:
    conv = helper.make_node(
        "Conv",
        ["x", "weight"],
        ["y"],
        strides=[*stride],
        pads=[*pads],
        dilations=[dilation] * 2,
        group=groups,
    )
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, weight.shape[1] * groups, *size))
    made = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    nodes = [conv, helper.make_node("Relu", ["y"], ["z"])]
    graph = helper.make_graph(nodes, "net", [given], [made], [numpy_helper.from_array(weight, "weight")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


def conv_of(model: onnx.ModelProto, target: Any) -> Conv:
    (kernel,) = kernels(lower(model, target)).values()
    return find_conv(kernel.mod)


def computed(conv: Conv, tile: Tile, target: Any, x: Any, weight: Any) -> Any:
    """What a scheduled kernel writes; its result is full of NaN before."""
    kernel = tvm.compile(scheduled_module(schedule_conv(conv, tile)), target)["main"]
    result = tvm.runtime.tensor(np.full([int(side) for side in conv.params[-1].shape], np.nan, "float32"))
    given = {conv.data: x, conv.weight: weight}
    kernel(*(tvm.runtime.tensor(given[param]) for param in conv.params[:-1]), result)
    return result.numpy()


CASES = [  # inputs, outputs, groups; height, width; window; stride; dilation; pads or None for half a window
    (6, 6, 6, (1, 1), 3, (2, 2), 1, None),
    (6, 6, 6, (2, 3), 5, (2, 2), 1, None),
    (4, 4, 4, (1, 130), 7, (2, 2), 1, None),
    (4, 4, 4, (37, 1), 3, (2, 2), 1, None),
    (3, 3, 3, (16, 128), 3, (2, 2), 1, None),
    (3, 3, 3, (23, 61), 5, (2, 2), 1, None),
    (2, 2, 2, (18, 75), 7, (2, 2), 1, None),
    (2, 2, 2, (20, 70), 3, (2, 2), 2, None),
    (2, 2, 2, (21, 67), 5, (2, 2), 3, None),
    (2, 2, 2, (17, 66), 3, (2, 2), 1, (0, 0, 1, 1)),  # as TensorFlow pads
    (2, 2, 2, (17, 65), 5, (2, 2), 1, (3, 1, 0, 4)),
    (2, 2, 2, (17, 65), 3, (2, 2), 1, (0, 0, 0, 0)),
    (2, 2, 2, (15, 64), 3, (1, 2), 1, None),
    (2, 2, 2, (15, 64), 3, (2, 1), 1, None),
    (2, 2, 2, (22, 100), 5, (3, 3), 1, None),
    (3, 8, 1, (16, 128), 3, (2, 2), 1, None),
    (3, 6, 1, (15, 97), 3, (2, 2), 1, None),
    (3, 4, 1, (9, 50), 7, (2, 2), 1, None),
    (3, 5, 1, (16, 64), 4, (4, 4), 1, (0, 0, 0, 0)),
    (4, 6, 2, (13, 40), 3, (2, 2), 1, None),
    (5, 4, 1, (12, 33), 1, (2, 2), 1, None),
]


@pytest.mark.parametrize("target", [HERE, ANY], ids=["here", "any"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_strided_convolutions_are_onnxruntimes(case: tuple[Any, ...], target: Any) -> None:
    inputs, outputs, groups, size, window, stride, dilation, pads = case
    random = np.random.default_rng(0)
    weight = random.standard_normal((outputs, inputs // groups, window, window), "float32")
    x = random.standard_normal((1, inputs, *size), "float32")
    pads = pads or [window // 2 * dilation] * 4
    model = model_of(weight, size, stride=stride, pads=pads, dilation=dilation, groups=groups)
    (wanted,) = run_onnx(model, {"x": x})
    conv, cpu = conv_of(model, target), Cpu.of(target)
    *_, (other, _) = all_tiles(conv, cpu)
    for tile in {choose_tile(conv, cpu)} | ({other} if target is HERE else set()):
        found = computed(conv, tile, target, x, weight)
        assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max(initial=1), tile


DENSE = [  # inputs, outputs; height, width; window; stride
    (5, 19, (8, 64), 1, 1),
    (24, 19, (6, 40), 1, 1),
    (7, 1, (5, 33), 1, 1),
    (3, 2, (4, 32), 1, 1),
    (3, 255, (2, 16), 1, 1),
    (4, 13, (9, 31), 3, 1),
    (4, 17, (9, 64), 3, 2),
    (4, 11, (3, 1), 1, 1),
]


@pytest.mark.parametrize("case", DENSE, ids=str)
def test_filters_need_not_fill_the_last_register_tile(case: tuple[Any, ...]) -> None:
    inputs, outputs, size, window, stride = case
    random = np.random.default_rng(0)
    weight = random.standard_normal((outputs, inputs, window, window), "float32")
    x = random.standard_normal((1, inputs, *size), "float32")
    model = model_of(weight, size, stride=(stride, stride), pads=[window // 2] * 4)
    (wanted,) = run_onnx(model, {"x": x})
    conv, cpu = conv_of(model, HERE), Cpu.of(HERE)
    chosen = choose_tile(conv, cpu)
    uneven = [t for t, _ in all_tiles(conv, cpu) if outputs % t.channels][:: max(1, outputs * 40)]
    assert uneven or outputs < 3
    for tile in {chosen, replace(chosen, filters_first=not chosen.filters_first), *uneven[:3]}:
        found = computed(conv, tile, HERE, x, weight)
        assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max(initial=1), tile


def test_filters_of_a_group_fill_their_register_tiles() -> None:
    weight = np.ones((10, 2, 1, 1), "float32")
    conv = conv_of(model_of(weight, (8, 64), stride=(1, 1), pads=[0] * 4, groups=2), ANY)
    assert {t.channels for t, _ in all_tiles(conv, Cpu.of(ANY))} <= {1, 5}
    with pytest.raises(ValueError, match="3 does not divide 5 channels of a group"):
        schedule_conv(conv, Tile(channels=3, rows=1, vectors=1, lanes=4, down=1, across=1))


@pytest.mark.parametrize("window", [3, 5])
def test_pieces_of_rows_are_right_too(window: int) -> None:
    weight = np.random.default_rng(1).standard_normal((2, 1, window, window), "float32")
    x = np.random.default_rng(2).standard_normal((1, 2, 16, 256), "float32")
    model = model_of(weight, (16, 256), stride=(2, 2), pads=[window // 2] * 4, groups=2)
    conv = conv_of(model, ANY)
    whole = choose_tile(conv, Cpu.of(ANY))
    pieces = replace(whole, across=max(1, whole.across // 4))
    assert pieces.width * pieces.across < conv.out_shape[2]
    (wanted,) = run_onnx(model, {"x": x})
    assert np.abs(computed(conv, pieces, ANY, x, weight) - wanted).max() < 1e-5


def test_tiles_stored_by_other_releases_are_read() -> None:
    text = (
        '{"conv":{"channels":1,"rows":4,"vectors":1,"lanes":4,"down":2,"across":8,'
        '"filters_first":false,"direct":false}}'
    )
    tile = tile_of(text)
    assert isinstance(tile, Tile)
    model = model_of(np.ones((2, 1, 3, 3), "float32"), (32, 128), stride=(2, 2), pads=[1] * 4, groups=2)
    ones = np.ones((1, 2, 32, 128), "float32")
    found = computed(conv_of(model, ANY), tile, ANY, ones, np.ones((2, 1, 3, 3), "float32"))
    assert (found[0, 0, 0, 0], found[0, 0, 0, 1], found[0, 1, 1, 1]) == (4, 6, 9)


MACHINES = {  # processor -> its kind of machine, instructions that sort vectors, ones that load single values
    "x86-64-v3": ("x86_64-linux-gnu", r"vshufps", r"vinsertps|vpinsrd"),
    "x86-64-v4": ("x86_64-linux-gnu", r"vperm\w*ps", r"vgather\w+"),
    "cortex-a72": ("aarch64-linux-gnu", r"ld2", r"ld1\s+{ v\d+\.s }"),
}


@pytest.mark.parametrize("window", [3, 5])
@pytest.mark.parametrize("cpu", MACHINES)
def test_the_input_is_loaded_in_whole_vectors(cpu: str, window: int) -> None:
    triple, sorting, single = MACHINES[cpu]
    target = tvm.target.Target({"kind": "llvm", "mtriple": triple, "mcpu": cpu, "num-cores": 2})
    weight = np.zeros((8, 1, window, window), "float32")
    model = model_of(weight, (32, 256), stride=(2, 2), pads=[window // 2] * 4, groups=8)
    conv = conv_of(model, target)
    scheduled = scheduled_module(schedule_conv(conv, choose_tile(conv, Cpu.of(target))))
    assembly = tvm.compile(scheduled, target).mod.inspect_source("asm")
    assert re.search(rf"^\s+{sorting}\b", assembly, re.MULTILINE)
    assert not re.search(rf"^\s+({single})", assembly, re.MULTILINE)


def test_packed_rows_of_strided_depthwise_kernels_stay_in_the_first_cache() -> None:
    for window, size in ((3, (256, 512)), (3, (64, 128)), (5, (128, 256)), (5, (64, 128))):
        weight = np.zeros((16, 1, window, window), "float32")
        model = model_of(weight, size, stride=(2, 2), pads=[window // 2] * 4, groups=16)
        conv = conv_of(model, ANY)
        for cpu in (Cpu(lanes=16, registers=32, cores=2), Cpu(lanes=8, registers=16, cores=8)):
            tile = choose_tile(conv, cpu)
            assert tile.width * tile.across == math.ceil(size[1] / 2)  # rows are whole
            rows = (tile.rows * tile.down - 1) * 2 + window
            assert 4 * rows * (size[1] + window - 1) < 24 * 1024
