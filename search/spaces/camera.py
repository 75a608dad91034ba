"""From a camera's frame to a network's input, and from its last map to what is deployed."""

from collections.abc import Callable, Mapping

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import (
    Activation,
    ArgMax,
    AroundPeak,
    Normalize,
    PeakPoints,
    PlaceOfMax,
    Plane,
    RowMax,
    TakeRow,
    ToByte,
)
from search.resolution import Resolution
from search.spaces.space import Head

# Pixel statistics of ImageNet in 0..1, RGB: what all published weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def frame_graph() -> Graph:
    """uint8 RGB ``frame`` (N, H, W, 3) -> normalised float image."""
    net = GraphBuilder(("frame",))
    return net.build(net.add("normalize", Normalize(IMAGENET_MEAN, IMAGENET_STD), "frame"))


def classes_graph() -> Graph:
    """Logits ``x`` -> uint8 class indices (N, H, W)."""
    net = GraphBuilder()
    return net.build(net.add("class", ToByte(), net.add("class.index", ArgMax(), "x")))


def segmentation_head(num_classes: int) -> Head:
    """Logits of classes, deployed as the index of the largest."""
    return Head(num_classes, classes_graph())


def metres_graph() -> Graph:
    """Distances ``x`` of one channel -> metres (N, H, W), float32, 0 where the network says less."""
    net = GraphBuilder()
    return net.build(net.add("metres", Plane(), net.add("metres.positive", Activation("relu"), "x")))


def depth_head(outputs: int = 1) -> Head:
    """Metres, one output, deployed as they are."""
    return Head(outputs, metres_graph(), output="metres", meaning="metres", dtype="float32")


HEAT_MAP_STRIDE = 4  # as of the maps of arXiv:1804.06208: 64x64 of an image of 256x256


def peaks_graph(stride: int) -> Graph:
    """Heat maps ``x`` (N, C, H, W) -> float32 (N, C, 3): x and y in pixels of the frame, and the map's value.

    The largest value of each map, and between pixels the top of the parabola through its neighbours.
    """
    net = GraphBuilder()
    rows = net.add("peak.row", PlaceOfMax(), net.add("peak.rows", RowMax(), "x"))
    columns = net.add("peak.column", PlaceOfMax(), net.add("peak.line", TakeRow(), "x", rows))
    values = net.add("peak.around", AroundPeak(), "x", rows, columns)
    return net.build(net.add("key_points", PeakPoints(stride), values, rows, columns))


def pose_head(joints: int) -> Head:
    """Heat maps of joints, deployed as the points where they are largest."""
    peaks = peaks_graph(HEAT_MAP_STRIDE)
    return Head(joints, peaks, "key_points", "key points", "float32", stride=HEAT_MAP_STRIDE, quiet=True)


HEADS: Mapping[str, Callable[[int], Head]] = {
    "segmentation": segmentation_head,
    "depth": depth_head,
    "pose": pose_head,
}
"""Task -> its head, by how many outputs there are."""
OUTPUTS: Mapping[str, tuple[str, ...]] = {"depth": ("metres",)}
"""What networks tell, one an output, of tasks that have no classes."""


def with_head(network: Graph, head: Head, resolution: Resolution) -> Graph:
    """A graph that makes a network's last map, at the image's size, with what is deployed of it in its place.

    They are one part, because a last resize is one kernel with what reads it.

    Raises InvalidResolution where the head has no map of that image.
    """
    head.last_shape(resolution)
    net = GraphBuilder(network.inputs)
    (last,) = net.embed("", head.ending(network), *network.inputs)
    return net.build(*net.embed("", head.after, last))


def camera_network(network: Graph, head: Head) -> Graph:
    """What is deployed: the network from a camera's uint8 RGB frame (N, H, W, 3) to what its head gives."""
    net = GraphBuilder(("frame",))
    (image,) = net.embed("", frame_graph(), "frame")
    (last,) = net.embed("", network, image)
    return net.build(*net.embed("", head.after, last))
