"""ONNX -> Relax -> fused kernels -> compiled module. No PyTorch.

TVM 0.27 agrees with onnxruntime on every form that ``onnx_export`` writes (tests hold it to 1e-4). It cannot
take a linear Resize with ``align_corners`` to one row or column: it divides by zero while it legalises.
"""

import importlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from cost_models.errors import InvalidGraph, LoweringError
from cost_models.lowering.float16 import sums_in_float32
from cost_models.lowering.labels import joins_labels
from cost_models.lowering.transposed import transposed_convolutions
from cost_models.lowering.vector_math import vector_functions
from cost_models.onnx_io.saving import is_small
from cost_models.schedules.default import schedule_default
from cost_models.schedules.registers import require_own_registers
from cost_models.schedules.sblocks import require_threads
from cost_models.tvm_import import relax, tvm, tvm_ffi
from targets.support.commands import command_line
from targets.support.text import brief
from targets.toolchain.cuda_compiler import CudaCompiler, machine_code
from targets.toolchain.emulated_compiler import EmulatedCompiler
from targets.toolchain.tools import Tools

_FINAL = {
    "tirx.is_scheduled": True,
    "op_pattern": 8,
}  # TVM's own pipelines shall not schedule or fuse it again
_NAMED = 5  # of operations that are unknown
_KERNEL_SOURCE = b'extern "C" __global__'


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelFunc:
    """A fused kernel of a lowered network.

    Attributes:
        mod: IRModule with the one function ``main``, normalised as MetaSchedule does; not scheduled.
        hash: structural hash of ``mod``; equal kernels have equal hashes, whichever network they come from.
        calls: how many times one run of the network calls it.
    """

    mod: Any
    hash: str
    calls: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduledKernel:
    """A kernel of a compiled network.

    Attributes:
        mod: IRModule with the one function ``main``, scheduled.
        hash, calls: of the `KernelFunc` that it was.
        tuned: its schedule is a tuned one, not the default.
    """

    mod: Any
    hash: str
    calls: int
    tuned: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """A network ready to run or to export.

    Attributes:
        executable: ``tvm.relax.VirtualMachine(executable, device)["main"]`` runs it.
        kernels: by their names in the network.
    """

    executable: Any
    kernels: Mapping[str, ScheduledKernel]

    @property
    def tuned(self) -> tuple[str, ...]:
        """Names of the kernels that run a tuned schedule."""
        return tuple(name for name, kernel in self.kernels.items() if kernel.tuned)

    @property
    def default(self) -> tuple[str, ...]:
        """Names of those that run the default schedule."""
        return tuple(name for name, kernel in self.kernels.items() if not kernel.tuned)


def lower(model: onnx.ModelProto, target: Any) -> Any:
    """Relax IRModule of a network, one PrimFunc a fused kernel, none of them scheduled.

    Weights become constants; expressions of weights alone are computed here.

    Args:
        model: every input has a fixed shape.
        target: tvm Target.

    Raises:
        InvalidGraph: the model is not valid ONNX, has open shapes, or TVM cannot import it.
    """
    name = model.graph.name
    if is_small(model):  # ONNX's checker writes it as one message first, and TVM only warns that it cannot
        with _explained(f"{name}: not a valid ONNX model"):
            onnx.checker.check_model(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in weights and not all(d.dim_value > 0 for d in value.type.tensor_type.shape.dim):
            raise InvalidGraph(f"{name}: input {value.name} has an open shape; export it with fixed sizes")
    passes = [
        relax.transform.DecomposeOpsForInference(),  # with the next: foreign batch normalisation fuses
        relax.transform.CanonicalizeBindings(),
        tvm.transform.module_pass(_shape_constants, opt_level=0),
        transposed_convolutions(),
        joins_labels(),
        _legalised(target),
        relax.get_pipeline("zero"),
        relax.transform.DeadCodeElimination(),
    ]
    frontend = importlib.import_module("tvm.relax.frontend.onnx")
    require_known(model)
    with _explained(f"{name}: TVM cannot import it"), target:
        return tvm.transform.Sequential(passes)(frontend.from_onnx(model, keep_params_in_input=False))


def _legalised(target: Any) -> Any:
    """Relax pass: float16 sums in float32; CPUs compute functions of the C library in vectors."""
    functions = vector_functions() if target.kind.name == "llvm" else {}
    return relax.transform.LegalizeOps(sums_in_float32(functions))


def require_known(model: onnx.ModelProto) -> None:
    """Raises InvalidGraph naming operations that TVM does not know, each with a node that is one."""
    known = importlib.import_module("tvm.relax.frontend.onnx.onnx_frontend")._get_convert_map()
    unknown: dict[str, str] = {}
    for node in model.graph.node:
        places = node.op_type == "MaxPool" and any(node.output[1:])
        if places or (node.op_type not in known and node.op_type != "Constant"):
            kind = f"{node.op_type}{' that tells places' * places}"
            unknown.setdefault(kind, node.name or node.output[0])
    if unknown:
        said = ", ".join(f"{kind} ({name})" for kind, name in [*unknown.items()][:_NAMED])
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise InvalidGraph(
            f"{model.graph.name}: TVM has no {said}{more}; export the network without these operations"
        )


def _shape_constants(mod: Any, _context: Any) -> Any:
    """Reshaped constants, which the bias of every convolution is, as constants of that shape.

    TVM would compile a function for each of them to find its values, which takes longer than all else here.
    """
    shaper = _ConstantShaper(mod)
    for name, function in mod.functions_items():
        if isinstance(function, relax.Function):
            shaper.builder_.update_func(name, shaper.visit_expr(function))
    return shaper.builder_.get()


@relax.expr_functor.mutator
class _ConstantShaper(relax.expr_functor.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: Any) -> Any:
        call = self.visit_expr_post_order(call)
        if call.op != tvm.ir.Op.get("relax.reshape") or not isinstance(call.args[0], tvm.ir.GenericConst):
            return call
        shape = call.ty.shape
        if not isinstance(shape, relax.ShapeExpr) or any(
            not isinstance(side, tvm.tirx.IntImm) for side in shape
        ):
            return call
        values = call.args[0].value.numpy()
        return relax.const(values.reshape([int(side) for side in shape]), str(values.dtype))


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """What onnx and TVM raise, of many types and pages long, as one line."""
    try:
        yield
    except Exception as error:
        raise InvalidGraph(f"{what}: {brief(error)}") from error


def kernels(lowered: Any) -> dict[str, KernelFunc]:
    """Every kernel that a lowered network calls, by its name in the network."""
    calls: Counter[str] = Counter()

    def count(expr: Any) -> None:
        if isinstance(expr, relax.Call) and expr.op == tvm.ir.Op.get("relax.call_tir"):
            calls[expr.args[0].name_hint] += 1

    for function in lowered.functions.values():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function, count)
    normalised = {name: _normalised(lowered[name]) for name in sorted(calls)}
    return {
        name: KernelFunc(mod=mod, hash=structural_hash(mod), calls=calls[name])
        for name, mod in normalised.items()
    }


