"""TVM against onnxruntime on every ONNX form that we write, and what happens to the kernels on the way."""

import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from cost_models.errors import CostModelError, InvalidGraph, LoweringError
from cost_models.lowering.pipeline import (
    Compiled,
    compile_lowered,
    export,
    kernels,
    lower,
    structural_hash,
)
from cost_models.schedules.serialization import apply_schedule, trace_text
from cost_models.tvm_import import ms, relax, tvm

ROOT = Path(__file__).parents[3]
TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})


class Net:
    """Writes an ONNX graph from one input ``x``; every method returns the name of its result."""

    def __init__(self, *shape: int | str, dtype: int = TensorProto.FLOAT) -> None:
        self.shape, self.dtype = shape, dtype
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(0)

    def const(self, values: Any, dtype: str = "float32") -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), f"c{len(self.weights)}"))
        return self.weights[-1].name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [f"t{len(self.nodes)}"], **attributes))
        return str(self.nodes[-1].output[0])

    def conv(
        self,
        x: str,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> str:
        weight = self.random.standard_normal((outputs, inputs // groups, kernel, kernel))
        return self.op(
            "Conv",
            x,
            self.const(weight / np.sqrt(weight[0].size)),
            self.const(self.random.standard_normal(outputs)),
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            dilations=[dilation] * 2,
            pads=[kernel // 2 * dilation] * 4,
            group=groups,
        )

    def block(self, x: str, channels: int, kernel: int = 3, dilation: int = 1, act: str = "Relu") -> str:
        """Inverted residual block of expansion 3."""
        wide = 3 * channels
        y = self.op(act, self.conv(x, channels, wide))
        y = self.op(act, self.conv(y, wide, wide, kernel, dilation=dilation, groups=wide))
        return self.op("Add", self.conv(y, wide, channels), x)

    def resize(self, x: str, size: Sequence[int], mode: str) -> str:
        sizes = self.const(size, "int64")
        return self.op("Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode=mode)

    def model(self, result: str, dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", self.dtype, self.shape)],
            [helper.make_empty_tensor_value_info(result)],
            self.weights,
        )
        graph.output[0].type.tensor_type.elem_type = dtype
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def frame(model: onnx.ModelProto) -> Any:
    tensor = model.graph.input[0].type.tensor_type
    shape = [d.dim_value for d in tensor.shape.dim]
    random = np.random.default_rng(1)
    if tensor.elem_type == TensorProto.UINT8:
        return random.integers(0, 256, shape).astype("uint8")
    return random.standard_normal(shape).astype("float32")


def compiled(model: onnx.ModelProto) -> Compiled:
    return compile_lowered(lower(model, TARGET), TARGET, {})


def run(executable: Any, x: Any) -> Any:
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x))
    return result.numpy()


def reference(model: onnx.ModelProto, x: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def assert_agrees(model: onnx.ModelProto, x: Any = None, within: float = 1e-4) -> None:
    x = frame(model) if x is None else x
    found, wanted = run(compiled(model).executable, x), reference(model, x)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    error = np.abs(found.astype("float64") - wanted).max()
    assert error <= within * np.abs(wanted.astype("float64")).max()


@pytest.mark.parametrize("act", ["Relu", "HardSwish", "Sigmoid"])
def test_inverted_residual_block(act: str) -> None:
    net = Net(1, 8, 9, 21)
    assert_agrees(net.model(net.block("x", 8, kernel=5, dilation=2, act=act)))


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "stride", "dilation", "groups"),
    [
        (8, 12, 1, 1, 1, 2),
        (8, 12, 1, 2, 1, 1),
        (3, 16, 3, 2, 1, 1),
        (6, 19, 3, 1, 1, 1),
        (8, 8, 3, 2, 1, 8),
        (8, 8, 5, 2, 2, 8),
        (8, 12, 3, 1, 3, 4),
        (1, 1, 1, 1, 1, 1),
        (2, 3, 9, 1, 1, 1),
    ],
)
def test_convolution(inputs: int, outputs: int, kernel: int, stride: int, dilation: int, groups: int) -> None:
    net = Net(1, inputs, 13, 18)
    y = net.conv("x", inputs, outputs, kernel, stride=stride, dilation=dilation, groups=groups)
    assert_agrees(net.model(y))


def test_a_batch_of_several() -> None:
    net = Net(3, 6, 7, 10)
    assert_agrees(net.model(net.block("x", 6)))


def test_squeeze_and_excitation() -> None:
    net = Net(1, 8, 12, 17)
    y = net.op("GlobalAveragePool", "x")
    y = net.op("Relu", net.conv(y, 8, 4))
    y = net.op("HardSigmoid", net.conv(y, 4, 8), alpha=1 / 6, beta=0.5)
    assert_agrees(net.model(net.op("Mul", "x", y)))


def test_lite_reduced_aspp() -> None:
    net = Net(1, 6, 64, 100)
    pooled = net.op("AveragePool", "x", kernel_shape=[49, 49], strides=[16, 20])
    gate = net.op("Sigmoid", net.conv(pooled, 6, 6))
    assert_agrees(net.model(net.op("Mul", "x", net.resize(gate, (1, 6, 64, 100), "align_corners"))))


@pytest.mark.parametrize("mode", ["align_corners", "half_pixel"])
@pytest.mark.parametrize(("before", "after"), [((9, 13), (33, 50)), ((9, 13), (4, 6)), ((1, 5), (8, 40))])
def test_resize(mode: str, before: tuple[int, int], after: tuple[int, int]) -> None:
    net = Net(1, 5, *before)
    assert_agrees(net.model(net.resize("x", (1, 5, *after), mode)))


def test_expand_of_a_pooled_branch() -> None:
    net = Net(1, 6, 9, 14)
    pooled = net.op("Relu", net.conv(net.op("GlobalAveragePool", "x"), 6, 4))
    wide = net.op("Expand", pooled, net.const([1, 4, 9, 14], "int64"))
    assert_agrees(net.model(net.conv(net.op("Concat", "x", wide, axis=1), 10, 5)))


def test_concat_slice_and_pad() -> None:
    net = Net(1, 4, 9, 13)
    y = net.op("Concat", "x", net.op("Relu", "x"), axis=1)
    one, end, axes = (net.const(v, "int64") for v in ([1, 1], [9, 13], [2, 3]))
    y = net.op("Slice", y, one, end, axes)
    assert_agrees(net.model(net.op("Pad", y, net.const([0, 0, 0, 0, 0, 0, 1, 1], "int64"), mode="constant")))


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [("AveragePool", {"count_include_pad": 0}), ("AveragePool", {"count_include_pad": 1}), ("MaxPool", {})],
)
def test_padded_pooling(kind: str, attributes: dict[str, int]) -> None:
    net = Net(1, 4, 9, 14)
    assert_agrees(
        net.model(net.op(kind, "x", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2], **attributes))
    )


