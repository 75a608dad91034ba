"""What can be deployed: a network as a model, with what a bundle says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.op import Shape
from cost_models.onnx_io.ends import End, Frame, with_end, with_frame
from cost_models.onnx_io.exporter import to_onnx
from cost_models.onnx_io.importer import from_onnx
from cost_models.onnx_io.whole_model import Value, WholeModel, read_whole
from search.architecture import Architecture
from search.data.classes import CLASSES, MOST_CLASSES, LabelClass, unnamed
from search.data.key_points import KeyPoints
from search.networks.weights import load_weights_apart
from search.resolution import Resolution
from search.spaces.camera import IMAGENET_MEAN, IMAGENET_STD
from squeezenas_tvm.about import __version__
from squeezenas_tvm.bundles.class_names import check_count, read_class_names
from squeezenas_tvm.bundles.values import CLASSES as CLASS_INDEX
from squeezenas_tvm.bundles.values import FRAME, METRES, TENSOR
from squeezenas_tvm.errors import UsageError

_MEANINGS = {"argmax": CLASS_INDEX, "depth": METRES}


@dataclass(frozen=True, kw_only=True)
class Deployable:
    """A network at fixed sizes, with its weights.

    Attributes:
        model: from what goes into the module to what comes out.
        kernels: by its description: distinct ones of an architecture, all of a file in the order they run.
        inputs, outputs: as manifest.json has them.
        classes: that its outputs tell apart; none where they tell none.
        dataset: whose classes these are; None where nobody says.
        key_points: that it finds; None where it finds none.
        mean, std: of a frame, where the module normalises it.
        weights: the file that they are from; None for random ones.
        architecture: of the house's networks.
        notes: what is unusual about it, a phrase each.
    """

    name: str
    model: onnx.ModelProto
    kernels: Sequence[Kernel]
    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    classes: Sequence[LabelClass] = ()
    dataset: str | None = None
    key_points: KeyPoints | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    weights: Path | None = None
    architecture: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_float16(self) -> bool:
        """Whether its weights are of that type."""
        return any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in self.model.graph.initializer)


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What is asked of a network from an ONNX file.

    Attributes:
        resolution, shapes: what its file leaves open, see ``read_whole``.
        frame: a camera's frame in place of its input; None: what the network takes.
        end: what is made of its output; None: its outputs as they are.
        output: the name of that output; None: the only one.
        labels: what its classes are: a text file with a name a line, or ``cityscapes``, ``camvid``.
    """

    resolution: Resolution | None = None
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    frame: Frame | None = None
    end: End | None = None
    output: str | None = None
    labels: str | None = None


AS_IT_IS = Ends()


def of_architecture(
    architecture: Architecture, resolution: Resolution, weights: Path | None, dtype: str, scratch: Path
) -> Deployable:
    """A network of the house, from camera frame to what its head gives.

    Args:
        weights: the architecture's own when None; random ones where it has none.
        scratch: folder for files of passage.

    Raises InvalidWeights.
    """
    weights = weights or architecture.weights_path
    tensors = load_weights_apart(architecture, weights, scratch) if weights else None
    architecture.head.last_shape(resolution)
    graph, inputs = architecture.camera_network(), {"frame": (1, *resolution, 3)}
    model = to_onnx(graph, inputs, tensors, name=architecture.name, dtype=dtype)
    helper.set_model_props(model, _properties(architecture))
    head, shape = architecture.head, graph.shapes(inputs)[graph.outputs[0]]
    return Deployable(
        name=architecture.name,
        model=model,
        kernels=list(dict.fromkeys(split_into_kernels(graph, inputs))),
        inputs=[_entry(Value("frame", "uint8", inputs["frame"]), FRAME)],
        outputs=[_entry(Value(head.output, head.dtype, shape), head.meaning)],
        classes=architecture.labels,
        dataset=architecture.known_classes,
        key_points=architecture.key_points.key_points() if architecture.key_points else None,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        weights=weights,
        architecture=architecture.model_dump(exclude_none=True),
    )


def _properties(architecture: Architecture) -> dict[str, str]:
    """What a viewer such as Netron shows beside the nodes, whose names begin with their block's."""
    genotype = architecture.genotype
    short = architecture.search_space.short_form(genotype)
    return {
        "architecture": architecture.name,
        "space": architecture.space,
        "task": architecture.task,
        "chosen": ", ".join(short or [f"{name} {option}" for name, option in genotype.items()]),
        "outputs": ", ".join(architecture.tells),
        "made_by": f"squeezenas-tvm {__version__}",
    }


def of_onnx(path: Path, ends: Ends) -> Deployable:
    """A network from a file.

    Raises:
        InvalidGraph: it cannot be compiled, or not with these ends; says why.
        UsageError: labels that are not there, or not as many as it has classes.
    """
    given = read_class_names(ends.labels) if ends.labels else None
    whole = read_whole(path, ends.resolution, ends.shapes)
    outputs = whole.outputs
    if ends.frame:
        whole = with_frame(whole, ends.frame)
    if ends.end:
        whole = with_end(whole, ends.end, ends.output)
    elif ends.output:
        raise UsageError(f"--output {ends.output}: without --end all outputs are deployed; give both or none")
    count = _class_count(ends, outputs)
    if given is not None:
        check_count(given, count, path, at_most=count == MOST_CLASSES)
    kernels = split_into_kernels(*_graph_of(whole))
    return Deployable(
        name=path.stem,
        model=whole.proto,
        kernels=kernels,
        inputs=[_entry(own, FRAME if _is_frame(own) else TENSOR) for own in whole.inputs],
        outputs=[_entry(own, _meaning(own, ends)) for own in whole.outputs],
        classes=given or unnamed(count),
        dataset=ends.labels if ends.labels in CLASSES else None,
        mean=ends.frame.mean if ends.frame else None,
        std=ends.frame.std if ends.frame else None,
        weights=path,
        notes=whole.notes,
    )


def _graph_of(whole: WholeModel) -> tuple[Any, Mapping[str, Shape]]:
    imported = from_onnx(whole.proto, name=whole.proto.graph.name)
    return imported.graph, imported.inputs


def _is_frame(value: Value) -> bool:
    return value.dtype == "uint8" and len(value.shape) == 4 and value.shape[3] == 3


def _meaning(value: Value, ends: Ends) -> str:
    if ends.end is None:
        return TENSOR
    if ends.end.kind == "topk":
        return CLASS_INDEX if value.dtype == "int32" else TENSOR
    return _MEANINGS[ends.end.kind]


def _class_count(ends: Ends, outputs: Sequence[Value]) -> int:
    """How many classes the end tells apart; of a network with an arg-max of its own, all there may be.

    Args:
        outputs: of the network as its file has it.
    """
    if ends.end is None or ends.end.kind == "depth":
        return 0
    (scores,) = [own for own in outputs if ends.output in (None, own.name)]
    return scores.shape[1] if scores.dtype.startswith("float") else MOST_CLASSES


def _entry(value: Value, meaning: str) -> dict[str, Any]:
    return {"name": value.name, "dtype": value.dtype, "shape": list(value.shape), "meaning": meaning}
