"""Our cut against TVM's own fusion, and what a kernel says of itself."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import pytest

from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import Activation, Add, ArgMax, Conv2d, Crop, Foreign, Op, Resize, Shape, ToByte
from cost_models.lowering import pipeline as lowering
from cost_models.onnx_io.exporter import to_onnx
from cost_models.tvm_import import tvm
from search.architecture import load_architecture
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.chain import ChainSpace
from search.spaces.registry import get_space
from search.spaces.space import Part

from ...search.spaces.chains import CHAINS
from ..some_kernels import foreign, transposed
from ..two_runtimes import difference

SIZE = Resolution(64, 128)
TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})


def fused_by_tvm(graph: Graph, inputs: Mapping[str, Shape]) -> Counter[str]:
    """Structural hashes of the kernels that TVM makes of a graph, each as often as it runs."""
    calls: Counter[str] = Counter()
    for kernel in lowering.kernels(lowering.lower(to_onnx(graph, inputs), TARGET)).values():
        calls[kernel.hash] += kernel.calls
    return calls


@cache
def lowered_alone(kernel: Kernel) -> Counter[str]:
    return fused_by_tvm(kernel.graph, kernel.input_shapes)


def differences(parts: Iterable[Part]) -> list[str]:
    """Parts of which TVM makes other kernels than we do, or splits one of ours."""
    faults = []
    for part in parts:
        kernels = split_into_kernels(part.graph, part.inputs)
        alone = [lowered_alone(kernel) for kernel in kernels]
        for kernel, hashes in zip(kernels, alone, strict=True):
            if hashes.total() != 1:
                faults.append(f"{part.name}: {kernel.label} is {hashes.total()} kernels in TVM")
        if sum(alone, Counter()) != fused_by_tvm(part.graph, part.inputs):
            faults.append(f"{part.name}: TVM fuses other kernels than {[kernel.label for kernel in kernels]}")
    return faults


def distinct_blocks(space: ChainSpace) -> Iterator[Part]:
    seen = set()
    for _, _, part in space.blocks(SIZE):
        identity = (part.graph, part.inputs["x"])
        if identity not in seen and part.graph.nodes:
            seen.add(identity)
            yield part


def kinds_of_block(space: ChainSpace) -> list[Part]:
    """Every candidate once as residual block, once at stride 2, once where only the channels change."""
    chosen = {}
    for index, candidate, part in space.blocks(SIZE):
        position = space.positions[index]
        kind = (
            candidate,
            position.stride,
            position.stride == 1 and position.in_channels == position.out_channels,
        )
        if part.graph.nodes:
            chosen.setdefault(kind, part)
    return list(chosen.values())


def test_blocks_are_cut_as_tvm_fuses_them() -> None:
    parts = kinds_of_block(get_space("small"))
    assert len(parts) == 3 * 13 - 1  # the skip that is the identity has no kernel
    assert differences(parts) == []


@pytest.mark.parametrize("size", [SIZE, Resolution(1024, 2048)])
@pytest.mark.parametrize("space", CHAINS)
def test_fixed_parts_are_cut_as_tvm_fuses_them(space: str, size: Resolution) -> None:
    """Also where the decoder's pooled map has more than one column, so that enlarging it is no broadcast."""
    assert differences(get_space(space).fixed_parts(size, segmentation_head(19))) == []


@pytest.mark.parametrize("name", ["squeezenas-lat-small", "mobilenetv3-small-seg"])
def test_a_deployed_network_is_cut_as_tvm_fuses_it(name: str) -> None:
    graph = load_architecture(name).camera_network()
    assert differences([Part(name, graph, {"frame": (1, *SIZE, 3)})]) == []


@pytest.mark.slow
@pytest.mark.parametrize("space", CHAINS)
def test_every_distinct_block_is_cut_as_tvm_fuses_it(space: str) -> None:
    assert differences(distinct_blocks(get_space(space))) == []


