"""Whether TVM can import an ONNX file, tried in a process of its own: TVM may crash on one."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from onnx import ModelProto

from cost_models.errors import InvalidGraph
from cost_models.ir.op import Shape
from cost_models.onnx_io.layout import frames
from cost_models.onnx_io.model_file import load, with_shapes
from cost_models.onnx_io.parameters import parameters_among
from cost_models.onnx_io.reader import input_shape
from cost_models.onnx_io.saving import save_model
from cost_models.onnx_io.whole_model import with_inputs
from targets import Target, load_target
from targets.support.child_python import child_python

_TIMEOUT_S = 600


def import_fault(
    path: Path,
    size: tuple[int, int] | None,
    target: Target,
    shapes: Mapping[str, Shape] | None = None,
) -> str | None:
    """Why TVM cannot import a file and cut it into kernels, one line; None where it can.

    Args:
        size: height and width of its images, where the file leaves them open.
        shapes: of inputs by name, where it leaves more open.
    """
    given = json.dumps([size, {name: list(shape) for name, shape in (shapes or {}).items()}])
    command = child_python("cost_models.lowering.import_check", str(path), target.argument, given)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{path}: TVM has not imported it after {_TIMEOUT_S} s"
    if done.returncode == 0:
        fault = json.loads(done.stdout.splitlines()[-1])
        return None if fault is None else str(fault)
    how = signal.strsignal(-done.returncode) if done.returncode < 0 else f"exit {done.returncode}"
    return f"{path}: TVM crashes on it ({how})"


def model_fault(model: ModelProto, name: str, target: Target, scratch: Path) -> str | None:
    """As ``import_fault``, of a model at fixed sizes.

    Args:
        name: of its file, for messages.
        scratch: folder that is there for a while; the model is written into it.
    """
    path = scratch / Path(name).name
    save_model(model, path)
    fault = import_fault(path, None, target)
    return fault and fault.replace(str(path), name)


def _fixed(path: Path, size: tuple[int, int] | None, shapes: Mapping[str, Shape]) -> ModelProto:
    """The model as TVM wants it, its sizes numbers. Weights are inputs: nothing but their shapes matters."""
    model = with_inputs(load(path), shapes, str(path))
    proto = with_shapes(model.proto)
    last, weights = frames(proto.graph), model.weights | parameters_among(proto.graph)
    proto.graph.name = str(path)  # for messages
    small = {tensor.name for tensor in proto.graph.initializer}
    for value, filled in zip(model.proto.graph.input, proto.graph.input, strict=True):
        if value.name not in small:
            wanted = None if value.name in weights else size
            shape = input_shape(value, wanted, str(path), is_frame=value.name in last)
            del filled.type.tensor_type.shape.dim[:]
            for side in shape:
                filled.type.tensor_type.shape.dim.add(dim_value=side)
    return proto


def main(arguments: list[str]) -> None:
    """``PATH TARGET [SIZE, SHAPES]``, the last as JSON: print the fault as JSON."""
    sys.modules["torch"] = None  # type: ignore[assignment]  # TVM would load it for nothing
    from cost_models.lowering.pipeline import lower

    path, target, given = arguments
    size, shapes = json.loads(given)
    fault = None
    try:
        fixed = _fixed(Path(path), size and tuple(size), {name: tuple(s) for name, s in shapes.items()})
        lower(fixed, load_target(target).tvm_target())
    except InvalidGraph as error:
        fault = str(error)
    sys.stdout.write(f"\n{json.dumps(fault)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