def test_camera_frame_to_planes() -> None:
    net = Net(1, 9, 14, 3, dtype=TensorProto.UINT8)
    planes = net.op("Cast", net.op("Transpose", "x", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    centred = net.op("Sub", planes, net.const(np.reshape([120, 115, 100], (1, 3, 1, 1))))
    assert_agrees(net.model(net.op("Mul", centred, net.const(np.reshape([0.1, 0.2, 0.3], (1, 3, 1, 1))))))


@pytest.mark.parametrize("width", [5, 30])
def test_argmax_takes_the_first_of_equals(width: int) -> None:
    net = Net(1, 19, 6, width)
    best = net.op("ArgMax", "x", axis=1, keepdims=0)
    model = net.model(net.op("Cast", best, to=TensorProto.UINT8), TensorProto.UINT8)
    few_values = np.round(frame(model))
    assert_agrees(model, few_values, within=0)
    assert run(compiled(model).executable, np.zeros_like(few_values)).max() == 0


def test_batch_normalisation_of_foreign_models_joins_its_convolution() -> None:
    net = Net(1, 4, 6, 8)
    y = net.op(
        "BatchNormalization", net.conv("x", 4, 8), *(net.const(np.linspace(0.5, 1, 8)) for _ in range(4))
    )
    model = net.model(net.op("Relu", y))
    assert len(kernels(lower(model, TARGET))) == 1
    assert_agrees(model)


def test_kernels_are_the_same_alone_and_inside_a_network() -> None:
    alone, inside = Net(1, 8, 10, 12), Net(1, 8, 10, 12)
    one = kernels(lower(alone.model(alone.block("x", 8)), TARGET))
    two = kernels(lower(inside.model(inside.conv(inside.block(inside.block("x", 8), 8), 8, 3)), TARGET))
    assert [k.calls for k in one.values()] == [1, 1, 1]
    assert {k.hash: 2 * k.calls for k in one.values()}.items() < {
        k.hash: k.calls for k in two.values()
    }.items()
    assert sorted(k.calls for k in two.values()) == [1, 2, 2, 2]


def test_kernels_are_what_metaschedule_would_tune() -> None:
    net = Net(1, 8, 10, 12)
    lowered = lower(net.model(net.block("x", 8)), TARGET)
    tasks = ms.relax_integration.extract_tasks(lowered, TARGET)
    wanted = {task.task_name: structural_hash(task.dispatched[0]) for task in tasks}
    assert {name: kernel.hash for name, kernel in kernels(lowered).items()} == wanted


def in_fresh_process(*lines: str) -> str:
    code = "\n".join(("import sys", f"sys.path.insert(0, {str(ROOT)!r})", *lines))
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    ).stdout


def test_another_process_finds_the_same_hashes_and_runs_the_exported_module(tmp_path: Path) -> None:
    net = Net(1, 4, 6, 20)
    model = net.model(net.block("x", 4))
    lowered = lower(model, TARGET)
    onnx.save(model, tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", frame(model))
    export(compile_lowered(lowered, TARGET, {}).executable, tmp_path / "model.so")
    said = in_fresh_process(
        "import json, numpy, onnx",
        "from cost_models.lowering.pipeline import kernels, lower",
        "from cost_models.tvm_import import relax, tvm",
        f"folder, target = {str(tmp_path)!r}, tvm.target.Target({{'kind': 'llvm', 'num-cores': 2}})",
        "x = tvm.runtime.tensor(numpy.load(folder + '/x.npy'))",
        "vm = relax.VirtualMachine(tvm.runtime.load_module(folder + '/model.so'), tvm.cpu())",
        "numpy.save(folder + '/y.npy', vm['main'](x).numpy())",
        "found = kernels(lower(onnx.load(folder + '/net.onnx'), target))",
        "print(json.dumps([[k.hash for k in found.values()], 'torch' in sys.modules]))",
    )
    assert json.loads(said) == [[k.hash for k in kernels(lowered).values()], False]
    np.testing.assert_allclose(
        np.load(tmp_path / "y.npy"), reference(model, frame(model)), rtol=1e-4, atol=1e-5
    )


def schedule_of(mod: Any) -> str:
    """The text form of any schedule that is not the default one."""
    schedule = tvm.s_tir.Schedule(mod)
    loops = schedule.get_loops(schedule.get_sblock("conv2d_nchw"))
    schedule.parallel(loops[1])
    return trace_text(schedule)


def test_tuned_modules_replace_default_schedules() -> None:
    net = Net(1, 4, 6, 10)
    model = net.model(net.block("x", 4))
    lowered = lower(model, TARGET)
    found = kernels(lowered)
    name, *_ = (n for n in found if "conv2d_nchw" in str(found[n].mod) and "group" not in str(found[n].mod))
    tuned = apply_schedule(found[name].mod, TARGET, schedule_of(found[name].mod))
    made = compile_lowered(lowered, TARGET, {found[name].hash: tuned})
    assert made.tuned == (name,)
    assert set(made.default) == set(found) - {name}
    np.testing.assert_allclose(
        run(made.executable, frame(model)), reference(model, frame(model)), rtol=1e-4, atol=1e-5
    )


def test_lowering_leaves_the_module_as_it_was() -> None:
    net = Net(1, 4, 6, 10)
    lowered = lower(net.model(net.block("x", 4)), TARGET)
    before = structural_hash(lowered)
    compile_lowered(lowered, TARGET, {})
    assert structural_hash(lowered) == before


def test_the_bias_of_a_convolution_is_not_compiled_to_know_its_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, module = Net(1, 3, 8, 16), importlib.import_module("tvm.tirx.build")
    model = net.model(net.conv(net.conv("x", 3, 8), 8, 4, 3))
    built: list[Any] = []
    build = module.codegen_build
    monkeypatch.setattr(module, "codegen_build", lambda mod, target: built.append(mod) or build(mod, target))
    lowered = lower(model, TARGET)
    assert built == []
    compile_lowered(lowered, TARGET, {})
    assert built != []


def test_open_shapes_are_refused() -> None:
    net = Net(1, 4, "height", 10)
    with pytest.raises(InvalidGraph, match=r"^net: input x has an open shape; export it with fixed sizes$"):
        lower(net.model(net.conv("x", 4, 8)), TARGET)


def test_invalid_models_are_refused_in_one_line() -> None:
    net = Net(1, 4, 6, 10)
    model = net.model(net.conv("x", 4, 8))
    model.graph.node[0].input[0] = "nobody"
    with pytest.raises(InvalidGraph, match="net: not a valid ONNX model: ValidationError: ") as caught:
        lower(model, TARGET)
    assert "\n" not in str(caught.value)


def test_what_tvm_cannot_import_is_refused_in_one_line() -> None:
    net = Net(1, 4, 6, 10)
    model = net.model(net.resize("x", (1, 4, 1, 10), "align_corners"))
    with pytest.raises(InvalidGraph, match=r"net: TVM cannot import it: .*Divide by zero") as caught:
        lower(model, TARGET)
    assert "\n" not in str(caught.value)


def test_an_export_that_cannot_be_linked_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(1, 2, 4, 8)
    made = compiled(net.model(net.op("Relu", "x")))
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-compiler"))
    with pytest.raises(LoweringError, match=r"model\.so: could not be linked: .* a C\+\+ compiler is needed"):
        export(made.executable, tmp_path / "model.so")
    assert issubclass(LoweringError, CostModelError)
    assert LoweringError.exit_code == 1


def test_cuda_graphs_have_no_effect_on_a_cpu() -> None:
    net = Net(1, 8, 8, 16)
    model = net.model(net.block("x", 8))
    made = compile_lowered(lower(model, TARGET), TARGET, {}, cuda_graphs=True)
    assert "cuda_graph" not in made.executable.as_text()