def kernels_of(candidate: str, position: int = 1) -> list[Kernel]:
    space, size = get_space("small"), Resolution(1024, 2048)
    shape = space.block_inputs(size)[position]
    return split_into_kernels(space.block(position, candidate), {"x": shape})


def test_an_inverted_residual_is_three_kernels() -> None:
    assert [kernel.label for kernel in kernels_of("k5e3")] == [
        "conv1x1+relu 16x256x512->48x256x512",
        "dw5x5+relu 48x256x512->48x256x512",
        "conv1x1+add 48x256x512->16x256x512",
    ]
    assert [kernel.kind for kernel in kernels_of("k5e3")] == ["pointwise", "depthwise", "pointwise"]
    assert [kernel.kind for kernel in kernels_of("k3e1g2")] == ["grouped", "depthwise", "grouped"]


def test_the_identity_is_no_kernel() -> None:
    assert kernels_of("skip") == []
    assert [k.kind for k in kernels_of("skip", 0)] == ["memory", "pointwise", "memory", "pointwise", "memory"]


def test_work_of_kernels_is_that_of_the_graph() -> None:
    graph = load_architecture("squeezenas-lat-small").camera_network()
    inputs = {"frame": (1, 1024, 2048, 3)}
    kernels = split_into_kernels(graph, inputs)
    assert sum(kernel.macs for kernel in kernels) == graph.macs(inputs)
    pointwise, depthwise, project = kernels_of("k5e3")
    assert pointwise.bytes_moved == 4 * (16 * 256 * 512 + 48 * 256 * 512 + 16 * 48 + 48)
    assert depthwise.macs == 48 * 256 * 512 * 25
    assert project.inputs == ((1, 48, 256, 512), (1, 16, 256, 512))
    assert project.output_shape == (1, 16, 256, 512)


def test_a_value_with_two_readers_is_written_out() -> None:
    net = GraphBuilder()
    made = net.add("a", Conv2d(8, 8), "x")
    left, right = (net.add(name, Activation(), net.add(f"{name}.conv", Conv2d(8, 8), made)) for name in "bc")
    graph = net.build(net.add("sum", Add(), left, right))
    inputs = {"x": (1, 8, 16, 16)}
    kernels = split_into_kernels(graph, inputs)
    assert [len(kernel.graph.nodes) for kernel in kernels] == [1, 2, 3]  # one convolution takes the sum in
    assert differences([Part("two branches", graph, inputs)]) == []


def test_equal_kernels_are_equal_wherever_they_come_from() -> None:
    first, second = (kernels_of("k3e6", position)[1] for position in (1, 2))
    assert first == second
    assert len({first, second}) == 1
    assert first.key == second.key
    assert first != kernels_of("k3e6", 5)[1]


def test_keys_do_not_change() -> None:
    """They are names on disk: another key for the same kernel orphans every measurement of it."""
    kernel = kernels_of("k3e6d2")[1]
    assert kernel.key == "dw3x3d2+relu 96x256x512->96x256x512 #810c73fc"


def test_distinct_kernels_have_distinct_keys() -> None:
    kernels = {
        kernel
        for space in CHAINS.values()
        for part in [*distinct_blocks(space), *space.fixed_parts(SIZE, segmentation_head(19))]
        for kernel in split_into_kernels(part.graph, part.inputs)
    }
    assert len({kernel.key for kernel in kernels}) == len(kernels) > 300


def test_a_description_on_disk_gives_the_kernel_back() -> None:
    for space in CHAINS.values():
        for _, _, part in space.blocks(SIZE):
            for kernel in split_into_kernels(part.graph, part.inputs):
                stored = json.loads(json.dumps(kernel.description))
                assert Kernel.from_description(stored) == kernel
                assert Kernel.from_description(stored).key == kernel.key


def test_somebody_elses_operations_are_kernels_like_others() -> None:
    kernel = transposed()
    assert kernel.label == "convtranspose+relu 8x16x32->8x32x64"
    assert (kernel.kind, kernel.is_foreign) == ("dense", True)
    assert kernel.macs == 8 * 16 * 32 * 8 * 4
    assert kernel.bytes_moved == 4 * (8 * 16 * 32 + 8 * 32 * 64 + 8 * 8 * 4)
    stored = json.loads(json.dumps(kernel.description))
    assert Kernel.from_description(stored) == kernel


