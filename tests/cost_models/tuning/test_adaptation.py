"""Schedules of one kernel on others: they fit, give the right numbers and keep to the limits."""

import functools
import json
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel
from cost_models.ir.ops import Conv2d
from cost_models.lowering.pipeline import kernels, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.schedules.conv_template import Tile, find_conv
from cost_models.schedules.serialization import apply_schedule, apply_tile, tile_of, tile_text, trace_text
from cost_models.schedules.tile_model import Cpu, choose_tile
from cost_models.schedules.tiles import all_tiles, tiled_conv
from cost_models.tuning.adaptation import Adapted, adapt, fit_factors, fit_tile
from cost_models.tvm_import import ms, tvm, tvm_ffi

from ..some_kernels import argmax, convolution, depthwise, relu

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
CUDA = tvm.target.Target(
    {
        "kind": "cuda",
        "arch": "sm_90",
        "max_threads_per_block": 1024,
        "max_shared_memory_per_block": 49152,
        "thread_warp_size": 32,
    }
)
TILE = Tile(channels=4, rows=2, vectors=2, lanes=8, down=2, across=1)


@functools.cache
def module(kernel: Kernel, target: Any = TARGET) -> Any:
    (found,) = kernels(lower(to_onnx(kernel.graph, kernel.input_shapes, name="kernel"), target)).values()
    return found.mod


def traces(mod: Any, count: int, target: Any = TARGET) -> list[str]:
    """What a few trials of MetaSchedule try."""
    kind = target.kind.name
    context = ms.TuneContext(
        mod,
        target=target,
        space_generator=ms.space_generator.PostOrderApply(sch_rules=kind, postprocs=kind, mutator_probs=kind),
        search_strategy=ms.search_strategy.EvolutionarySearch(
            population_size=64, init_min_unmeasured=1, genetic_num_iters=0
        ),
        rand_state=1,
        num_threads=1,
    )
    context.pre_tuning(
        max_trials=1000,
        num_trials_per_iter=count,
        database=ms.database.MemoryDatabase(),
        cost_model=ms.cost_model.RandomModel(seed=1),
    )
    found = [trace_text(candidate.sch) for candidate in context.generate_measure_candidates()]
    assert found
    return found


def decisions(text: str) -> list[Any]:
    """The tile sizes of a trace."""
    return [decision for _, decision in json.loads(text)[1] if isinstance(decision, list)]


def choices(text: str) -> list[Any]:
    """The other decisions of a trace: unrolling, and where blocks are computed."""
    return [decision for _, decision in json.loads(text)[1] if not isinstance(decision, list)]


def reference(kernel: Kernel, x: Any, weight: Any, bias: Any) -> Any:
    """Convolution, bias and ReLU, by numpy."""
    conv = next(node.op for node in kernel.graph.nodes if isinstance(node.op, Conv2d))
    pad, step = conv.padding, conv.stride
    _, filters, height, width = kernel.output_shape
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))).astype("float64")
    depth, group = weight.shape[1], filters // conv.groups
    out = np.zeros(kernel.output_shape)
    for f in range(filters):
        planes = x[:, f // group * depth : (f // group + 1) * depth]
        for ry in range(conv.kernel):
            for rx in range(conv.kernel):
                y0, x0 = ry * conv.dilation, rx * conv.dilation
                window = planes[:, :, y0 : y0 + height * step : step, x0 : x0 + width * step : step]
                out[:, f] += np.einsum("ncyx,c->nyx", window[:, :, :height, :width], weight[f, :, ry, rx])
    return np.maximum(out + bias, 0)


def assert_right(kernel: Kernel, scheduled: Any) -> None:
    random = np.random.default_rng(0)
    shapes = [[int(extent) for extent in param.shape] for param in scheduled["main"].params]
    arrays = [random.standard_normal(shape).astype("float32") for shape in shapes]
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    tvm.compile(scheduled, TARGET)["main"](*tensors)
    np.testing.assert_allclose(tensors[-1].numpy(), reference(kernel, *arrays[:-1]), rtol=1e-4, atol=1e-4)


FAMILIES = {
    "pointwise": (convolution(16, 24, 8, 16), [convolution(24, 40, 6, 20), convolution(10, 49, 15, 9)]),
    "depthwise": (depthwise(16, 8, 16), [depthwise(10, 6, 20), depthwise(24, 12, 8)]),
    "strided": (
        depthwise(16, 16, 32, stride=2),
        [depthwise(12, 12, 20, stride=2), depthwise(9, 15, 9, stride=2)],
    ),
    "dense": (convolution(4, 8, 8, 16, 3), [convolution(3, 10, 9, 20, 3)]),
    "grouped": (convolution(16, 24, 8, 16, groups=2), [convolution(12, 20, 6, 20, groups=2)]),
}


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("pointwise", "depthwise") else pytest.param(name, marks=pytest.mark.slow)
        for name in FAMILIES
    ],
)
def test_traces_of_a_kernel_give_the_right_numbers_on_others(name: str) -> None:
    donor, others = FAMILIES[name]
    for text in traces(module(donor), 2):
        for kernel in others:
            mod = module(kernel)
            proposal = adapt(mod, TARGET, text)
            assert proposal is not None
            assert proposal.origin == "transfer"
            assert choices(proposal.schedule)[0] == choices(text)[0]  # how far to unroll
            replayed = apply_schedule(mod, TARGET, proposal.schedule)
            tvm.ir.assert_structural_equal(replayed, proposal.mod)
            assert_right(kernel, proposal.mod)


