"""What changes the identity of a measurement, and what does not."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import targets
from targets import Fingerprint, Target, load_target

ROOT = Path(targets.__file__).parents[1]

CHANGED: dict[str, Any] = {
    "device": "Another CPU",
    "cores": 999,
    "power_mode": "MAXN",
    "tvm_target": "{}",
    "tvm_version": "0.28.0",
    "llvm_version": "99",
    "dtype": "float16",
    "measure": {"number": 1, "repeat": 3, "min_repeat_ms": 0, "cooldown_ms": 0},
    "cuda_version": "11.4",
}


@pytest.fixture(scope="module")
def fingerprint(local_cpu: Target) -> Fingerprint:
    return local_cpu.fingerprint()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Fingerprint)])
def test_each_field_changes_the_digest(fingerprint: Fingerprint, field: str) -> None:
    other = dataclasses.replace(fingerprint, **{field: CHANGED[field]})
    assert other.digest != fingerprint.digest


def test_it_is_the_same_in_another_process(fingerprint: Fingerprint) -> None:
    code = "import targets; print(targets.load_target('local-cpu').fingerprint().digest)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, env={"PYTHONHASHSEED": "7"}, capture_output=True
    )
    assert done.stdout.decode().strip() == fingerprint.digest
    assert len(fingerprint.digest) == 12


@pytest.mark.parametrize(
    ("key", "value", "changes"),
    [
        ("summary", "other words", False),
        ("name", "another-name", False),
        ("measure.timeout_s", 99.0, False),
        ("measure.repeat", 11, True),
        ("measure.min_repeat_ms", 11, True),
        ("tvm.num-cores", 1234, True),
    ],
)
def test_prose_is_left_out_and_the_protocol_is_not(
    tmp_path: Path, fingerprint: Fingerprint, key: str, value: Any, changes: bool
) -> None:
    raw = yaml.safe_load((ROOT / "targets/local-cpu.yaml").read_text())
    *section, name = key.split(".")
    (raw[section[0]] if section else raw)[name] = value
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(raw))
    assert (load_target(path).fingerprint().digest != fingerprint.digest) == changes


def test_a_board_is_described_by_its_file() -> None:
    xavier = load_target("jetson-xavier")
    single, half = xavier.fingerprint("float32"), xavier.fingerprint("float16")
    assert (single.device, single.cores, single.power_mode) == ("NVIDIA Jetson AGX Xavier", 8, "MODE_30W_ALL")
    assert single.digest != half.digest


def test_what_the_board_is_set_to_is_part_of_it(fingerprint: Fingerprint) -> None:
    orin, maxn, jetpack5 = (
        load_target(name).fingerprint()
        for name in ("jetson-orin", "jetson-orin-maxn", "jetson-orin-jetpack5")
    )
    assert (orin.power_mode, maxn.power_mode, jetpack5.power_mode) == ("MODE_30W", "MAXN", "MODE_30W")
    assert (orin.cuda_version, jetpack5.cuda_version) == ("12.2", "11.4")
    assert len({orin.digest, maxn.digest, jetpack5.digest}) == 3
    assert "cuda_version" not in fingerprint.as_dict()
