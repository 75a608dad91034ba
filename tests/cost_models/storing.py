"""What the tests of the measurement store share: one environment, one kernel, trials."""

import subprocess
import sys
from pathlib import Path

from cost_models.database.records import Trial
from targets.fingerprint import Fingerprint

ROOT = Path(__file__).parents[2]
FINGERPRINT = Fingerprint(
    device="NVIDIA Jetson AGX Xavier",
    cores=8,
    power_mode="MODE_30W_ALL",
    tvm_target='{"kind":"cuda"}',
    tvm_version="0.27.0",
    llvm_version="19",
    dtype="float32",
    measure={"number": 10, "repeat": 20},
)
BOARD = FINGERPRINT.as_dict()
KERNEL = "conv1x1-16-32"
# Waits for a line, then opens all files named.
OPENER = """
import sys
from cost_models.database.store import MeasurementStore
print('ready', flush=True)
input()
for path in sys.argv[1:]:
    with MeasurementStore.open(path) as store:
        store.check()
"""


def trial(sample_s: float = 1e-3, schedule: str = "[]") -> Trial:
    return Trial(schedule=schedule, samples_s=(sample_s,), build_s=0.5, run_s=0.25)


def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    """A Python process that can import this repository. Unbuffered: ``communicate`` does not see what
    ``readline`` has read ahead."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )


def finish(processes: list[subprocess.Popen[bytes]]) -> None:
    """Let all of them go on at once from their ``input()``, and wait until they have ended well."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
    for process in processes:
        _, complaints = process.communicate(timeout=120)
        assert process.returncode == 0, complaints.decode()