@pytest.mark.parametrize("name", FAMILIES)
def test_on_the_kernel_it_was_found_for_a_trace_stays_what_it_is(name: str) -> None:
    mod = module(FAMILIES[name][0])
    for text in traces(mod, 3):
        proposal = adapt(mod, TARGET, text)
        assert proposal is not None
        assert (decisions(proposal.schedule), choices(proposal.schedule)) == (decisions(text), choices(text))
        tvm.ir.assert_structural_equal(proposal.mod, apply_schedule(mod, TARGET, text))


def test_a_trace_fits_a_larger_window_too() -> None:
    kernel = depthwise(10, 6, 20, 5)
    proposal = adapt(module(kernel), TARGET, traces(module(depthwise(16, 8, 16)), 1)[0])
    assert proposal is not None
    assert_right(kernel, proposal.mod)


def test_tile_sizes_are_rounded_to_the_nearest_that_divide() -> None:
    text = traces(module(convolution(16, 24, 8, 16)), 1)[0]
    proposal = adapt(module(convolution(16, 48, 8, 32)), TARGET, text)
    assert proposal is not None
    before, after = decisions(text), decisions(proposal.schedule)
    assert [math.prod(factors) for factors in after] == [1, 48, 8, 32, 16, 1, 1]
    assert [factors[1:] for factors in after] == [factors[1:] for factors in before]  # the outermost grows


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=5),
    st.integers(1, 600),
    st.integers(1, 64),
    st.booleans(),
)
@settings(deadline=None)
def test_factors_are_exact_and_within_their_limits(
    factors: list[int], extent: int, innermost: int, larger: bool
) -> None:
    found = fit_factors(tuple(factors), extent, innermost, larger=larger)
    assert math.prod(found) == extent
    assert len(found) == len(factors)
    assert found[-1] <= innermost
    assert larger or all(new <= max(old, 1) for new, old in zip(found[1:], factors[1:], strict=True))
    if math.prod(factors) == extent and factors[-1] <= innermost:
        assert list(found) == factors


@pytest.mark.parametrize(
    ("factors", "extent", "expected"),
    [
        ((1, 2, 4, 16), 1024, (8, 2, 4, 16)),
        ((4, 1, 6, 2), 80, (8, 1, 5, 2)),
        ((2, 16), 31, (1, 31)),
        ((1, 1), 2**25, (2**25, 1)),
    ],
)
def test_factors_near_the_old_ones(factors: tuple[int, ...], extent: int, expected: tuple[int, ...]) -> None:
    assert fit_factors(factors, extent, 64) == expected


@pytest.mark.parametrize(
    "kernel",
    [
        convolution(16, 24, 8, 31),
        convolution(10, 37, 7, 5),
        convolution(8, 12, 8, 16, groups=2),
        convolution(3, 8, 9, 23, 3, stride=2),
        depthwise(6, 10, 31),
        convolution(5, 3, 1, 1),
    ],
    ids=lambda kernel: kernel.label,
)
def test_tiles_give_the_right_numbers_on_other_sizes_ragged_rows_too(kernel: Kernel) -> None:
    mod = module(kernel)
    proposal = adapt(mod, TARGET, tile_text(TILE))
    assert proposal is not None
    assert proposal.origin == "transfer"
    tvm.ir.assert_structural_equal(apply_schedule(mod, TARGET, proposal.schedule), proposal.mod)
    assert_right(kernel, proposal.mod)


def test_columns_in_vain_count_more_than_the_distance() -> None:
    wide = replace(TILE, vectors=3)
    assert fit_tile(find_conv(module(convolution(16, 24, 8, 24))), wide).vectors == 3
    assert fit_tile(find_conv(module(convolution(16, 24, 8, 32))), wide).vectors == 2


