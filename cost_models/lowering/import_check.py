"""Whether TVM can import an ONNX file, tried in a process of its own: TVM may crash on one."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from onnx import ModelProto

from cost_models.errors import InvalidGraph
from cost_models.onnx_io.layout import frames
from cost_models.onnx_io.model_file import load, with_shapes
from cost_models.onnx_io.parameters import parameters_among
from cost_models.onnx_io.reader import input_shape
from targets import Target, load_target
from targets.support.child_python import child_python

_TIMEOUT_S = 600


def import_fault(path: Path, size: tuple[int, int] | None, target: Target) -> str | None:
    """Why TVM cannot import a file and cut it into kernels, one line; None where it can.

    Args:
        size: height and width of its images, where the file leaves them open.
    """
    given = [] if size is None else [str(side) for side in size]
    command = child_python("cost_models.lowering.import_check", str(path), target.argument, *given)
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


def _fixed(path: Path, size: tuple[int, int] | None) -> ModelProto:
    """The model as TVM wants it, its sizes numbers. Weights are inputs: nothing but their shapes matters."""
    model = load(path)
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
    """``PATH TARGET [HEIGHT WIDTH]``: print the fault as JSON."""
    sys.modules["torch"] = None  # type: ignore[assignment]  # TVM would load it for nothing
    from cost_models.lowering.pipeline import lower

    path, target, *sides = arguments
    size = (int(sides[0]), int(sides[1])) if sides else None
    fault = None
    try:
        lower(_fixed(Path(path), size), load_target(target).tvm_target())
    except InvalidGraph as error:
        fault = str(error)
    sys.stdout.write(f"\n{json.dumps(fault)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
