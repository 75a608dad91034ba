"""A space that is no chain: one of two branches runs, one of them with a choice inside, then a width."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.memory import steps
from cost_models.ir.ops import Activation, Conv2d, Resize
from search.errors import InvalidArchitecture
from search.resolution import Resolution
from search.spaces.camera import camera_network, frame_graph, with_head
from search.spaces.space import A, Decision, Genotype, Head, Part, any_option, checked

STEM, MIDDLE = 8, 12  # channels


class ToySpace:
    """Stem; branch ``wide`` (one convolution) or ``deep`` (two, the first 3x3 or 5x5); tail of some width.

    What is decided in the branch that does not run changes nothing.
    """

    name = "toy"
    summary = "two branches, of which one runs"
    decisions = (
        Decision("branch", ("wide", "deep"), "path"),
        Decision("deep.kernel", ("k3", "k5"), "operation"),
        Decision("tail", ("w8", "w16", "w24"), "width"),
    )

    def check(self, genotype: Genotype) -> dict[str, str]:
        return checked(self, genotype)

    def check_resolution(self, resolution: Resolution) -> Resolution:
        return resolution.checked()

    def sample(self, random: np.random.Generator) -> dict[str, str]:
        return any_option(self, random)

    def network(self, genotype: Genotype, head: Head) -> Graph:
        chosen = self.check(genotype)
        net = GraphBuilder()
        (value,) = net.embed("stem", _stem(), "x")
        (value,) = net.embed("branch", _branches()[_branch(chosen)], value)
        (last,) = net.embed("tail", _tail(chosen["tail"], head), value, "x")
        return net.build(last)

    def borders(self, genotype: Genotype) -> tuple[str, ...]:
        branch = _branches()[_branch(self.check(genotype))]
        return (f"stem.{_stem().outputs[0]}", f"branch.{branch.outputs[0]}")

    def parts(self, resolution: Resolution, head: Head) -> Iterator[Part]:
        image = (1, 3, *resolution)
        half = (-(-resolution.height // 2), -(-resolution.width // 2))
        yield Part("frame", frame_graph(), {"frame": (1, *resolution, 3)})
        yield Part("stem", _stem(), {"x": image})
        for name, graph in _branches().items():
            yield Part(f"branch.{name}", graph, {"x": (1, STEM, *half)}, "branch")
        for width in self.decisions[2].options:
            inputs = {"x": (1, MIDDLE, *half), "image": image}
            yield Part(f"tail.{width}", with_head(_tail(width, head), head, resolution), inputs, "tail")

    def marginals(self, probabilities: Mapping[str, A]) -> dict[str, A]:
        branch, kernel, tail = (probabilities[decision.name] for decision in self.decisions)
        found = {"branch.wide": branch[..., 0]}
        for place, name in enumerate(self.decisions[1].options):
            found[f"branch.deep.{name}"] = branch[..., 1] * kernel[..., place]
        return found | {f"tail.{name}": tail[..., i] for i, name in enumerate(self.decisions[2].options)}

    def slot_label(self, slot: str) -> str:
        return slot

    def peak_bytes(self, resolution: Resolution, head: Head) -> dict[str, float]:
        peaks = {part.name: 0.0 for part in self.parts(resolution, head)}
        for options in product(*(decision.options for decision in self.decisions)):
            chosen = dict(zip((d.name for d in self.decisions), options, strict=True))
            own = {"branch": f"branch.{_branch(chosen)}", "tail": f"tail.{chosen['tail']}", "stem": "stem"}
            network = camera_network(self.network(chosen, head), head)
            for step in steps(network, {"frame": (1, *resolution, 3)}):
                name = own.get(step.call.nodes[0].split(".")[0], "frame")
                peaks[name] = max(peaks[name], step.alive)
        return peaks

    def short_form(self, genotype: Genotype) -> list[str] | None:
        return None

    def from_short_form(self, options: Sequence[str]) -> dict[str, str]:
        raise InvalidArchitecture(f"space {self.name} has no short form; write choices instead of blocks")


def _stem() -> Graph:
    net = GraphBuilder()
    value = net.conv_bn("conv", Conv2d(3, STEM, kernel=3, stride=2, padding=1), "x")
    return net.build(net.add("act", Activation("relu"), value))


def _branch(chosen: Mapping[str, str]) -> str:
    return "wide" if chosen["branch"] == "wide" else f"deep.{chosen['deep.kernel']}"


def _branches() -> dict[str, Graph]:
    net = GraphBuilder()
    value = net.conv_bn("wide", Conv2d(STEM, MIDDLE, kernel=3, padding=1), "x")
    found = {"wide": net.build(net.add("act", Activation("relu"), value))}
    for side in (3, 5):
        net = GraphBuilder()
        first = Conv2d(STEM, STEM, kernel=side, padding=side // 2, groups=STEM)
        value = net.add("first.act", Activation("relu"), net.conv_bn("first", first, "x"))
        found[f"deep.k{side}"] = net.build(net.conv_bn("second", Conv2d(STEM, MIDDLE), value))
    return found


def _tail(width: str, head: Head) -> Graph:
    channels = int(width.removeprefix("w"))
    net = GraphBuilder(("x", "image"))
    value = net.conv_bn("widen", Conv2d(MIDDLE, channels), "x")
    value = net.add("widen.act", Activation("relu"), value)
    value = net.add("last", Conv2d(channels, head.outputs, bias=True), value)
    return net.build(net.add("resize", Resize(align_corners=False), value, size_of="image"))


TOY = ToySpace()