def test_tile_sizes_stay_where_they_divide() -> None:
    conv = find_conv(module(convolution(16, 24, 8, 32)))
    assert fit_tile(conv, TILE) == TILE


@pytest.mark.parametrize(
    ("kernel", "changed"),
    [
        (convolution(16, 18, 8, 32), {}),  # two of twenty filters in vain are less than sums a quarter fewer
        (convolution(16, 36, 8, 32, groups=2), {"channels": 3}),
        (convolution(16, 24, 7, 32), {"rows": 1, "down": 1}),
        (convolution(16, 24, 12, 32), {"down": 2}),
        (convolution(16, 24, 8, 8), {"vectors": 1, "channels": 4}),
        (convolution(16, 24, 8, 5), {"lanes": 8, "vectors": 1}),
        (convolution(16, 24, 8, 39), {"across": 3, "vectors": 2}),
    ],
    ids=lambda value: value.label if isinstance(value, Kernel) else "",
)
def test_tile_sizes_go_to_the_nearest_that_fit(kernel: Kernel, changed: dict[str, int]) -> None:
    fitted = asdict(fit_tile(find_conv(module(kernel)), TILE))
    assert {name: fitted[name] for name in changed} == changed


@given(
    st.tuples(
        *[st.integers(1, 12)] * 2, st.integers(1, 8), st.sampled_from([1, 4, 16]), *[st.integers(1, 9)] * 2
    ),
    st.booleans(),
    st.sampled_from([convolution(4, 30, 12, 45), depthwise(6, 9, 17), convolution(4, 6, 16, 16, 3)]),
)
@settings(max_examples=15, deadline=None)
def test_a_fitted_tile_is_always_taken_and_needs_no_more_registers(
    sizes: tuple[int, ...], flag: bool, kernel: Kernel
) -> None:
    names = ("channels", "rows", "vectors", "lanes", "down", "across")
    tile = Tile(**dict(zip(names, sizes, strict=True)), filters_first=flag, direct=flag)
    mod = module(kernel)
    fitted = fit_tile(find_conv(mod), tile)
    assert (fitted.channels + 1) * fitted.rows * fitted.vectors <= (
        tile.channels + 1
    ) * tile.rows * tile.vectors
    apply_tile(mod, TARGET, fitted)


@pytest.mark.parametrize(
    ("found_for", "lent_to"),
    [
        (convolution(48, 96, 16, 32), convolution(40, 72, 9, 13)),
        (convolution(48, 96, 16, 32), convolution(20, 20, 4, 8, groups=2)),
        (depthwise(48, 16, 32), depthwise(20, 9, 13, 5)),
    ],
    ids=["ragged", "small", "depthwise"],
)
def test_gpu_tiles_are_lent(found_for: Kernel, lent_to: Kernel) -> None:
    tile = next(iter(all_tiles(tiled_conv(module(found_for, CUDA), CUDA), CUDA)))[0]
    mod = module(lent_to, CUDA)
    proposal = adapt(mod, CUDA, tile_text(tile))
    assert proposal is not None
    assert proposal.origin == "transfer"
    fitted = tile_of(proposal.schedule)
    assert fitted in dict(all_tiles(tiled_conv(mod, CUDA), CUDA))
    tvm.ir.assert_structural_equal(proposal.mod, apply_schedule(mod, CUDA, proposal.schedule))
    assert adapt(module(found_for, CUDA), CUDA, tile_text(tile)).schedule == tile_text(tile)  # type: ignore[union-attr]
    assert adapt(module(argmax(8, 16), CUDA), CUDA, tile_text(tile)) is None
    assert adapt(module(found_for), TARGET, tile_text(tile)) is None


def test_what_is_no_schedule_is_refused() -> None:
    mod = module(relu(4, 8, 8))
    with pytest.raises(CostModelError, match="not the text of a schedule: 'fast, please'"):
        adapt(mod, TARGET, "fast, please")
    with pytest.raises(CostModelError, match="not the text of a schedule"):
        adapt(mod, TARGET, '{"conv": {"speed": 3}}')


def test_a_schedule_of_another_form_does_not_fit() -> None:
    pointwise = traces(module(convolution(16, 24, 8, 16)), 1)[0]
    assert adapt(module(argmax(8, 16)), TARGET, pointwise) is None
    assert adapt(module(relu(4, 8, 8)), TARGET, tile_text(TILE)) is None
    assert adapt(module(convolution(16, 24, 8, 16), CUDA), CUDA, tile_text(TILE)) is None
    for nonsense in ("[]", "[1,2]", '[[["Vectorize",["l0"],[],[]]],[]]'):
        assert adapt(module(convolution(16, 24, 8, 16)), TARGET, nonsense) is None


