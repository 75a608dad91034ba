"""Before a bundle leaves for a GPU each of its kernels is run on the emulated one, and must be right."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cost_models.lowering.pipeline import Compiled
from cost_models.runner.compiled_check import KernelVerdict, Loads, check_compiled
from squeezenas_tvm.errors import FailedWork
from squeezenas_tvm.terminal.progress import progress
from targets import CompileError, MissingTool, Target

NOT_WANTED = "--no-check"
_NAMED = 3  # of several kernels that are wrong

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KernelCheck:
    """What is known of the kernels of a GPU's bundle.

    Attributes:
        kernels: how many distinct ones ran on the emulated GPU, and were right.
        arch: of that GPU; None where none ran.
        why_not: they did not run; None where they did.
        loads: what the launches of each kernel load, by its name in the network.
    """

    kernels: int = 0
    arch: str | None = None
    why_not: str | None = None
    loads: Mapping[str, tuple[Loads, ...]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Its part of manifest.json."""
        return {"kernels": self.kernels, "emulated_gpu": self.arch, "why_not": self.why_not}


def check_gpu_kernels(
    compiled: Compiled, lowered: Any, target: Target, *, wanted: bool, shown: bool
) -> KernelCheck | None:
    """Run the kernels of a network on the emulated GPU; None for a target without a GPU.

    Where that cannot be, for want of a C++ compiler, a warning says so.

    Args:
        lowered: what ``compiled`` was made of.
        wanted: without, nothing is run.

    Raises:
        FailedWork: a kernel is wrong; says which, and what to do.
    """
    if not target.uses_cuda:
        return None
    if not wanted:
        return KernelCheck(why_not=NOT_WANTED)
    arch = str(target.tvm_target().attrs["arch"])
    total = len({kernel.hash for kernel in compiled.kernels.values()})
    wrong, loads = list[KernelVerdict](), dict[str, tuple[Loads, ...]]()
    try:
        with progress("check on the emulated GPU", total, shown=shown) as step:
            for verdict in check_compiled(compiled, lowered, arch):
                step(verdict.name)
                wrong += [verdict] if verdict.faults else []
                loads[verdict.name] = verdict.loads
    except (MissingTool, CompileError, OSError) as error:
        log.warning("the kernels are not checked before they leave: %s", error)
        return KernelCheck(why_not=str(error))
    if wrong:
        raise FailedWork(_refusal(wrong, total))
    return KernelCheck(total, arch, loads=loads)


def _refusal(wrong: list[KernelVerdict], total: int) -> str:
    said = "; ".join(verdict.faults[0] for verdict in wrong[:_NAMED])
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    tuned = any(verdict.tuned for verdict in wrong)
    fix = "deploy without those records (--measurements OTHER)" if tuned else "tune them (--trials 64)"
    return (
        f"{len(wrong)} of {total} kernels are wrong on the emulated GPU: {said}{more}; no bundle was made; "
        f"{fix}, or ship them as they are: {NOT_WANTED}"
    )
