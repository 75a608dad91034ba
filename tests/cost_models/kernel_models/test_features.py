import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Activation, Foreign, Normalize, Resize
from cost_models.kernel_models.features import FEATURES, Machine, features, matrix

from ..some_kernels import (
    argmax,
    convolution,
    depthwise,
    foreign,
    labels,
    only,
    relu,
    residual,
    space,
    transposed,
)

MACHINE = Machine(lanes=16, processors=2, macs_per_s=100e9, bytes_per_s=20e9)
FIXED = [name for name, feature in FEATURES.items() if feature.trend == "fixed"]
GROWING = [name for name, feature in FEATURES.items() if feature.trend == "grows"]


def test_every_feature_has_a_unit_and_a_reason() -> None:
    assert all(feature.unit and feature.reason for feature in FEATURES.values())
    assert len(FIXED) + len(GROWING) == len(FEATURES)


@pytest.mark.parametrize("kernel", space(), ids=lambda kernel: kernel.label)
def test_every_kernel_has_every_feature(kernel: Kernel) -> None:
    found = features(kernel, MACHINE)
    assert list(found) == list(FEATURES)
    assert all(math.isfinite(value) and value >= 0 for value in found.values())
    assert found["macs"] == kernel.macs
    assert found["bytes_in"] + found["bytes_out"] + found["bytes_weights"] == kernel.bytes_moved


def test_a_convolution_by_hand() -> None:
    found = features(convolution(16, 40, 30, 60, 3, stride=2, groups=2), MACHINE)
    structure = {"window": 9, "stride": 2, "dilation": 1, "groups": 2, "inputs": 1, "elementwise": 1}
    sizes = {"in_channels": 16, "out_channels": 40, "group_channels": 8, "rows": 15, "columns": 30}
    assert found.items() >= (structure | sizes).items()
    assert found["macs"] == 15 * 30 * 40 * 8 * 9
    assert found["bytes_in"] == 4 * 16 * 30 * 60
    assert found["bytes_weights"] == 4 * (40 * 8 * 9 + 40)
    assert found["vectors"] == 40 * 15 * 2  # rows of 30 fill two vectors of 16
    assert found["waves"] == math.ceil(1200 / 8 / 2)
    # 20 outputs a group fill two vectors of 16, too
    assert found["compute_s"] == pytest.approx(15 * 30 * 64 * 8 * 9 / 100e9)
    assert found["memory_s"] == pytest.approx((4 * (16 * 30 * 60 + 40 * 15 * 30 + 40 * 73)) / 20e9)
    assert found["roofline_s"] == max(found["compute_s"], found["memory_s"])
    assert found["intensity"] == pytest.approx(
        found["macs"] / (4 * (15 * 30 * 4 * 16 + 15 * 30 * 40 + 40 * 8 * 9))
    )


@pytest.mark.parametrize(
    ("size", "rows", "power", "columns"),
    [
        ((23, 30), 32, 32, 32),  # tiles of 16 rows, vectors of 16
        ((45, 60), 48, 64, 64),
        ((128, 256), 128, 128, 256),
        ((5, 9), 8, 8, 16),  # short sides take shorter ones
        ((1, 1), 1, 1, 1),
    ],
)
def test_maps_are_filled_up_to_whole_tiles(
    size: tuple[int, int], rows: int, power: int, columns: int
) -> None:
    found = features(convolution(16, 40, *size), MACHINE)
    assert found["tiled_macs"] == 16 * 40 * rows * columns
    assert found["tiled_bytes_in"] == 4 * 16 * power * columns
    assert found["tiled_bytes_out"] == 4 * 40 * power * columns


def test_other_inputs_and_kernels_that_compute_nothing_are_not_filled_up() -> None:
    project = residual(16, 3, 3, 23, 30)[-1]
    found = features(project, MACHINE)
    assert found["tiled_bytes_in"] == 4 * (48 * 32 * 32 + 16 * 23 * 30)
    found = features(relu(5, 23, 30), MACHINE)
    assert (found["tiled_bytes_in"], found["tiled_macs"]) == (found["bytes_in"], 0)


