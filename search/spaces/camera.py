"""From a camera's frame to a network's input, and from its last map to what is deployed."""

from collections.abc import Callable, Mapping

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import Activation, ArgMax, Normalize, Plane, ToByte
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


HEADS: Mapping[str, Callable[[int], Head]] = {"segmentation": segmentation_head, "depth": depth_head}
"""Task -> its head, by how many outputs there are."""
OUTPUTS: Mapping[str, tuple[str, ...]] = {"depth": ("metres",)}
"""What networks tell, one an output, of tasks that have no classes."""


def camera_network(network: Graph, head: Head) -> Graph:
    """What is deployed: the network from a camera's uint8 RGB frame (N, H, W, 3) to what its head gives."""
    net = GraphBuilder(("frame",))
    (image,) = net.embed("", frame_graph(), "frame")
    (last,) = net.embed("", network, image)
    return net.build(*net.embed("", head.after, last))