def structural_hash(mod: Any) -> str:
    """16 hexadecimal digits; the same in every process with this version of TVM."""
    return f"{tvm_ffi.structural_hash(mod) % 2**64:016x}"


def _normalised(func: Any) -> Any:
    """As ``extract_tasks`` of MetaSchedule does it: what fusion noted on the function is left out."""
    return tvm.get_global_func("tvm.s_tir.meta_schedule.normalize_mod")(func.without_attr("op_pattern"))


def compile_lowered(
    lowered: Any, target: Any, tuned_mods: Mapping[str, Any], *, cuda_graphs: bool = False
) -> Compiled:
    """Schedule every kernel, tuned where such a schedule is known, and build.

    Args:
        lowered: what ``lower`` gave for the same target.
        tuned_mods: ``KernelFunc.hash`` -> scheduled IRModule of a structurally equal kernel. Modules and not
            traces, because a trace names blocks, and TVM names some of them after the values around a kernel.
        cuda_graphs: on a GPU record the network's launches in its first run and replay them as one in later
            ones; without effect for other targets.

    Raises:
        LoweringError: TVM could not build it, or a kernel would not run on the target's GPU, or wrongly.
    """
    scheduled = tvm.IRModule(dict(lowered.functions.items()), attrs=lowered.attrs)
    made = {}
    for name, kernel in kernels(lowered).items():
        found = tuned_mods.get(kernel.hash)
        mod = schedule_default(kernel.mod, target) if found is None else found
        require_threads(mod, target, name)
        require_own_registers(mod, target, name)
        made[name] = ScheduledKernel(mod=mod, hash=kernel.hash, calls=kernel.calls, tuned=found is not None)
        scheduled.update_func(
            lowered.get_global_var(name), mod["main"].with_attrs({"global_symbol": name, **_FINAL})
        )
    try:
        recorded = cuda_graphs and target.kind.name == "cuda"  # TVM would try it on a CPU, too
        with tvm.transform.PassContext(config={"relax.backend.use_cuda_graph": recorded}):
            executable = tvm.compile(scheduled, target)
    except Exception as error:
        raise LoweringError(
            f"TVM cannot build this network for {target.kind.name}: {brief(error)}"
        ) from error
    return Compiled(executable=executable, kernels=made)


def export(executable: Any, path: Path, tools: Tools | None = None) -> None:
    """Write a compiled network as a shared object.

    What is linked lies beside it meanwhile: whoever clears that folder away clears up after a killed process.

    Args:
        tools: those of the target; without a linker among them this machine's C++ compiler links.

    Raises:
        LoweringError: no C++ compiler here, or it failed; or code for the GPU is not machine code.
        CompileError: the target's linker failed.
    """
    tools = tools or Tools()
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as workspace:
            executable.export_library(str(path), workspace_dir=workspace, fcompile=tools.linker)
    except (RuntimeError, ValueError, OSError) as error:
        raise LoweringError(
            f"{path}: could not be linked: {brief(error)}; "
            "a C++ compiler is needed (Debian, Ubuntu: apt install g++)"
        ) from error
    if tools.cuda is not None:
        _check_machine_code(path, tools.cuda)


def _check_machine_code(path: Path, compiler: CudaCompiler | EmulatedCompiler) -> None:
    """TVM stores source text for the GPU where it cannot compile; such a module must not leave the house."""
    data = path.read_bytes()
    found, wanted = set(machine_code(data)), compiler.code
    if found == {wanted} and _KERNEL_SOURCE not in data:
        return
    path.unlink()
    holds = sorted(found) + ["source text"] * (_KERNEL_SOURCE in data)
    raise LoweringError(
        f"{path}: holds {' and '.join(holds) or 'nothing'} for the GPU, allowed: machine code for {wanted} "
        "alone; see what TVM's CUDA runtime lacks here: " + command_line("targets", "check", "NAME")
    )
