"""What a real profile writes to stderr: its own lines, and none of TVM, MetaSchedule or XGBoost."""

import json
from pathlib import Path

import pytest

from .helpers import SIZE, command, finish, quick_target
from .measuring import complaints

# The command, for a space of few kernels of different kinds, one of which has hardly any schedules to try.
SOME = """
import sys
from search.costs import kernel_table
import squeezenas_tvm.profiling.measure
from squeezenas_tvm.__main__ import main
from squeezenas_tvm.cli import leave
all_of = kernel_table.space_kernels
def some(*given):
    found = list(all_of(*given))
    return [next(kernel for kernel in found if kernel.kind == kind) for kind in ("memory", "depthwise")]
kernel_table.space_kernels = some
squeezenas_tvm.profiling.measure.try_predictor = lambda *given: {}
leave(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "effort",
    [
        pytest.param(["--trials", "20"], id="alone"),
        pytest.param(["--effort", "quick"], id="lent", marks=pytest.mark.slow),
    ],
)
def test_a_profile_says_nothing_but_its_own_lines(effort: list[str], tmp_path: Path) -> None:
    """Searches with and without a cost model, lending, careful timings: all that is done for a kernel."""
    given = ["--target", str(quick_target(tmp_path)), "--space", "small", "--resolution", str(SIZE), "--json"]
    program = ["-c", SOME]
    process = command("profile", *given, *effort, "--out", "out", cwd=tmp_path, program=program)
    code, printed, said = finish(process)
    document = json.loads(printed)
    assert code == 1  # no other kernel of the space is there
    assert document["kernels"]["count"] == 2
    assert document["tuning"]["trials"] > 0
    assert complaints(said) == []
