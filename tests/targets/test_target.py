"""Target files: what is accepted, and what is said of every fault."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

import targets
from targets import InvalidTarget, Target, TargetError, UnknownTarget, list_targets, load_target
from targets.spec import Measure, Peaks, PowerModes, Rpc, TargetSpec, Toolchain

SHIPPED = Path(targets.__file__).parent


def write(folder: Path, change: dict[str, Any], remove: str = "", base: str = "jetson-xavier") -> Path:
    """A copy of a shipped target; a key in ``change`` may name a section's key as ``section.key``."""
    raw = yaml.safe_load((SHIPPED / f"{base}.yaml").read_text())
    raw.pop(remove, None)
    for key, value in change.items():
        *section, name = key.split(".")
        (raw[section[0]] if section else raw)[name] = value
    path = folder / "my-board.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_every_shipped_target_loads_under_its_own_name() -> None:
    assert list_targets() == ("jetson-xavier", "local-cpu")
    assert [load_target(name).name for name in list_targets()] == list(list_targets())


def test_xavier_is_what_the_data_sheet_says() -> None:
    xavier = load_target("jetson-xavier")
    assert xavier.kind == "board"
    assert xavier.peaks is not None
    assert xavier.peaks.gmacs_per_s == {"float32": 460.0}
    assert xavier.peaks.memory_bandwidth_gb_per_s == 137.0
    assert xavier.toolchain == Toolchain(triple="aarch64-linux-gnu", glibc="2.31", cuda="11.4")
    tvm_target = xavier.tvm_target()
    assert (tvm_target.kind.name, tvm_target.attrs["arch"]) == ("cuda", "sm_72")
    assert (tvm_target.host.attrs["mcpu"], tvm_target.host.attrs["num-cores"]) == ("carmel", 8)


def test_a_file_of_ones_own_is_loaded_by_path(tmp_path: Path) -> None:
    path = write(tmp_path, {"name": "my-board", "measure.repeat": 7})
    assert load_target(path).measure.repeat == 7
    assert load_target(str(path)).name == "my-board"


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "measure.repeats": 20,
            "measure.repeat": 2,
            "measure.number": "10",
            "measure.interval_width": 0,
            "measure.drift": 0.6,
            "measure.budget_s": "2",
            "colour": "green",
            "kind": "bord",
            "dtypes": ["float32", "float61"],
            "rpc.key": "two words",
            "tvm": {"mcpu": "carmel"},
            "toolchain.cuda": 11.4,
            "power_modes.default": "MODE_30W_AL",
            "peaks.gmacs_per_s": {"float23": 1.0},
            "peaks.memory_bandwidth_gb_per_s": -1,
            "schema_version": 2,
        },
        remove="summary",
    )
    with pytest.raises(InvalidTarget) as caught:
        load_target(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(caught.value.faults) == 17
    assert set(caught.value.faults) == {
        "measure.repeats: unknown key, did you mean repeat?; "
        "allowed: number, repeat, min_repeat_ms, cooldown_ms, interval_width, drift, budget_s, timeout_s",
        "measure.interval_width: found 0 (int); allowed: greater than 0",
        "measure.drift: found 0.6 (float); allowed: less than or equal to 0.5",
        "measure.budget_s: found '2' (str); allowed: a valid number",
        "measure.repeat: found 2 (int); allowed: greater than or equal to 3",
        "measure.number: found '10' (str); allowed: a valid integer",
        f"colour: unknown key; allowed: {', '.join(TargetSpec.model_fields)}",
        "kind: found 'bord' (str), did you mean board?; allowed: 'local' or 'board'",
        "dtypes[1]: found 'float61' (str), did you mean float16?; allowed: 'float32', 'float16' or 'int8'",
        "rpc.key: found 'two words' (str); allowed: text that matches ^[A-Za-z0-9._-]+$",
        "tvm: found the keys ['mcpu']; allowed: tag alone, or kind and other attributes",
        "toolchain.cuda: found 11.4 (float); allowed: a valid string",
        "power_modes.default: found 'MODE_30W_AL', did you mean MODE_30W_ALL?; allowed: "
        "MAXN, MODE_10W, MODE_15W, MODE_30W_ALL, MODE_30W_6CORE, MODE_30W_4CORE, MODE_30W_2CORE, "
        "MODE_15W_DESKTOP",
        "peaks.gmacs_per_s.float23: found 'float23' (str), did you mean float32?; "
        "allowed: 'float32', 'float16' or 'int8'",
        "peaks.memory_bandwidth_gb_per_s: found -1 (int); allowed: greater than 0",
        "schema_version: found 2 (int); allowed: 1",
        "summary: missing",
    }


@pytest.mark.parametrize("section", ["rpc", "measure", "peaks", "power_modes", "toolchain"])
def test_a_misspelt_key_of_any_section_is_told_the_sections_own_keys(tmp_path: Path, section: str) -> None:
    models: dict[str, type[BaseModel]] = {
        "rpc": Rpc,
        "measure": Measure,
        "peaks": Peaks,
        "power_modes": PowerModes,
        "toolchain": Toolchain,
    }
    allowed = ", ".join(models[section].model_fields)
    with pytest.raises(InvalidTarget, match=f"{section}.zzz: unknown key; allowed: {allowed}$"):
        load_target(write(tmp_path, {f"{section}.zzz": 1}))


def test_a_kernel_may_take_longer_than_its_budget(tmp_path: Path) -> None:
    fault = "measure.timeout_s: found 10; allowed: more than budget_s, which is 10$"
    with pytest.raises(InvalidTarget, match=fault):
        load_target(write(tmp_path, {"measure.timeout_s": 10, "measure.budget_s": 10}))


def test_a_file_without_the_wanted_precision_gets_the_usual_one(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"measure": {"number": 1, "repeat": 3, "min_repeat_ms": 1, "cooldown_ms": 0, "timeout_s": 9}},
    )
    measure = load_target(path).measure
    assert (measure.interval_width, measure.drift, measure.budget_s) == (0.05, 0.1, 1.5)


def test_a_board_names_its_device_and_a_local_machine_does_not(tmp_path: Path) -> None:
    with pytest.raises(InvalidTarget, match="model: missing; a target of kind board must name its device"):
        load_target(write(tmp_path, {}, remove="model"))
    with pytest.raises(InvalidTarget, match="model: found 'Mine'; allowed for kind board only"):
        load_target(write(tmp_path, {"model": "Mine"}, base="local-cpu"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- a\n- b\n", "found list, allowed: a mapping of keys to values"),
        ("", "found NoneType, allowed: a mapping of keys to values"),
        ("name: [unclosed\n", "line 2: not readable as YAML"),
        ("name: a\nkind: local\nname: b\n", "line 3: not readable as YAML: key 'name' is given twice"),
        (
            "name: !!python/object:os.system x\n",
            "line 1: not readable as YAML: could not determine a constructor",
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
    with pytest.raises(InvalidTarget, match="allowed: UTF-8"):
        load_target(tmp_path / "binary.yaml")


@pytest.mark.parametrize("name", ["jetson-xaver", "Jetson-Xavier", "jetson-xavier.yml"])
def test_an_unknown_name_gets_the_near_miss_and_the_list(name: str) -> None:
    with pytest.raises(UnknownTarget) as caught:
        load_target(name)
    assert str(caught.value) == (
        f"unknown target {name!r}, did you mean jetson-xavier?; allowed: jetson-xavier, local-cpu, "
        "or the path of a .yaml file of your own"
    )


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
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SHIPPED.parent)
