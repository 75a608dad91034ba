"""What deploy makes of the check of a GPU's kernels: a part of the manifest, a warning or a refusal."""

from typing import Any

import pytest

from cost_models.runner.compiled_check import KernelVerdict
from squeezenas_tvm.bundles.check_gpu_kernels import KernelCheck, check_gpu_kernels
from squeezenas_tvm.errors import FailedWork
from targets import load_target

from ...cost_models.runner.test_compiled_check import compiled, lowered

GPU, CPU = load_target("emulated-cuda"), load_target("local-cpu")


def check(target: Any = GPU, *, wanted: bool = True) -> KernelCheck | None:
    low = lowered()
    return check_gpu_kernels(compiled(low), low, target, wanted=wanted, shown=False)


def test_right_kernels_are_counted() -> None:
    found = check()
    assert found is not None
    assert found.document() == {"kernels": 3, "emulated_gpu": "sm_72", "why_not": None}
    assert {name: len(loads) for name, loads in found.loads.items()} == {
        "argmax": 2,
        "fused_conv2d1_add_relu": 4,
        "fused_conv2d_add_relu": 4,
    }


def test_what_is_not_checked_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert check(CPU) is None
    skipped = check(wanted=False)
    assert skipped is not None
    assert skipped.document() == {"kernels": 0, "emulated_gpu": None, "why_not": "--no-check"}
    assert caplog.messages == []
    monkeypatch.setenv("CXX", "none-such-compiler")
    without = check()
    assert without is not None
    assert without.why_not is not None
    assert without.why_not.startswith("no C++ compiler on this machine")
    assert caplog.messages == [f"the kernels are not checked before they leave: {without.why_not}"]


def test_wrong_kernels_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    low = lowered()
    made = compiled(low)
    wrong = [
        KernelVerdict(f"k{index}", False, (f"kernel k{index}: reads past the end",)) for index in range(5)
    ]
    monkeypatch.setattr("squeezenas_tvm.bundles.check_gpu_kernels.check_compiled", lambda *_: iter(wrong))
    with pytest.raises(FailedWork) as caught:
        check_gpu_kernels(made, low, GPU, wanted=True, shown=False)
    said = str(caught.value)
    assert said.startswith(
        "5 of 3 kernels are wrong on the emulated GPU: kernel k0: reads past the end; kernel k1"
    )
    assert "k2" in said
    assert "k3" not in said
    assert said.endswith(
        " and 2 more; no bundle was made; tune them (--trials 64), or ship them as they are: --no-check"
    )
    wrong[0] = KernelVerdict("k0", True, ("kernel k0: wrong",))
    with pytest.raises(FailedWork, match="deploy without those records"):
        check_gpu_kernels(made, low, GPU, wanted=True, shown=False)