def threads(mod: Any) -> int:
    """The largest number of threads of a block."""
    sizes: dict[str, int] = {}

    def visit(loop: Any) -> None:
        if loop.thread_binding is not None and "threadIdx" in loop.thread_binding.thread_tag:
            tag = loop.thread_binding.thread_tag
            sizes[tag] = max(sizes.get(tag, 1), int(loop.extent))

    tvm_ffi.structural_walk(mod["main"].body, (tvm.tirx.For, visit))
    return math.prod(sizes.values())


def test_gpu_traces_fit_other_sizes_and_keep_to_the_limits_of_the_device() -> None:
    for text in traces(module(convolution(16, 48, 16, 32), CUDA), 2, CUDA):
        for kernel in (convolution(24, 72, 8, 16), convolution(40, 49, 15, 33)):
            mod = module(kernel, CUDA)
            proposal = adapt(mod, CUDA, text)
            assert proposal is not None
            assert 1 < threads(proposal.mod) <= 1024
            verify = ms.postproc.VerifyGPUCode()
            verify._initialize_with_tune_context(ms.TuneContext(mod, target=CUDA, num_threads=1))
            assert verify.apply(tvm.s_tir.Schedule(proposal.mod))


def with_tiles(text: str, tiles: list[list[int]]) -> str:
    """A trace with other sizes of its first tiles."""
    instructions, made = json.loads(text)
    sizes = [entry for entry in made if isinstance(entry[1], list)]
    for entry, tile in zip(sizes, tiles, strict=False):
        entry[1] = tile
    return json.dumps([instructions, made])


def test_what_one_loop_cannot_take_the_next_makes_up_for() -> None:
    text = traces(module(convolution(16, 24, 8, 16)), 1)[0]
    text = with_tiles(text, [[1, 1, 1, 1], [24, 1, 1, 1], [2, 1, 1, 4], [4, 1, 1, 4]])
    proposal = adapt(module(convolution(16, 24, 1, 16)), TARGET, text)
    assert proposal is not None
    assert decisions(proposal.schedule)[1:4] == [[24, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 16]]


def test_what_the_last_loop_cannot_take_the_first_ones_do() -> None:
    text = traces(module(convolution(16, 48, 4, 32), CUDA), 1, CUDA)[0]
    text = with_tiles(text, [[1] * 5, [48, 1, 1, 1, 1], [4, 1, 1, 1, 1], [1, 1, 32, 1, 1]])
    proposal = adapt(module(convolution(16, 48, 4, 16), CUDA), CUDA, text)
    assert proposal is not None
    assert threads(proposal.mod) == 32  # fewer are not allowed


def test_threads_that_would_become_too_many_become_fewer() -> None:
    text = traces(module(convolution(16, 32, 4, 32), CUDA), 1, CUDA)[0]
    text = with_tiles(text, [[1] * 5, [1, 1, 32, 1, 1], [1, 1, 1, 1, 4], [1, 1, 32, 1, 1]])
    assert fit_factors((1, 1, 32, 1, 1), 33, 64) == (1, 1, 33, 1, 1)  # twice that is above 1024
    proposal = adapt(module(convolution(16, 33, 4, 33), CUDA), CUDA, text)
    assert proposal is not None
    assert 32 <= threads(proposal.mod) <= 1024


def test_adapted_schedules_come_in_order_without_copies_and_without_the_default() -> None:
    mod = module(convolution(16, 24, 8, 16))
    same = replace(TILE, across=2)  # a row has but one tile
    other = replace(TILE, down=1)
    third = replace(TILE, rows=1)
    lent = [traces(module(depthwise(16, 8, 16)), 1)[0], *map(tile_text, (TILE, same, other, third))]
    source = Adapted(mod, TARGET, lent, known={tile_text(other)})
    first = source.propose(1)
    assert [proposal.schedule for proposal in first] == [tile_text(TILE)]
    source.learn(first, [])
    assert [proposal.schedule for proposal in source.propose(9)] == [tile_text(third)]
    assert source.propose(9) == []
    assert source.sampling_s > 0 == source.evolution_s


def test_the_default_schedule_is_not_proposed_again() -> None:
    mod = module(convolution(16, 24, 8, 32))
    default = choose_tile(find_conv(mod), Cpu.of(TARGET))
    assert adapt(mod, TARGET, tile_text(default)) is not None
    assert Adapted(mod, TARGET, [tile_text(default)]).propose(9) == []
