"""What this machine's CPU is and how much of it this process may use. Linux; no TVM."""

import os
import platform
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

_VECTOR_FLAGS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "amx_tile", "neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
_CPUS = Path("/sys/devices/system/cpu")

# What LLVM calls features of 64 bit Arm processors, and what Linux calls them. Left out is what no kernel is
# made of: checksums, random numbers, and cryptography, which Raspberry Pis lack, and LLVM adds to their CPU.
_ARM_FLAGS = {
    "fp-armv8": ("fp",),
    "neon": ("asimd",),
    "lse": ("atomics",),
    "rdm": ("asimdrdm",),
    "fullfp16": ("fphp", "asimdhp"),
    "dotprod": ("asimddp",),
    "fp16fml": ("asimdfhm",),
    "complxnum": ("fcma",),
    "jsconv": ("jscvt",),
    "rcpc": ("lrcpc",),
    "i8mm": ("i8mm",),
    "bf16": ("bf16",),
    "sve": ("sve",),
    "sve2": ("sve2",),
    "sme": ("sme",),
}
_X86_VECTORS = ("avx", "fma", "amx", "f16c")


@dataclass(frozen=True, slots=True)
class Processor:
    """What latencies are of: a processor as the system names it, and how many of its cores are used.

    Attributes:
        vectors: the widest instructions, ``AVX-512`` or ``AVX2``; empty where that is not known. Virtual
            machines call processors of several generations alike.
    """

    name: str
    cores: int
    vectors: str = ""

    def __str__(self) -> str:
        cores = f"{self.cores} core{'s' * (self.cores > 1)}"
        return f"{self.name} ({', '.join(filter(None, (cores, self.vectors)))})"

    def is_like(self, other: "Processor") -> bool:
        """Whether latencies of one are latencies of the other, as far as can be told."""
        alike = self.vectors == other.vectors or not (self.vectors and other.vectors)
        return (self.name, self.cores) == (other.name, other.cores) and alike


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalMachine:
    """The CPU as this process may use it: affinity and cgroup quota are respected.

    Attributes:
        cpu_model: as the system spells it.
        physical_cores, logical_cores: usable ones; a core with two usable hardware threads is one physical.
        vector_extensions: as /proc/cpuinfo spells them.
        memory_bytes: of the whole machine.
        governor: cpufreq governor; None where the system does not tell, as in most virtual machines.
    """

    cpu_model: str
    physical_cores: int
    logical_cores: int
    vector_extensions: tuple[str, ...]
    memory_bytes: int
    governor: str | None

    @property
    def vectors(self) -> str:
        """As ``Processor.vectors``."""
        known = {"avx512f": "AVX-512", "avx2": "AVX2"}
        return next((name for flag, name in known.items() if flag in self.vector_extensions), "")

    @classmethod
    def detect(cls) -> "LocalMachine":
        """Look at /proc, /sys and the affinity of this process; takes milliseconds."""
        usable = os.sched_getaffinity(0)
        # a quota is rounded down: one thread too many would be throttled
        grant = int(max(1, min(_cgroup_cpus(), len(usable))))
        flags = cpu_flags()
        return cls(
            cpu_model=_cpu_model(),
            physical_cores=min(grant, len({_core(cpu) for cpu in usable})),
            logical_cores=grant,
            vector_extensions=tuple(flag for flag in _VECTOR_FLAGS if flag in flags),
            memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            governor=_read(_CPUS / "cpu0/cpufreq/scaling_governor"),
        )


def cpu_flags() -> frozenset[str]:
    """Every feature flag of the first CPU (``flags`` on x86, ``Features`` on Arm)."""
    info = _cpuinfo()
    return frozenset((info.get("flags") or info.get("Features") or "").split())


def needed_flags(llvm_features: Iterable[str]) -> list[str]:
    """What /proc/cpuinfo must show, but for underscores, where code may use these features of LLVM's."""
    return sorted({flag for feature in llvm_features for flag in _flags_of(feature)})


def unsupported_features(llvm_features: Iterable[str], flags: Collection[str]) -> list[str]:
    """Features that LLVM's name for a CPU implies and that a machine with these flags does not have.

    LLVM goes by family and model, so a virtual machine that hides AVX-512 still gets a name that enables it,
    and the code would die with an illegal instruction. Flags that are not the processor's own, as an emulator
    shows its host's, are not judged.
    """
    known, present = {"sse2", "asimd"} & set(flags), {flag.replace("_", "") for flag in flags}
    if not known:
        return []
    arm = "asimd" in known
    judged = [feature for feature in llvm_features if (feature in _ARM_FLAGS) == arm]
    return sorted(f for f in judged if not {flag.replace("_", "") for flag in _flags_of(f)} <= present)


def _flags_of(feature: str) -> tuple[str, ...]:
    """Of one feature of LLVM's, Arm's or x86's; none for what is no matter of vectors."""
    if feature.startswith(_X86_VECTORS):
        return (feature.replace("-", "_"),)
    return _ARM_FLAGS.get(feature, ())


def _core(cpu: int) -> tuple[str, str]:
    """The physical core behind a logical CPU; each its own where the system does not tell."""
    topology = _CPUS / f"cpu{cpu}/topology"
    return _read(topology / "physical_package_id") or "", _read(topology / "core_id") or str(cpu)


def _cgroup_cpus() -> float:
    """CPUs' worth of time that control groups (version 1 and 2) grant; infinite without a quota."""
    grants = [float("inf")]
    for line in (_read(Path("/proc/self/cgroup")) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root = Path("/sys/fs/cgroup")
            if not (root / "cgroup.controllers").exists():
                root = root / "unified"
        elif "cpu" in controllers.split(","):
            root = Path("/sys/fs/cgroup/cpu")
        else:
            continue
        # a parent's quota binds its children, and inside a container the path may not be visible
        group = root / path.lstrip("/")
        grants += [_quota(folder) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return min(grants)


def _quota(group: Path) -> float:
    text = _read(group / "cpu.max")
    if text is None:
        text = f"{_read(group / 'cpu.cfs_quota_us') or -1} {_read(group / 'cpu.cfs_period_us') or 1}"
    quota, period = text.split()
    return float("inf") if quota == "max" or int(quota) <= 0 else int(quota) / int(period)


def _cpu_model() -> str:
    board = _read(Path("/sys/firmware/devicetree/base/model"))  # most Arm systems have no "model name"
    return _cpuinfo().get("model name") or (board or "").rstrip("\0") or f"{platform.machine()} CPU"


def _cpuinfo() -> dict[str, str]:
    """The first processor's block of /proc/cpuinfo."""
    block = (_read(Path("/proc/cpuinfo")) or "").split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in block.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
