"""The kernels of somebody else's network as TVM cuts it, each by a name under which it can be kept.

What equals a kernel of our own operations, by its module's structure, is that kernel: it shares what was
measured of it. The others are kept by the structural hash of their module; what they do is told for estimates
alone, by the operations that the network's description has at that place, or else by the module itself.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cost_models.errors import InvalidGraph
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import Graph, Node
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.ir.op import Shape, as_map
from cost_models.ir.ops import Foreign
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import KernelFunc, kernels, structural_hash
from cost_models.schedules.sblocks import blocks_of, reduces
from cost_models.tvm_import import relax, tvm, tvm_ffi

tirx = tvm.tirx

_NUMBERED = re.compile(r"(?<=[a-z])\d+(?=_|$)")  # TVM counts functions of equal names
_PREFIX = "fused_"


def cut_as_lowered(
    lowered: Any,
    described: Sequence[Kernel],
    tvm_target: Any,
    dtype: str = "float32",
    known: Mapping[str, Kernel] | None = None,
) -> KernelGraph:
    """What a lowered network runs, every kernel with what it takes to tune and time it.

    Args:
        lowered: what ``lower`` gave for this target.
        described: kernels of the network by its description, in the order they run.
        dtype: in which kernels of our own operations are written.
        known: by structural hash, kernels of other networks that have names already.

    Raises:
        InvalidGraph: it runs no kernel at all.
    """
    functions, runs = kernels(lowered), list(_runs(lowered))
    if not runs:
        raise InvalidGraph("the network runs no kernel: there is nothing to tune or time")
    own = _own(described, tvm_target, dtype)
    there, named = _described_at(runs, described), dict(known or {})
    cut = []
    for position, run in enumerate(runs):
        function = functions[run.name]
        if function.hash in own:
            cut.append(own[function.hash])
            continue
        if function.hash not in named:
            told = there.get(position) or _told_by_module(run, function)
            named[function.hash] = Kernel(told.graph, told.inputs, function.hash)
        cut.append(replace(named[function.hash], code=function.mod))
    return KernelGraph(tuple(cut), tuple(run.reads for run in runs))


def _own(described: Iterable[Kernel], tvm_target: Any, dtype: str) -> dict[str, Kernel]:
    """Structural hash -> the kernel of our operations that has it."""
    found = {}
    for kernel in dict.fromkeys(described):
        if not kernel.is_writable:
            continue
        try:
            mod = kernel_module(kernel, tvm_target, dtype)
        except (InvalidGraph, ValueError):  # alone TVM cannot take it, or cuts it: in its network it differs
            continue
        found[structural_hash(mod)] = kernel
    return found


@dataclass(frozen=True)
class _Run:
    """A call of a kernel.

    Attributes:
        name: of the function.
        maps: shapes of what it reads that is computed, as maps.
        weights: values of the constants that it reads.
        output: shape of its first result, as a map.
        reads: positions of the calls whose results it reads.
    """

    name: str
    maps: tuple[Shape, ...]
    weights: int
    output: Shape
    reads: tuple[int, ...]


def _runs(lowered: Any) -> Iterator[_Run]:
    """The calls of the main function, in order."""
    made: dict[Any, tuple[int, ...]] = {}  # variable -> positions of the calls that it comes from
    count = 0
    for block in lowered["main"].body.blocks:
        for binding in block.bindings:
            value = binding.value
            reads = tuple(sorted(_positions(value, made)))
            if not _is_kernel(value):
                made[binding.var] = reads
                continue
            arguments = [part for argument in value.args[1:] for part in _parts(argument)]
            constants = [part for part in arguments if isinstance(part, tvm.ir.GenericConst)]
            maps = tuple(_shape(part.ty) for part in arguments if isinstance(part, relax.Var))
            weights = sum(math.prod(_sides(part.ty)) for part in constants)
            output = value.ty.fields[0] if isinstance(value.ty, tvm.ir.TupleType) else value.ty
            yield _Run(value.args[0].name_hint, maps, weights, _shape(output), reads)
            made[binding.var] = (count,)
            count += 1


def _is_kernel(value: Any) -> bool:
    return isinstance(value, relax.Call) and value.op == tvm.ir.Op.get("relax.call_tir")


def _parts(argument: Any) -> list[Any]:
    return list(argument.fields) if isinstance(argument, relax.Tuple) else [argument]


def _positions(value: Any, made: Mapping[Any, tuple[int, ...]]) -> set[int]:
    """Of the calls that an expression reads."""
    found: set[int] = set()

    def visit(part: Any) -> None:
        if isinstance(part, relax.Var):
            found.update(made.get(part, ()))

    relax.analysis.post_order_visit(value, visit)
    return found


def _sides(ty: Any) -> Shape:
    return tuple(int(side) for side in ty.shape)


def _shape(ty: Any) -> Shape:
    return as_map(_sides(ty))


def _described_at(runs: Sequence[_Run], described: Sequence[Kernel]) -> dict[int, Kernel]:
    """Position of a call -> the kernel of the description that stands there.

    Both come in the order they run, so of those that read and make the same sizes the first is the first. Of
    sizes that one of them has more often than the other nothing is told.
    """
    theirs: dict[Any, list[int]] = {}
    ours: dict[Any, list[Kernel]] = {}
    for position, run in enumerate(runs):
        theirs.setdefault((tuple(sorted(run.maps)), run.output), []).append(position)
    for kernel in described:
        ours.setdefault((tuple(sorted(kernel.inputs)), kernel.output_shape), []).append(kernel)
    pairs = [(theirs[ends], ours[ends]) for ends in theirs.keys() & ours.keys()]
    return {
        position: kernel
        for positions, kernels_ in pairs
        if len(positions) == len(kernels_)
        for position, kernel in zip(positions, kernels_, strict=True)
    }


def _told_by_module(run: _Run, function: KernelFunc) -> Kernel:
    """A kernel of one operation, which is called what TVM calls the function."""
    work = _work(function.mod)
    op = Foreign(
        _NUMBERED.sub("", run.name.removeprefix(_PREFIX)),
        run.output,
        work["products"],
        run.weights,
        "dense" if work["products"] else "memory",
        "out_elementwise_fusable" if work else "injective",
        0 if work["products"] else work["others"],
    )
    maps = run.maps or ((1, 1, 1, 1),)  # of constants alone
    names = tuple(f"x{index}" for index in range(len(maps)))
    return Kernel(Graph(names, (Node("n0", op, names),), ("n0",)), maps)


def _work(mod: Any) -> Counter[str]:
    """Rounds of the loops that sum products, and of those that sum or compare otherwise."""
    schedule, work = tvm.s_tir.Schedule(mod), Counter[str]()
    for block in blocks_of(schedule):
        if reduces(schedule, block):
            rounds = math.prod(int(axis.dom.extent) for axis in schedule.get(block).iter_vars)
            work["products" if _multiplies(schedule.get(block)) else "others"] += rounds
    return work


def _multiplies(block: Any) -> bool:
    """Whether it sums products of two tensors."""
    products: list[Any] = []
    tvm_ffi.structural_walk(block.body, (tirx.Mul, products.append))
    return any(_loads(product.a) and _loads(product.b) for product in products)


def _loads(expr: Any) -> bool:
    while isinstance(expr, tirx.Cast):
        expr = expr.value
    return isinstance(expr, tvm.ir.expr.TensorLoad)
