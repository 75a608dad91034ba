"""From a camera's frame to a network's input, and from its logits to classes."""

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import ArgMax, Normalize, ToByte

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


def camera_network(network: Graph) -> Graph:
    """What is deployed: the network from a camera's uint8 RGB frame (N, H, W, 3) to classes (N, H, W)."""
    net = GraphBuilder(("frame",))
    (image,) = net.embed("", frame_graph(), "frame")
    (logits,) = net.embed("", network, image)
    return net.build(*net.embed("", classes_graph(), logits))