def test_a_depthwise_convolution_counts_no_groups_and_fills_its_rows() -> None:
    found = features(depthwise(24, 10, 20, 5), MACHINE)
    assert (found["groups"], found["group_channels"], found["window"]) == (0, 1, 25)
    assert found["compute_s"] == pytest.approx(24 * 10 * 32 * 25 / 100e9)


def test_a_residual_is_one_more_map_to_read() -> None:
    project = residual(16, 3, 3, 8, 8)[-1]
    found = features(project, MACHINE)
    assert (found["inputs"], found["elementwise"]) == (2, 1)
    assert found["bytes_in"] == 4 * (48 + 16) * 64


def test_kernels_without_a_convolution() -> None:
    found = features(argmax(32, 64), MACHINE)
    assert (found["reductions"], found["elementwise"], found["macs"]) == (1, 0, 0)
    assert (found["in_channels"], found["out_channels"], found["rows"]) == (19, 1, 32)
    assert found["compared"] == 19 * 32 * 64
    assert found["compute_s"] == pytest.approx(19 * 32 * 64 / 100e9)
    builder = GraphBuilder()
    kernel = only(builder.build(builder.add("up", Resize(align_corners=True, size=(8, 16)), "x")), 5, 4, 8)
    assert (
        features(kernel, MACHINE).items()
        >= {"resizes": 1, "rows": 8, "columns": 16, "in_channels": 5}.items()
    )
    assert features(relu(5, 4, 8), MACHINE)["elementwise"] == 1


def test_values_compared_count_though_none_of_them_is_stored() -> None:
    kernel = labels(19, 8, 16, (64, 128))
    found = features(kernel, MACHINE)
    assert (found["compared"], found["bytes_in"], found["bytes_out"]) == (
        19 * 64 * 128,
        4 * 19 * 8 * 16,
        64 * 128,
    )
    assert found["roofline_s"] == found["compute_s"] == pytest.approx(19 * 64 * 128 / 100e9)
    assert (kernel.macs, kernel.work, kernel.work_class) == (0, 19 * 64 * 128, "depthwise")


def test_a_frame_has_its_channels_last() -> None:
    builder = GraphBuilder(("frame",))
    graph = builder.build(builder.add("n", Normalize((0.5,) * 3, (0.2,) * 3), "frame"))
    found = features(Kernel(graph, ((1, 32, 64, 3),)), MACHINE)
    assert (found["in_channels"], found["out_channels"], found["moves"]) == (3, 3, 1)
    assert found["bytes_in"] == 3 * 32 * 64


@given(
    form=st.sampled_from(("convolution", "depthwise", "relu")),
    window=st.sampled_from((1, 3, 5)),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from((1, 2, 4)),
    sizes=st.tuples(*[st.integers(1, 40)] * 2, *[st.integers(9, 70)] * 2),
    more=st.tuples(*[st.integers(0, 20)] * 4),
    lanes=st.sampled_from((4, 8, 16, 32)),
)
@settings(deadline=None, max_examples=300)
def test_growing_features_never_fall_and_fixed_ones_stay(
    form: str,
    window: int,
    stride: int,
    dilation: int,
    groups: int,
    sizes: tuple[int, int, int, int],
    more: tuple[int, int, int, int],
    lanes: int,
) -> None:
    def kernel(inputs: int, outputs: int, height: int, width: int) -> Kernel:
        if form == "relu":
            return relu(inputs, height, width)
        if form == "depthwise":
            shape = {"stride": stride, "dilation": dilation, "groups": inputs + 1}
            return convolution(inputs + 1, inputs + 1, height, width, window, **shape)
        shape = {"stride": stride, "dilation": dilation, "groups": groups}
        # twice as many outputs as the groups at least: it must stay what it is, and not become depthwise
        return convolution(groups * inputs, 2 * groups * outputs, height, width, window, **shape)

    machine = Machine(lanes=lanes, processors=3, macs_per_s=1e9, bytes_per_s=1e9)
    small = features(kernel(*sizes), machine)
    large = features(kernel(*(size + extra for size, extra in zip(sizes, more, strict=True))), machine)
    assert [name for name in FIXED if small[name] != large[name]] == []
    assert [name for name in GROWING if large[name] < small[name]] == []


