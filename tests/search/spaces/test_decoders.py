import pytest

from cost_models.ir.ops import AvgPool2d, Conv2d, Resize, Shape
from search.resolution import Resolution
from search.spaces.decoders import DECODERS, aspp, lraspp

from .chains import CHAINS
from .heads import bare_head

HIGH, LOW, IMAGE = (1, 256, 64, 128), (1, 24, 128, 256), (1, 3, 1024, 2048)


def test_lraspp_at_full_resolution() -> None:
    graph = lraspp(256, 24, 128, 19)
    shapes = graph.shapes({"high": HIGH, "low": LOW, "image": IMAGE})
    assert shapes["gate.pool"] == (1, 256, 1, 4)  # MobileNetV3, section 6.4: windows of 49x49, strides 16, 20
    assert shapes["gate.resize"] == shapes["high.act"] == (1, 128, 64, 128)
    assert shapes["logits"] == (1, 19, 128, 256)
    assert shapes[graph.outputs[0]] == (1, 19, 1024, 2048)


def test_lraspp_pools_whole_maps_that_are_smaller_than_the_window() -> None:
    graph = lraspp(256, 24, 128, 19)
    shapes = graph.shapes({"high": (1, 256, 4, 60), "low": (1, 24, 8, 120), "image": (1, 3, 64, 960)})
    assert shapes["gate.pool"] == (1, 256, 1, 1)
    pool = next(node.op for node in graph.nodes if isinstance(node.op, AvgPool2d))
    assert pool.window(4, 60) == ((4, 49), (4, 20))


def test_resizes_keep_the_conventions_of_the_authors() -> None:
    corners = {
        name: {
            node.name: node.op.align_corners
            for node in decoder(256, 24, 128, 19).nodes
            if isinstance(node.op, Resize)
        }
        for name, decoder in DECODERS.items()
    }
    assert corners == {
        "lraspp": {"gate.resize": False, "gated.resize": False, "resize": True},
        "aspp": {"fuse.resize": True, "resize": True},
    }


def test_aspp_at_full_resolution() -> None:
    graph = aspp(320, 32, 160, 19)
    inputs: dict[str, Shape] = {"high": (1, 320, 64, 128), "low": (1, 32, 256, 512), "image": IMAGE}
    shapes = graph.shapes(inputs)
    assert shapes["pyramid"] == (1, 4 * 160 + 320, 64, 128)
    assert shapes["merge"] == (1, 160 + 32, 256, 512)
    assert shapes[graph.outputs[0]] == (1, 19, 1024, 2048)
    ops = {node.name: node.op for node in graph.nodes}
    for rate in (6, 12, 18):
        assert ops[f"atrous{rate}.conv"] == Conv2d(
            320, 160, kernel=3, padding=rate, dilation=rate, groups=160
        )


@pytest.mark.parametrize("size", ["64x64", "65x97", "127x200"])
@pytest.mark.parametrize("space", CHAINS)
def test_logits_are_as_large_as_the_image(space: str, size: str) -> None:
    resolution = Resolution.parse(size)
    part = next(
        part for part in CHAINS[space].fixed_parts(resolution, bare_head(11)) if part.name == "decoder"
    )
    assert part.graph.shapes(part.inputs)[part.graph.outputs[0]] == (1, 11, *resolution)
