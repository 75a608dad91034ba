"""Who reads and writes what threads of a GPU keep for themselves: buffers of scope ``local`` and ``warp``."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from cost_models.schedules.index_values import variables
from cost_models.tvm_import import tvm, tvm_ffi

OWN_SCOPES = ("local", "warp")
THREAD = "threadIdx."

_REDUCED = 2  # IterVar.CommReduce
_CONDITIONALS = ("prim.if_then_else",)
_CHILDREN = (
    "a",
    "b",
    "value",
    "base",
    "stride",
)  # what expressions call their parts, as far as they have any


@dataclass(frozen=True, eq=False, slots=True)
class Loop:
    """A loop of a schedule; two are the same if they are one object.

    Attributes:
        thread: what it is bound to (``threadIdx.x``), or nothing.
    """

    var: Any
    first: Any
    extent: Any
    thread: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """A place where a buffer is read or written.

    Attributes:
        indices, extents: the box that is accessed: its first element, and its sides.
        loops: around it, from the outermost.
        bindings: variables of blocks, and what they are in terms of variables before them.
        guards: it happens where all of them hold.
        statement: number of the statement; a sum's initial value has its own.
    """

    buffer: Any
    writes: bool
    indices: tuple[Any, ...]
    extents: tuple[Any, ...]
    loops: tuple[Loop, ...]
    bindings: tuple[tuple[Any, Any], ...]
    guards: tuple[Any, ...]
    statement: int
    block: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Around:
    """What stands around a statement; ``summed`` are the threads that its block sums over."""

    loops: tuple[Loop, ...] = ()
    bindings: tuple[tuple[Any, Any], ...] = ()
    guards: tuple[Any, ...] = ()
    summed: frozenset[Loop] = frozenset()
    block: Any = None

    def within(self, *guards: Any) -> "_Around":
        return replace(self, guards=(*self.guards, *guards))


@dataclass(kw_only=True, slots=True)
class Accesses:
    """Of one function.

    Attributes:
        own: buffers of scope ``local`` and ``warp``.
        threads: of each launch, known by its outermost loop: how many in each dimension (``threadIdx.x``).
    """

    own: list[Any] = field(default_factory=list)
    threads: dict[Loop | None, dict[str, int]] = field(default_factory=dict)
    found: list[Access] = field(default_factory=list)
    _statements: int = 0

    @classmethod
    def of(cls, func: Any) -> "Accesses":
        """Those of a scheduled PrimFunc; none are looked for where no buffer is a thread's own."""
        made = cls()
        tvm_ffi.structural_walk(
            func.body,
            [
                (tvm.s_tir.SBlock, lambda block: made._keep(block.alloc_buffers)),
                (tvm.tirx.AllocBuffer, lambda stmt: made._keep([stmt.buffer])),
            ],
        )
        if made.own:
            made._walk(func.body, _Around())
        return made

    def _keep(self, buffers: Iterable[Any]) -> None:
        self.own += [buffer for buffer in buffers if str(buffer.scope()) in OWN_SCOPES]

    def _walk(self, stmt: Any, around: _Around) -> None:
        kind = type(stmt).__name__
        if kind == "SeqStmt":
            for part in stmt.seq:
                if type(part).__name__ == "Bind":
                    around = replace(around, bindings=(*around.bindings, (part.var, part.value)))
                self._walk(part, around)
        elif kind == "For":
            thread = str(stmt.thread_binding.thread_tag) if stmt.thread_binding is not None else ""
            loop = Loop(stmt.loop_var, stmt.min, stmt.extent, thread)
            around = replace(around, loops=(*around.loops, loop))
            if thread.startswith(THREAD):
                dimensions = self.threads.setdefault(launch_of(around.loops), {})
                dimensions[thread] = max(int(stmt.extent), dimensions.get(thread, 1))
            self._walk(stmt.body, around)
        elif kind == "SBlockRealize":
            self._walk_block(stmt, around)
        elif kind == "IfThenElse":
            self._read(stmt.condition, around)
            self._walk(stmt.then_case, around.within(stmt.condition))
            if stmt.else_case is not None:
                self._walk(stmt.else_case, around.within(tvm.tirx.Not(stmt.condition)))
        elif kind == "BufferStore":
            self._store(stmt, around)
        else:
            self._statements += 1
            for name in ("condition", "value"):
                if hasattr(stmt, name):
                    self._read(getattr(stmt, name), around)
            if hasattr(stmt, "body"):
                self._walk(stmt.body, around)

    def _walk_block(self, realize: Any, around: _Around) -> None:
        block = realize.block
        bindings = [(iv.var, value) for iv, value in zip(block.iter_vars, realize.iter_values, strict=True)]
        threads = {loop.var: loop for loop in around.loops if loop.thread.startswith(THREAD)}
        summed = {
            threads[var]
            for iv, value in zip(block.iter_vars, realize.iter_values, strict=True)
            if int(iv.iter_type) == _REDUCED
            for var in variables(value)
            if var in threads
        }
        inside = replace(
            around,
            bindings=(*around.bindings, *bindings),
            guards=(*around.guards, *_terms(realize.predicate)),
            summed=frozenset(summed),
            block=block,
        )
        for (
            match
        ) in block.match_buffers:  # another name of a part: all that the block declares may be touched
            self._declared(match.source.source, inside)
        if block.init is not None:
            self._walk(block.init, inside)
        self._walk(block.body, inside)

    def _store(self, stmt: Any, around: _Around) -> None:
        self._statements += 1
        for index in stmt.indices:
            self._read(index, around)
        self._read(stmt.value, around, of=stmt.buffer if around.summed else None)
        if around.summed:  # TVM gives the sum to every thread that took part; see LowerCrossThreadReduction
            vars_ = {loop.var for loop in around.summed}
            guards = [guard for guard in around.guards if not vars_.intersection(variables(guard))]
            around = replace(around, guards=tuple(guards))
        self._note(stmt.buffer, stmt.indices, around, writes=True)

    def _read(self, expr: Any, around: _Around, of: Any = None) -> None:
        """Note what an expression reads, but for ``of``: a sum over threads, which TVM keeps apart."""
        kind = type(expr).__name__
        if kind == "TensorLoad":
            if of is None or not expr.source.same_as(of):
                self._note(expr.source, expr.indices, around, writes=False)
            parts = list(expr.indices)
        elif kind == "Select" or (kind == "Call" and getattr(expr.op, "name", "") in _CONDITIONALS):
            condition, one, other = (
                expr.args if kind == "Call" else (expr.condition, expr.true_value, expr.false_value)
            )
            self._read(condition, around, of)
            self._read(one, around.within(condition), of)
            self._read(other, around.within(tvm.tirx.Not(condition)), of)
            return
        elif kind == "Let":
            self._read(expr.value, around, of)
            around = replace(around, bindings=(*around.bindings, (expr.var, expr.value)))
            parts = [expr.body]
        elif kind == "Call":
            parts = list(expr.args)
        elif kind == "Var":
            self._declared(expr, around)  # does something unless it is a buffer by its name alone
            return
        else:
            parts = [getattr(expr, name) for name in _CHILDREN if hasattr(expr, name)]
        for part in parts:
            self._read(part, around, of)

    def _is_own(self, buffer: Any) -> bool:
        return any(buffer.same_as(own) for own in self.own)

    def _note(self, buffer: Any, indices: Any, around: _Around, *, writes: bool) -> None:
        if self._is_own(buffer):
            self._add(buffer, tuple(indices), (1,) * len(indices), around, writes=writes)

    def _declared(self, buffer: Any, around: _Around) -> None:
        """Note all that the block says it reads and writes of a buffer, which is used as a whole."""
        if not self._is_own(buffer) or around.block is None:
            return
        for writes, declared in ((False, around.block.reads), (True, around.block.writes)):
            for box in (region.region for region in declared if region.source.same_as(buffer)):
                firsts, extents = tuple(side.min for side in box), tuple(side.extent for side in box)
                self._add(buffer, firsts, extents, around, writes=writes)

    def _add(self, buffer: Any, indices: Any, extents: Any, around: _Around, *, writes: bool) -> None:
        self.found.append(
            Access(
                buffer=buffer,
                writes=writes,
                indices=indices,
                extents=extents,
                loops=around.loops,
                bindings=around.bindings,
                guards=around.guards,
                statement=self._statements,
                block=str(around.block.name_hint) if around.block is not None else "",
            )
        )


def launch_of(loops: Iterable[Loop]) -> Loop | None:
    """The outermost loop that is bound: what is below it becomes one kernel of the GPU."""
    return next((loop for loop in loops if loop.thread), None)


def _terms(condition: Any) -> Iterator[Any]:
    """The parts of a conjunction."""
    if type(condition) is tvm.tirx.And:
        yield from _terms(condition.a)
        yield from _terms(condition.b)
    elif type(condition) is not tvm.tirx.IntImm:  # true
        yield condition