def test_somebody_elses_elementwise_operation_is_nothing_strange() -> None:
    clip = Foreign("Clip", (1, 8, 16, 32), fusion="elementwise")
    assert (foreign(clip).kind, foreign(clip).is_foreign) == ("memory", False)
    net = GraphBuilder()
    graph = net.build(net.add("clip", clip, net.add("conv", Conv2d(8, 8), "x")))
    (kernel,) = split_into_kernels(graph, {"x": (1, 8, 16, 32)})
    assert (kernel.label, kernel.kind) == ("conv1x1+clip 8x16x32->8x16x32", "pointwise")


def test_what_stands_alone_takes_nothing_in() -> None:
    largest = Foreign("ReduceMax", (1, 1, 16, 32), fusion="comm_reduce")
    net = GraphBuilder()
    graph = net.build(net.add("relu", Activation(), net.add("max", largest, "x")))
    assert len(split_into_kernels(graph, {"x": (1, 8, 16, 32)})) == 2


def test_a_resize_to_a_single_pixel_is_one_kernel() -> None:
    """TVM would divide by the pixels less one; in ONNX it is the first of two."""
    net = GraphBuilder()
    graph = net.build(net.add("half", Resize(align_corners=True), "x", size_of="x", size_over=2))
    shapes = {"x": (1, 8, 2, 6)}
    assert differences([Part("half", graph, shapes)]) == []
    assert difference(graph, shapes) < 1e-6


ENDS: dict[str, tuple[tuple[Op, ...], tuple[int, ...], list[str]]] = {
    "as deployed": ((Resize(True, (16, 16)), ArgMax(), ToByte()), (3,), ["resize.corners+argmax+tobyte"]),
    "cut to the image": (
        (Resize(False, (16, 16)), Crop((15, 13)), ArgMax(), ToByte()),
        (4,),
        ["resize+crop+argmax+tobyte"],
    ),
    "indices as they are": ((Resize(False, (16, 16)), ArgMax()), (2,), ["resize+argmax"]),
    "of one row": ((Resize(True, (1, 7)), ArgMax(), ToByte()), (3,), ["resize.corners+argmax+tobyte"]),
    "the map leaves, too": (
        (Resize(False, (16, 16)), ArgMax(), ToByte()),
        (1, 3),
        ["resize", "argmax+tobyte"],
    ),
    "indices leave, too": (
        (Resize(False, (16, 16)), ArgMax(), ToByte()),
        (2, 3),
        ["resize+argmax", "tobyte"],
    ),
    "not of the resized map itself": (
        (Resize(False, (16, 16)), Activation("relu"), ArgMax(), ToByte()),
        (4,),
        ["resize+relu", "argmax+tobyte"],
    ),
    "after what the resize would join": (
        (Activation("sigmoid"), Resize(False, (16, 16)), ArgMax(), ToByte()),
        (4,),
        ["sigmoid", "resize+argmax+tobyte"],
    ),
}


@pytest.mark.parametrize(("ops", "outputs", "expected"), ENDS.values(), ids=ENDS)
def test_the_largest_channel_of_a_resized_map_is_one_kernel(
    ops: tuple[Op, ...], outputs: tuple[int, ...], expected: list[str]
) -> None:
    builder, values = GraphBuilder(), ["x"]
    for index, op in enumerate(ops):
        values.append(builder.add(f"step{index}", op, values[-1]))
    graph, inputs = builder.build(*(values[index] for index in outputs)), {"x": (1, 4, 5, 7)}
    kernels = split_into_kernels(graph, inputs)
    assert [kernel.label.partition(" ")[0] for kernel in kernels] == expected
    assert sum(map(lowered_alone, kernels), Counter()) == fused_by_tvm(graph, inputs)
