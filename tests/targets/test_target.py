"""Targets by name and by file: what they are, what is no target, what is detected."""

import subprocess
import sys
from pathlib import Path

import pytest

import targets
from targets import (
    DeviceUnavailable,
    InvalidTarget,
    Target,
    TargetError,
    UnknownTarget,
    list_targets,
    load_target,
)
from targets.cuda_stand_in import has_driver
from targets.spec import Peaks, Toolchain
from targets.target import multiprocessors

from .conftest import ROOT, write

NAMES = (
    "emulated-aarch64",
    "emulated-cuda",
    "emulated-cuda-sm86",
    "emulated-cuda-sm87",
    "emulated-cuda-sm90",
    "jetson-orin",
    "jetson-orin-jetpack5",
    "jetson-orin-maxn",
    "jetson-xavier",
    "jetson-xavier-maxn",
    "local-cpu",
    "local-cuda",
    "raspberry-pi-4",
)
DEVICES = (
    *("emulated-aarch64", "emulated-cuda", "jetson-orin", "jetson-xavier", "local-cpu", "local-cuda"),
    "raspberry-pi-4",
)


def test_every_shipped_target_loads_under_its_own_name() -> None:
    assert list_targets() == NAMES
    assert [load_target(name).name for name in list_targets()] == list(list_targets())


def test_xavier_is_what_the_data_sheet_says() -> None:
    xavier = load_target("jetson-xavier")
    assert xavier.kind == "board"
    assert xavier.peaks is not None
    assert xavier.peaks.gmacs_per_s == {"float32": 460.8, "float16": 921.6}
    assert xavier.peaks.memory_bandwidth_gb_per_s == 102.4
    assert xavier.toolchain == Toolchain(triple="aarch64-linux-gnu", glibc="2.31", cuda="11.4")
    tvm_target = xavier.tvm_target()
    assert xavier.uses_cuda
    assert (tvm_target.kind.name, tvm_target.attrs["arch"]) == ("cuda", "sm_72")
    assert (tvm_target.host.attrs["mcpu"], tvm_target.host.attrs["num-cores"]) == ("carmel", 8)


@pytest.mark.parametrize(
    ("name", "kind", "arch", "cpu"),
    [
        ("jetson-orin", "cuda", "sm_87", "cortex-a78"),
        ("raspberry-pi-4", "llvm", None, "cortex-a72"),
        ("emulated-aarch64", "llvm", None, "cortex-a72"),
    ],
)
def test_tvm_knows_every_board(name: str, kind: str, arch: str | None, cpu: str) -> None:
    target = load_target(name)
    tvm_target = target.tvm_target()
    host = tvm_target.host or tvm_target
    assert (tvm_target.kind.name, tvm_target.attrs.get("arch")) == (kind, arch)
    assert (host.attrs["mcpu"], host.attrs["mtriple"]) == (cpu, "aarch64-linux-gnu")
    assert target.uses_cuda == (kind == "cuda")


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("jetson")])
def test_peak_rates_follow_from_clocks_and_cores(name: str) -> None:
    """One multiply-add a core and cycle, two in float16; 256 bits of memory, two words a cycle."""
    cores, clock_ghz, memory_ghz = {
        "jetson-xavier": (512, 0.9, 1.6),
        "jetson-xavier-maxn": (512, 1.377, 2.133),
        "jetson-orin": (1024, 0.612, 3.2),
        "jetson-orin-jetpack5": (1024, 0.612, 3.2),
        "jetson-orin-maxn": (2048, 1.3, 3.2),
    }[name]
    peaks = load_target(name).peaks
    assert isinstance(peaks, Peaks)
    assert peaks.memory_bandwidth_gb_per_s == pytest.approx(memory_ghz * 2 * 32, rel=1e-3)
    gmacs = cores * clock_ghz
    assert peaks.gmacs_per_s == pytest.approx({"float32": gmacs, "float16": 2 * gmacs}, rel=1e-3)
    assert f"{cores} CUDA cores" in peaks.source


def test_multiprocessors_of_jetsons_are_known_by_architecture() -> None:
    assert multiprocessors() == {"sm_53": 1, "sm_62": 2, "sm_72": 8, "sm_87": 16}
    for name in ("jetson-xavier", "jetson-orin"):
        target = load_target(name)
        assert list(target.multiprocessors or {}) == [target.tvm_target().attrs["arch"]]


def test_a_variant_is_the_device_in_another_state() -> None:
    xavier, maxn = load_target("jetson-xavier"), load_target("jetson-xavier-maxn")
    assert isinstance(maxn, Target)
    assert xavier.power_modes is not None
    assert maxn.power_modes is not None
    assert (xavier.power_modes.default, maxn.power_modes.default) == ("MODE_30W_ALL", "MAXN")
    changed = {"name", "summary", "power_modes", "peaks", "variants"}
    before, after = xavier.model_dump(), maxn.model_dump()
    assert {key for key in before if before[key] != after[key]} == changed
    assert maxn.variants == {}
    jetpack5 = load_target("jetson-orin-jetpack5")
    assert jetpack5.toolchain == Toolchain(triple="aarch64-linux-gnu", glibc="2.31", cuda="11.4")
    assert jetpack5.power_modes == load_target("jetson-orin").power_modes