def test_the_matrix_has_a_row_a_kernel() -> None:
    kernels = space()[:3]
    table = matrix(kernels, MACHINE)
    assert table.shape == (3, len(FEATURES))
    assert table[1].tolist() == list(features(kernels[1], MACHINE).values())
    assert matrix([], MACHINE).shape == (0, len(FEATURES))


@pytest.mark.parametrize(
    ("tvm_target", "dtype", "lanes"),
    [
        ({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "skylake-avx512"}, "float32", 16),
        ({"kind": "llvm", "mcpu": "skylake-avx512", "mattr": ["-avx512f"]}, "float32", 8),
        ({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "haswell"}, "float32", 8),
        ({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72"}, "float16", 8),
    ],
    ids=["avx512", "avx512-hidden", "avx2", "neon"],
)
def test_vectors_of_a_cpu_are_as_long_as_tvm_says(
    tvm_target: dict[str, object], dtype: str, lanes: int
) -> None:
    fingerprint = {"tvm_target": json.dumps(tvm_target), "cores": 4, "dtype": dtype}
    found = Machine.of(fingerprint, macs_per_s=1e9, bytes_per_s=2e9)
    assert found == Machine(lanes=lanes, processors=4, macs_per_s=1e9, bytes_per_s=2e9)


def test_a_gpu_has_warps_and_is_known_without_tvm() -> None:
    code = """
import sys
from cost_models.kernel_models.features import Machine
found = Machine.of({"tvm_target": '{"kind":"cuda","arch":"sm_72"}', "dtype": "float16"}, 1e9, 1e9)
sys.stdout.write(f"{found.lanes} {found.processors} {'tvm' in sys.modules}")
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert process.stdout == "32 8 False", process.stderr


def test_features_of_many_kernels_are_numbers_of_one_type() -> None:
    assert matrix(space(), MACHINE).dtype == np.float64


def test_somebody_elses_work_counts_in_its_class() -> None:
    found = features(transposed(), MACHINE)
    assert found["macs"] == transposed().macs > 0
    assert (found["window"], found["groups"], found["elementwise"], found["reductions"]) == (9, 1, 1, 0)
    assert found["compute_s"] == pytest.approx(found["macs"] / MACHINE.macs_per_s)
    assert found["bytes_weights"] == 4 * 8 * 8 * 4
    assert features(transposed(2 * transposed().macs), MACHINE)["compute_s"] == 2 * found["compute_s"]


@pytest.mark.parametrize(
    ("fusion", "counted"),
    [
        ("elementwise", "elementwise"),
        ("broadcast", "moves"),
        ("injective", "moves"),
        ("out_elementwise_fusable", "reductions"),
        ("comm_reduce", "reductions"),
    ],
)
def test_somebody_elses_operation_counts_as_what_it_is_like(fusion: Any, counted: str) -> None:
    for shape in ((1, 8, 16, 32), (1, 10, 1, 1), (1, 8, 256)):
        found = features(foreign(Foreign("Thing", shape, fusion=fusion)), MACHINE)
        sorts = {name: found[name] for name in ("elementwise", "moves", "reductions", "resizes")}
        assert sorts == dict.fromkeys(sorts, 0) | {counted: 1}
        assert found["bytes_out"] == 4 * math.prod(shape)


def test_fused_to_somebody_elses_is_fused_all_the_same() -> None:
    gather = Foreign("Gather", (1, 8, 16, 32), fusion="injective")
    assert features(foreign(gather, Activation("relu")), MACHINE)["elementwise"] == 1
