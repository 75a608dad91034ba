"""The schema of target files: what is said of every fault."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from targets import InvalidTarget, load_target
from targets.spec import Measure, Peaks, PowerModes, Readings, Rpc, TargetSpec, Toolchain, Variant

from .conftest import write

MODES = (
    "MAXN, MODE_10W, MODE_15W, MODE_30W_ALL, MODE_30W_6CORE, MODE_30W_4CORE, MODE_30W_2CORE, MODE_15W_DESKTOP"
)


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
            "rpc.slower_by": 1.0,
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
    assert len(caught.value.faults) == 18
    assert set(caught.value.faults) == {
        "measure.repeats: unknown key, did you mean repeat?; "
        "allowed: number, repeat, min_repeat_ms, cooldown_ms, interval_width, drift, budget_s, timeout_s",
        "measure.interval_width: found 0; allowed: greater than 0",
        "measure.drift: found 0.6; allowed: less than or equal to 0.5",
        "measure.budget_s: found '2'; allowed: a valid number",
        "measure.repeat: found 2; allowed: greater than or equal to 3",
        "measure.number: found '10'; allowed: a valid integer",
        f"colour: unknown key; allowed: {', '.join(TargetSpec.model_fields)}",
        "kind: found 'bord', did you mean board?; allowed: 'local' or 'board'",
        "dtypes[1]: found 'float61', did you mean float16?; allowed: 'float32', 'float16' or 'int8'",
        "rpc.key: found 'two words'; allowed: text that matches ^[A-Za-z0-9._-]+$",
        "rpc.slower_by: found 1.0; allowed: greater than 1",
        "tvm: found the keys ['mcpu']; allowed: tag alone, or kind and other attributes",
        "toolchain.cuda: found 11.4; allowed: a valid string",
        f"power_modes.default: found 'MODE_30W_AL', did you mean MODE_30W_ALL?; allowed: {MODES}",
        "peaks.gmacs_per_s.float23: found 'float23', did you mean float32?; "
        "allowed: 'float32', 'float16' or 'int8'",
        "peaks.memory_bandwidth_gb_per_s: found -1; allowed: greater than 0",
        "schema_version: found 2; allowed: 1",
        "summary: missing",
    }


@pytest.mark.parametrize("section", ["rpc", "measure", "peaks", "power_modes", "toolchain", "readings"])
def test_a_misspelt_key_of_any_section_is_told_the_sections_own_keys(tmp_path: Path, section: str) -> None:
    models: dict[str, type[BaseModel]] = {
        "rpc": Rpc,
        "measure": Measure,
        "peaks": Peaks,
        "power_modes": PowerModes,
        "toolchain": Toolchain,
        "readings": Readings,
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


def test_all_faults_of_readings_and_variants_are_told_at_once(tmp_path: Path) -> None:
    query = {"command": "nvpmodel -q", "pattern": "Mode: (.*", "every_s": 1}
    clocks = {
        "gpu": {"path": "sys/gpu", "per_mhz": 0},
        "cpu": {"path": "/sys/cpu", "per_mhz": 1, "unit": "kHz"},
    }
    variants: dict[str, Any] = {
        "Max_N": {"summary": "a name that no target has"},
        "maxn": {"summary": "another mode", "power_mod": "MAXN", "toolchain": {"glib": "2.31"}},
        "fast": {"summary": "", "peaks": {"memory_bandwidth_gb_per_s": 0, "source": "nobody"}},
    }
    path = write(tmp_path, {"readings": {"power_mode": query, "clocks": clocks}, "variants": variants})
    with pytest.raises(InvalidTarget) as caught:
        load_target(path)
    assert set(caught.value.faults) == {
        "readings.power_mode.command: found 'nvpmodel -q'; allowed: a valid tuple",
        "readings.power_mode.pattern: found 'Mode: (.*', which is no regular expression: "
        "missing ), unterminated subpattern at position 6",
        "readings.power_mode.every_s: unknown key; allowed: command, pattern",
        "readings.clocks.gpu.path: found 'sys/gpu'; allowed: text that matches ^/",
        "readings.clocks.gpu.per_mhz: found 0; allowed: greater than 0",
        "readings.clocks.cpu.unit: unknown key; allowed: path, per_mhz",
        "variants.Max_N: found 'Max_N'; allowed: text that matches ^[a-z0-9]+$",
        "variants.maxn.power_mod: unknown key, did you mean power_mode?; "
        f"allowed: {', '.join(Variant.model_fields)}",
        "variants.maxn.toolchain.glib: unknown key, did you mean glibc?; allowed: triple, glibc, cuda",
        "variants.fast.summary: found ''; allowed: String should have at least 1 character",
        "variants.fast.peaks.memory_bandwidth_gb_per_s: found 0; allowed: greater than 0",
        "variants.fast.peaks.gmacs_per_s: missing",
    }


def test_multiprocessors_belong_to_an_architecture_and_there_is_one_at_least(tmp_path: Path) -> None:
    with pytest.raises(InvalidTarget) as caught:
        load_target(write(tmp_path, {"multiprocessors": {"volta": 8, "sm_72": 0, "sm_87": "16"}}))
    assert set(caught.value.faults) == {
        "multiprocessors.volta: found 'volta'; allowed: text that matches ^sm_[0-9]+$",
        "multiprocessors.sm_72: found 0; allowed: greater than or equal to 1",
        "multiprocessors.sm_87: found '16'; allowed: a valid integer",
    }
    assert load_target(write(tmp_path, {"multiprocessors": {"sm_90": 132}})).multiprocessors == {"sm_90": 132}


def test_every_variant_in_a_mode_that_the_device_has_not_is_told(tmp_path: Path) -> None:
    variants = {
        "fast": {"summary": "one", "power_mode": "MAXX"},
        "slow": {"summary": "two", "power_mode": "MODE_5"},
        "same": {"summary": "three", "power_mode": "MAXN"},
    }
    with pytest.raises(InvalidTarget) as caught:
        load_target(write(tmp_path, {"variants": variants}))
    assert caught.value.faults == (
        f"variants.fast.power_mode: found 'MAXX', did you mean MAXN?; allowed: {MODES}",
        f"variants.slow.power_mode: found 'MODE_5', did you mean MODE_15W?; allowed: {MODES}",
    )
    with pytest.raises(InvalidTarget) as caught:
        load_target(write(tmp_path, {"variants": variants}, remove="power_modes"))
    assert set(caught.value.faults) == {
        f"variants.{name}.power_mode: found {variants[name]['power_mode']!r}; allowed with power_modes only"
        for name in variants
    }


def test_the_pattern_of_a_power_mode_has_one_group(tmp_path: Path) -> None:
    query = {"command": ["nvpmodel", "-q"], "pattern": "NV Power Mode"}
    fault = "found 'NV Power Mode' with 0 groups; allowed: exactly one, the mode's name"
    with pytest.raises(InvalidTarget, match=f"readings.power_mode.pattern: {fault}"):
        load_target(write(tmp_path, {"readings.power_mode": query}))


@pytest.mark.parametrize(("key", "found"), [("glibc", "2"), ("cuda", "11.4.1"), ("cuda", "eleven")])
def test_versions_of_a_toolchain_are_two_numbers(tmp_path: Path, key: str, found: str) -> None:
    with pytest.raises(InvalidTarget) as caught:
        load_target(write(tmp_path, {f"toolchain.{key}": found}))
    assert caught.value.faults == (
        f"toolchain.{key}: found {found!r}; allowed: text that matches ^[0-9]+\\.[0-9]+$",
    )
