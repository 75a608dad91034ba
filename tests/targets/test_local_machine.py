"""Detection against what the system itself says."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import targets
from targets import LocalMachine
from targets.local_machine import Processor, cpu_flags, needed_flags, unsupported_features

CPUINFO = Path("/proc/cpuinfo").read_text()


def test_the_model_is_proc_cpuinfos() -> None:
    name = re.search(r"^model name\s*:\s*(.+)$", CPUINFO, re.MULTILINE)
    found = LocalMachine.detect().cpu_model
    assert found == name[1] if name else found


def test_cores_are_those_this_process_may_use() -> None:
    machine = LocalMachine.detect()
    assert 1 <= machine.physical_cores <= machine.logical_cores <= len(os.sched_getaffinity(0))


def test_a_narrower_affinity_is_respected() -> None:
    cpu = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{cpu}}}); from targets import LocalMachine; "
        "m = LocalMachine.detect(); print(m.physical_cores, m.logical_cores)"
    )
    root = Path(targets.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1"]


def test_two_hardware_threads_of_a_core_are_one_physical(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for cpu in (0, 1, 2, 3):
        topology = tmp_path / f"cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text("0\n")
        (topology / "core_id").write_text(f"{cpu // 2}\n")
    monkeypatch.setattr("targets.local_machine._CPUS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    machine = LocalMachine.detect()
    assert (machine.physical_cores, machine.logical_cores) in [(2, 4), (1, 1), (2, 2), (2, 3)]
    assert machine.physical_cores == min(2, machine.logical_cores)


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, float("inf")),
        ({"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, float("inf")),
        ({}, float("inf")),
    ],
)
def test_quotas_of_both_cgroup_versions(tmp_path: Path, files: dict[str, str], cpus: float) -> None:
    from targets.local_machine import _quota

    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert _quota(tmp_path) == cpus


def test_vector_extensions_are_among_the_flags() -> None:
    extensions = set(LocalMachine.detect().vector_extensions)
    words = set(re.findall(r"\w+", CPUINFO))
    assert extensions <= words
    assert {"avx2", "fma", "avx512f", "asimd", "sve"} & words <= extensions


@pytest.mark.parametrize(
    ("flags", "vectors"), [(("avx", "avx2"), "AVX2"), (("avx2", "avx512f"), "AVX-512"), (("asimd",), "")]
)
def test_the_widest_vectors_are_named(flags: tuple[str, ...], vectors: str) -> None:
    machine = replace(LocalMachine.detect(), vector_extensions=flags)
    assert machine.vectors == vectors


def test_processors_are_alike_as_far_as_is_known() -> None:
    zen4, zen1 = Processor("AMD EPYC", 2, "AVX-512"), Processor("AMD EPYC", 2, "AVX2")
    assert (str(zen4), str(Processor("AMD EPYC", 1))) == ("AMD EPYC (2 cores, AVX-512)", "AMD EPYC (1 core)")
    assert not zen4.is_like(zen1)
    assert not zen4.is_like(replace(zen4, cores=4))
    assert not zen4.is_like(replace(zen4, name="AMD EPYC 9654"))
    assert zen4.is_like(replace(zen1, vectors=""))


def test_memory_is_what_psutil_says() -> None:
    assert LocalMachine.detect().memory_bytes == psutil.virtual_memory().total


def test_features_of_a_cpu_name_that_a_virtual_machine_hides() -> None:
    llvm = {"sse4.1", "avx", "avx2", "fma", "avx512f", "avx512vnni", "amx-tile", "macrofusion", "vaes"}
    hidden = {"sse2", "sse4_1", "avx", "avx2", "fma"}
    assert unsupported_features(llvm, hidden) == ["amx-tile", "avx512f", "avx512vnni"]
    assert unsupported_features(llvm, hidden | {"avx512f", "avx512_vnni", "amx_tile"}) == []
    assert needed_flags(llvm) == ["amx_tile", "avx", "avx2", "avx512f", "avx512vnni", "fma"]


PI_4 = "fp asimd evtstrm crc32 cpuid"  # as its /proc/cpuinfo has it
XAVIER = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm dcpop"


@pytest.mark.parametrize(
    ("mcpu", "flags", "absent"),
    [
        ("cortex-a72", PI_4, []),  # LLVM says that it has aes and sha2
        ("cortex-a76", PI_4, ["dotprod", "fullfp16", "lse", "rcpc", "rdm"]),
        ("carmel", XAVIER, []),
        ("cortex-a78", XAVIER, ["dotprod", "rcpc"]),
        ("cortex-a76", "sse2 avx2", []),  # an emulator's host
        ("cortex-a76", "", []),
    ],
)
def test_features_of_arm_processors(mcpu: str, flags: str, absent: list[str]) -> None:
    from targets.tvm_import import tvm

    target = tvm.target.Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": mcpu})
    features = list(map(str, tvm.target.codegen.llvm_get_cpu_features(target)))
    assert unsupported_features(features, flags.split()) == absent
    assert (set(needed_flags(features)) <= set(flags.split())) == (not absent and "asimd" in flags)


def test_llvms_name_for_this_machine_is_believed_where_the_flags_agree() -> None:
    from targets.tvm_import import tvm

    codegen = tvm.target.codegen
    name = codegen.llvm_get_system_cpu()
    features = set(map(str, codegen.llvm_get_cpu_features(tvm.target.Target({"kind": "llvm", "mcpu": name}))))
    missing = unsupported_features(features, cpu_flags())
    assert ("avx2" in missing) == ("avx2" in features and "avx2" not in cpu_flags())