def test_a_file_of_ones_own_is_loaded_by_path(tmp_path: Path) -> None:
    path = write(tmp_path, {"name": "my-board", "measure.repeat": 7})
    assert load_target(path).measure.repeat == 7
    assert load_target(str(path)).name == "my-board"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- a\n- b\n", "found list; allowed: a mapping with the keys schema_version, name"),
        ("", "found NoneType; allowed: a mapping with the keys schema_version, name"),
        ("name: [unclosed\n", "not YAML: line 2"),
        ("name: a\nkind: local\nname: b\n", "not YAML: line 3: key 'name' is given twice"),
        (
            "name: !!python/object:os.system x\n",
            "not YAML: line 1: could not determine a constructor",
        ),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InvalidTarget, match=fault) as caught:
        load_target(path)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(InvalidTarget, match="no text in UTF-8"):
        load_target(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("jetson-xaver", "jetson-xavier"),
        ("Jetson-Xavier", "jetson-xavier"),
        ("jetson-xavier.yml", "jetson-xavier"),
        ("jetson-xavier-maxm", "jetson-xavier-maxn"),
        ("jetson-orin-jetpack6", "jetson-orin-jetpack5"),
    ],
)
def test_an_unknown_name_gets_the_near_miss_and_the_list(name: str, meant: str) -> None:
    with pytest.raises(UnknownTarget) as caught:
        load_target(name)
    assert str(caught.value) == (
        f"unknown target {name!r}, did you mean {meant}?; allowed: {', '.join(DEVICES)}, a variant of one "
        "(squeezenas-tvm targets), or the path of a .yaml file of your own"
    )


@pytest.mark.skipif(has_driver(), reason="this machine has an NVIDIA driver")
def test_a_local_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceUnavailable) as caught:
        load_target("local-cuda").tvm_target()
    assert str(caught.value) == (
        "target local-cuda: no NVIDIA GPU on this machine: NVIDIA's driver (libcuda.so.1) is not installed; "
        "see: squeezenas-tvm targets check local-cuda"
    )
    assert caught.value.exit_code == 1


def test_what_tvm_refuses_names_the_target_and_the_near_miss(tmp_path: Path) -> None:
    typo = load_target(write(tmp_path, {"tvm": {"tag": "nvidia/jetson-agx-xaver"}}))
    with pytest.raises(InvalidTarget, match=r"target jetson-xavier: .*did you mean nvidia/jetson-agx-xavier"):
        typo.tvm_target()
    typo = load_target(write(tmp_path, {"tvm": {"kind": "llvm", "mcpux": "carmel"}}))
    with pytest.raises(InvalidTarget, match="Unknown config option 'mcpux'"):
        typo.tvm_target()


def test_local_cpu_is_detected_and_the_file_has_the_last_word(tmp_path: Path, local_cpu: Target) -> None:
    from targets.tvm_import import tvm

    codegen = tvm.target.codegen
    machine = targets.LocalMachine.detect()
    detected = local_cpu.tvm_target()
    assert detected.kind.name == "llvm"
    assert detected.attrs["mcpu"] == codegen.llvm_get_system_cpu()
    assert detected.attrs["num-cores"] == machine.physical_cores
    given = write(tmp_path, {"tvm": {"kind": "llvm", "num-cores": 64}}, base="local-cpu")
    assert load_target(given).tvm_target().attrs["num-cores"] == 64


def test_features_this_machine_lacks_are_switched_off(tmp_path: Path) -> None:
    """Code for a CPU with FP16 or AMX units may not reach one without; cores that have all keep all."""
    from targets.local_machine import cpu_flags, unsupported_features
    from targets.tvm_import import tvm

    path = write(tmp_path, {"tvm": {"kind": "llvm", "mcpu": "diamondrapids"}}, base="local-cpu")
    enabled = tvm.target.codegen.llvm_get_cpu_features(load_target(path).tvm_target())
    assert unsupported_features(map(str, enabled), cpu_flags()) == []


def test_a_target_cannot_be_changed(local_cpu: Target) -> None:
    with pytest.raises(ValueError, match="frozen"):
        local_cpu.name = "other"


def test_a_dtype_that_the_target_does_not_list_is_refused(local_cpu: Target) -> None:
    with pytest.raises(TargetError, match=r"^target local-cpu: dtype is 'float16', allowed: float32$"):
        local_cpu.fingerprint("float16")


def test_the_data_alone_needs_no_tvm() -> None:
    code = "import sys, targets; targets.load_target('jetson-xavier'); sys.exit('tvm' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_emulated_gpu_is_described_without_one() -> None:
    target = load_target("emulated-cuda-sm87")
    assert target.emulated_gpu == "sm_87"
    assert str(target.tvm_target().attrs["arch"]) == "sm_87"
    assert target.fingerprint().device == "Jetson AGX Orin (emulated)"
    assert load_target("emulated-aarch64").emulated
    assert load_target("emulated-aarch64").emulated_gpu is None
    assert [load_target(name).caution for name in ("local-cuda", "jetson-xavier")] == ["", ""]


def test_an_emulated_gpu_that_nobody_knows(tmp_path: Path) -> None:
    text = (ROOT / "targets" / "emulated-cuda.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("arch: sm_72", "arch: sm_70"), encoding="utf-8")
    with pytest.raises(InvalidTarget, match="no emulated GPU is sm_70; allowed: sm_72, sm_86, sm_87"):
        load_target(tmp_path / "mine.yaml").tvm_target()


def test_timings_of_emulated_devices_are_refused() -> None:
    load_target("local-cuda").require_timings("search")
    with pytest.raises(TargetError, match="timings mean nothing; allowed for search: the target of"):
        load_target("emulated-cuda").require_timings("search")
