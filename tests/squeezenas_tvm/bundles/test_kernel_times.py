"""Where the time of a run goes: the clock, the list of kernels of a bundle, the peaks of the machine."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from squeezenas_tvm.bundles import kernel_times as module
from squeezenas_tvm.bundles.kernel_times import (
    LISTED,
    KernelTime,
    KernelTimes,
    Peaks,
    Stopwatch,
    kernel_times,
    told,
)
from squeezenas_tvm.bundles.manifest import BundleError
from squeezenas_tvm.bundles.runner import Bundle

KERNELS = [
    {"kernel": "conv1x1 8x4x4->8x4x4", "functions": ["conv", "conv1"], "macs": 1000, "bytes_moved": 400},
    {"kernel": "pool 8x4x4->8x2x2", "functions": ["pool"], "macs": None, "bytes_moved": 100},
]


def listed(folder: Path, **changes: Any) -> Path:
    document = {"schema_version": 1, "kernels": KERNELS, "peaks": None, **changes}
    (folder / "kernels.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def watched(**took_ms: float) -> Stopwatch:
    watch = Stopwatch(lambda: None)
    watch.seconds = {name: ms / 1e3 for name, ms in took_ms.items()}
    watch.calls = dict.fromkeys(took_ms, 1)
    return watch


def test_the_clock_leaves_out_what_is_called_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 3.0, 4.0, 5.0, 9.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    waited = []
    watch = Stopwatch(lambda: waited.append(1))
    for name, before in [("outer", 1), ("inner", 1), ("inner", 0), ("outer", 0), ("inner", 1), ("inner", 0)]:
        assert watch(None, name, bool(before), None, "an argument") == 0
    assert watch.seconds == {"outer": 2.0, "inner": 6.0}
    assert watch.calls == {"outer": 1, "inner": 2}
    assert len(waited) == 6


def test_functions_of_one_kernel_are_one_row(tmp_path: Path) -> None:
    peaks = {"macs_per_s": 1e6, "bytes_per_s": 1e5, "source": "a data sheet"}
    runs = [
        watched(conv=1, conv1=2, pool=1),
        watched(conv=3, conv1=4, pool=2),
        watched(conv=9, conv1=9, pool=3),
    ]
    for run in runs:
        run.seconds["vm.builtin.alloc_storage"] = 100.0
    found = kernel_times(listed(tmp_path, peaks=peaks), runs, 12.0, "cuda")
    assert found.peaks == Peaks(1e6, 1e5, "a data sheet")
    conv, pool = found.kernels
    assert (conv.kernel, conv.calls, conv.macs) == (KERNELS[0]["kernel"], 2, 1000)
    assert (conv.median_ms, pool.median_ms) == (pytest.approx(7), pytest.approx(2))
    assert conv.share == pytest.approx(7 / 9)
    assert conv.roofline_ms == pytest.approx(2 * 4)  # 400 bytes take longer than 1000 multiply-adds
    assert pool.roofline_ms is None
    assert (found.whole_ms, found.kernels_ms) == (12.0, pytest.approx(9))


def test_without_a_list_names_are_tvms(tmp_path: Path) -> None:
    found = kernel_times(tmp_path, [watched(fused_conv=2)], 2.5, "cuda")
    assert found.peaks is None
    (kernel,) = found.kernels
    assert kernel == KernelTime("fused_conv", 1, pytest.approx(2), 1.0, None, None, None)


def test_peaks_of_this_machine() -> None:
    peaks = module.machine_peaks()
    assert peaks.macs_per_s > 1e8
    assert peaks.bytes_per_s > 1e8
    assert "numpy's matrix product" in peaks.source


def test_what_is_told() -> None:
    kernels = tuple(
        KernelTime(f"kernel {n}", 2, 1.0, 1 / 20, 500_000, 20_000 if n else None, 0.5 if n else None)
        for n in range(LISTED + 5)
    )
    lines = [*told(KernelTimes(kernels, 21.5, Peaks(4e9, 8e9, "measured: here")))]
    assert lines[0].split() == ["kernel", "calls", "ms", "share", "GMAC/s", "GB/s", "of", "roofline"]
    assert lines[1].split() == ["kernel", "0", "2", "1.000", "5.0%", "1.0", "-", "-"]
    assert lines[2].split()[-3:] == ["1.0", "0.0", "50%"]
    assert len({len(line) for line in lines[: LISTED + 1]}) == 1
    assert lines[LISTED + 1] == "5 others take 25%."
    assert "All kernels take 20.000 ms" in lines[LISTED + 2]
    assert "(+1.500 ms)" in lines[LISTED + 2]
    assert lines[-1].startswith("Roofline: 4.0 GMAC/s, 8.0 GB/s (measured: here).")


def test_a_bundle_is_timed_and_runs_on(sealed_bundle: Path) -> None:
    bundle = Bundle.load(sealed_bundle)
    image = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    before = bundle.segment(image)
    found = bundle.kernel_times(bundle.frame(image), 3, 1)
    assert found.kernels
    assert sum(own.share for own in found.kernels) == pytest.approx(1)
    assert not any(own.kernel.startswith("vm.") for own in found.kernels)
    assert found.peaks is not None
    assert np.array_equal(bundle.segment(image), before)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 9}, "schema_version: not 1; use a newer squeezenas-tvm"),
        ({"kernels": {}}, "kernels: not a list of them"),
        ({"kernels": [{**KERNELS[0], "macs": -1}]}, "kernels[0].macs: not a whole number, or null"),
        ({"kernels": [{**KERNELS[0], "functions": []}]}, "kernels[0].functions: not a list of text"),
        (
            {"peaks": {"macs_per_s": 0, "bytes_per_s": 1.0, "source": ""}},
            "peaks.macs_per_s: not a number above 0",
        ),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError) as caught:
        kernel_times(listed(tmp_path, **changes), [watched(conv=1)], 1.0, "cuda")
    assert said in str(caught.value)


def test_a_list_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "kernels.json").write_text("{", encoding="utf-8")
    with pytest.raises(BundleError, match=r"kernels\.json is not JSON: .*; deploy again"):
        kernel_times(tmp_path, [watched(conv=1)], 1.0, "cuda")
