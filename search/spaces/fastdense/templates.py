"""Decoders of layers that are templates: few kinds of layers, each used as often and where it is chosen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cost_models.ir.graph import Graph
from cost_models.ir.ops import Shape
from search.resolution import Resolution
from search.spaces.camera import frame_graph, with_head
from search.spaces.encoders import Encoder
from search.spaces.fastdense.assembly import Assembly
from search.spaces.fastdense.counted import counted
from search.spaces.fastdense.joins import (
    AGGREGATIONS,
    TEMPLATE_OPERATIONS,
    classify_graph,
    gather_graph,
)
from search.spaces.fastdense.layers import (
    SIDES,
    Layer,
    Map,
    Reach,
    Rules,
    Size,
    Step,
    Template,
    place,
    reachable,
)
from search.spaces.fastdense.memory import sampled_peaks
from search.spaces.fastdense.numbers import genotype_of, numbers_of, rows_of
from search.spaces.fastdense.operations import sum_graph
from search.spaces.fastdense.space import FINAL, Form
from search.spaces.space import A, Decision, Genotype, Head, Part, any_option, checked

STRIDES = ("1", "2")


@dataclass(frozen=True, kw_only=True)
class TemplatesSpace:
    """An encoder, layers that each apply a template to two maps, and one classifier (arXiv:1904.02365).

    A template is two operations and an aggregation (``template.0.left``). A layer takes two maps
    (``layers.0.left``: a tap by its scale, or an earlier layer), uses a template (``layers.0.template``) once
    or more (``repeats``; each time again on the second map and on what it made), the first layers with a
    stride that widens maps as well. What layers made and no other takes goes to the classifier.

    Attributes:
        form: channels of the classifier, repeats of separable convolutions.
        templates, layers: how many.
        strided: so many layers, the first, may have a stride.
        most_repeats: of a layer.
    """

    name: str
    summary: str
    encoder: Encoder
    form: Form = FINAL
    templates: int = 3
    layers: int = 7
    strided: int = 3
    most_repeats: int = 4
    operations: tuple[str, ...] = TEMPLATE_OPERATIONS

    def in_form(self, form: Form) -> "TemplatesSpace":
        """The same choices in networks of another size."""
        return replace(self, form=form)

    @property
    def _rules(self) -> Rules:
        return Rules(self.form.repeats, self.strided)

    @cached_property
    def pool(self) -> tuple[str, ...]:
        """What layers can take, by name: taps, then layers."""
        return (*map(str, self.encoder.taps), *(f"layer {layer}" for layer in range(self.layers)))

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Of templates and then of layers, in the order in which the papers' controller makes them."""
        found = []
        for template in range(self.templates):
            found += [Decision(f"template.{template}.{side}", self.operations) for side in SIDES]
            found.append(Decision(f"template.{template}.aggregation", AGGREGATIONS))
        names = tuple(f"template {template}" for template in range(self.templates))
        times = tuple(str(count) for count in range(1, self.most_repeats + 1))
        for layer in range(self.layers):
            places = self.pool[: len(self.encoder.taps) + layer]
            found += [Decision(f"layers.{layer}.{side}", places, "wiring") for side in SIDES]
            found.append(Decision(f"layers.{layer}.template", names))
            found.append(Decision(f"layers.{layer}.repeats", times, "path"))
            found.append(Decision(f"layers.{layer}.stride", STRIDES[: 1 + (layer < self.strided)], "width"))
        return tuple(found)

    @cached_property
    def _options(self) -> dict[str, tuple[str, ...]]:
        return {decision.name: decision.options for decision in self.decisions}

    def check(self, genotype: Genotype) -> dict[str, str]:
        """The genotype in order. Raises InvalidArchitecture, UnknownCandidate naming every wrong option."""
        return checked(self, genotype)

    def check_resolution(self, resolution: Resolution) -> Resolution:
        """Any: every layer takes odd sizes."""
        return resolution.checked()

    def sample(self, random: np.random.Generator) -> dict[str, str]:
        """Every option as likely as the others of its decision."""
        return any_option(self, random)

    def chosen_layers(self, genotype: Genotype) -> list[Layer]:
        """What a genotype says of each layer, with its template. Raises as ``check``."""
        genotype = self.check(genotype)
        templates = {}
        for index, name in enumerate(self._options["layers.0.template"]):
            left, right = (genotype[f"template.{index}.{side}"] for side in SIDES)
            templates[name] = Template((left, right), genotype[f"template.{index}.aggregation"])
        found = []
        for layer in range(self.layers):
            own = {
                key: genotype[f"layers.{layer}.{key}"] for key in (*SIDES, "template", "repeats", "stride")
            }
            reads = self.pool.index(own["left"]), self.pool.index(own["right"])
            found.append(Layer(reads, templates[own["template"]], int(own["repeats"]), int(own["stride"])))
        return found

    def network(self, genotype: Genotype, head: Head) -> Graph:
        """The whole network: float image ``x`` (N, 3, H, W), normalised -> (N, outputs, H, W)."""
        assembly, last = self.assemble(genotype, head.outputs)
        return head.ending(assembly.net.build(last))

    def borders(self, genotype: Genotype) -> tuple[str, ...]:
        """What each part makes but the last."""
        assembly, last = self.assemble(genotype, 1)
        return tuple(border for border in assembly.borders if border != last)

    def assemble(self, genotype: Genotype, outputs: int, *, bare: bool = False) -> tuple[Assembly, str]:
        """The network from its parts, and its last value. ``bare``: with the names of its parts alone."""
        layers, net = self.chosen_layers(genotype), Assembly(bare=bare)
        taken = {read for layer in layers for read in layer.reads}
        taps, image, pool = self._taps, "x", []
        deepest = max(read for read in taken if read < len(taps))
        for index, piece in enumerate(self.encoder.pieces[: deepest + 1]):
            image = net.add(f"encoder.{index}", taps[index].scale, piece, image, prefix="encoder")
            pool.append(Map(image, taps[index]))
        pool += [Map("", size) for size in taps[len(pool) :]]
        for index, layer in enumerate(layers):
            pool.append(place(net, self._rules, index, layer, pool))
        loose = [index for index in range(self.layers) if index + len(taps) not in taken]
        return net, self._classify(net, {index: pool[index + len(taps)] for index in loose}, outputs)

    def _classify(self, net: Assembly, loose: Mapping[int, Map], outputs: int) -> str:
        finest = min(loose.values(), key=lambda own: own.size.level)
        values = []
        for index, own in loose.items():
            step = self._gather(index, own.size, finest.size.level)
            inputs = (own.value, finest.value)[: len(step.sizes)]
            values.append(net.add(step.slot, step.option, step.graph, *inputs))
        total = values[0]
        for index, value in enumerate(values[1:], 1):
            total = net.add(f"decoder.head.sum{index}", finest.size.scale, sum_graph(), total, value)
        graph = classify_graph(self.form.channels, outputs)
        return net.add("decoder.head.out", finest.size.scale, graph, total, "x")

    def _gather(self, index: int, size: Size, level: int) -> Step:
        """What a layer gives to the classifier, which works at that level."""
        resized, to = size.level != level, Size(size.channels, level)
        sizes = (("x", size), ("to", to))[: 1 + resized]
        option = (
            f"{size.channels} from {size.scale} to {to.scale}"
            if resized
            else f"{size.channels} at {size.scale}"
        )
        graph = gather_graph(size.channels, self.form.channels, resized=resized)
        return Step(f"decoder.head.{index}", option, graph, sizes)

    @cached_property
    def _taps(self) -> list[Size]:
        return [Size(tap.channels, tap.stride.bit_length() - 1) for tap in self.encoder.taps]

    @cached_property
    def _reach(self) -> Reach:
        return reachable(self._rules, self._taps, self.layers, self.most_repeats, self.operations)

    def _steps(self) -> Iterator[Step]:
        """All parts between the encoder and the classifier's last."""
        yield from self._reach.steps.values()
        levels = sorted({size.level for sizes in self._reach.outputs for size in sizes})
        for index, sizes in enumerate(self._reach.outputs):
            for size in sorted(sizes):
                for level in levels:
                    if level <= size.level:
                        yield self._gather(index, size, level)
        for index in range(1, self.layers):
            for level in levels:
                size = Size(self.form.channels, level)
                both = tuple((side, size) for side in SIDES)
                yield Step(f"decoder.head.sum{index}", size.scale, sum_graph(), both)

    def parts(self, resolution: Resolution, head: Head) -> Iterator[Part]:
        """Every operation at every place and size; what brings maps together; what is always there."""

        def shape(size: Size) -> Shape:
            return (1, size.channels, *(-(-side >> size.level) for side in resolution))

        image = (1, 3, *resolution)
        yield Part("frame", frame_graph(), {"frame": (1, *resolution, 3)})
        for index, piece in enumerate(self.encoder.pieces):
            before = shape(self._taps[index - 1]) if index else image
            slot = f"encoder.{index}"  # what leads to the first tap is in every network
            yield Part(f"{slot}.{self._taps[index].scale}", piece, {"x": before}, slot if index else "")
        for step in self._steps():
            inputs = {name: shape(size) for name, size in step.sizes}
            yield Part(f"{step.slot}.{step.option}", step.graph, inputs, step.slot)
        graph = with_head(classify_graph(self.form.channels, head.outputs), head, resolution)
        slot = "decoder.head.out"
        for level in sorted({size.level for sizes in self._reach.outputs for size in sizes}):
            size = Size(self.form.channels, level)
            yield Part(f"{slot}.{size.scale}", graph, {"x": shape(size), "image": image}, slot)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """Of all parts that may be left out."""
        levels = sorted({size.level for sizes in self._reach.outputs for size in sizes})
        ends = [f"decoder.head.out.{Size(1, level).scale}" for level in levels]
        later = [f"encoder.{index}.{size.scale}" for index, size in enumerate(self._taps) if index]
        return (*later, *(f"{step.slot}.{step.option}" for step in self._steps()), *ends)

    def marginals(self, probabilities: Mapping[str, A]) -> dict[str, A]:
        """Counted, see ``search.spaces.fastdense.counted``: layers share templates, sizes follow from all."""

        def parts_of(genotype: Genotype) -> list[str]:
            return self.assemble(genotype, 1, bare=True)[0].parts

        return counted(self.decisions, probabilities, self._names, parts_of)

    def peak_bytes(self, resolution: Resolution, head: Head) -> dict[str, float]:
        """Up to the first tap exact; behind it an estimate, see ``search.spaces.fastdense.memory``."""
        return sampled_peaks(self, resolution, head, lambda g: self.assemble(g, head.outputs)[0])

    def slot_label(self, slot: str) -> str:
        """``layer 2, use 1: left fit``, or what else of the network it is."""
        kind, *rest = slot.removeprefix("decoder.").split(".")
        if kind == "encoder":
            return f"encoder to {self._taps[int(rest[0])].scale}"
        if kind == "head":
            return f"classifier: {'layer ' * rest[0].isdecimal()}{rest[0]}"
        layer, use, *places = rest
        return f"layer {layer}, use {int(use) + 1}: {' '.join(places)}"

    @cached_property
    def _rows(self) -> list[list[str]]:
        """Names of the decisions in the order of the papers' numbers, which is theirs."""
        names = [decision.name for decision in self.decisions]
        middle = 3 * self.templates
        rows = [names[start : start + 3] for start in range(0, middle, 3)]
        return rows + [names[start : start + 5] for start in range(middle, len(names), 5)]

    def short_form(self, genotype: Genotype) -> list[str]:
        """The papers' numbers: ``o1 o2 aggregation`` of each template, ``p1 p2 template repeats-1
        log2(stride)`` of each layer."""
        rows = numbers_of(self.check(genotype), self._rows, self._options)
        return [" ".join(map(str, row)) for row in rows]

    def from_short_form(self, options: Sequence[str]) -> dict[str, str]:
        """The genotype of such numbers. Raises InvalidArchitecture, UnknownCandidate."""
        rows = rows_of(options, self._rows, self.name)
        return self.check(genotype_of(rows, self._rows, self._options, self.name))
