"""Latencies of one processor told of another: interval, scale, and the file that keeps it."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from cost_models.database.records import How
from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.device_models.other_processor import (
    UNMEASURED,
    FromOtherProcessor,
    OtherProcessor,
    ProcessorDocument,
    TimedKernel,
    load_calibration,
    processor_of,
)
from cost_models.errors import IncompatiblePrior
from cost_models.estimate import Estimate, LatencySource, Source
from cost_models.ir.fusion import Kernel
from targets.local_machine import Processor

from ..latency_sources import LatencySourceContract
from ..some_kernels import space

XEON, EPYC = Processor("Intel Xeon", 2), Processor("AMD EPYC", 2)
KERNELS = space()[:12]
TOLD = Estimate(2e-3, 1.9e-3, 2.2e-3, Source.MEASURED)


def table(slower: float = 1.0) -> LatencyTable:
    rows = {k.key: Row(How.DEFAULT, 1, (slower * (1e-6 + k.macs * 1e-10),)) for k in KERNELS}
    return LatencyTable("local-cpu", {"device": XEON.name, "cores": XEON.cores}, rows)


class TestFromOtherProcessor(LatencySourceContract):
    @pytest.fixture
    def known(self) -> Sequence[Kernel]:
        return KERNELS

    @pytest.fixture
    def unknown(self) -> Kernel | None:
        return space()[12]

    @pytest.fixture
    def source(self) -> LatencySource:
        return FromOtherProcessor(table(), OtherProcessor.unmeasured(XEON, EPYC))

    @pytest.fixture
    def again(self) -> LatencySource:
        return FromOtherProcessor(table(), OtherProcessor.unmeasured(XEON, EPYC))

    @pytest.fixture
    def changed(self) -> LatencySource:
        return FromOtherProcessor(table(), OtherProcessor.measured(XEON, EPYC, [1.3] * 9))


def test_where_nothing_was_measured_it_says_so_and_is_unsure() -> None:
    told = OtherProcessor.unmeasured(XEON, EPYC).estimate(TOLD)
    assert told.source == "other processor"
    assert told.median_s == TOLD.median_s
    assert told.low_s < TOLD.median_s / UNMEASURED
    assert told.high_s > TOLD.median_s * UNMEASURED


@pytest.mark.parametrize("cores", [1, 8, 64])
def test_cores_may_help_as_much_as_there_are_more_or_not_at_all(cores: int) -> None:
    told = OtherProcessor.unmeasured(XEON, Processor("AMD EPYC", cores)).estimate(TOLD)
    for gain in (1.0, XEON.cores / cores):
        assert told.low_s < TOLD.median_s * gain < told.high_s


def test_a_table_that_names_no_processor_is_another_ones() -> None:
    assert processor_of({"device": "cpu"}) is processor_of({}) is processor_of({"cores": 2}) is None
    assert processor_of(table().fingerprint) == XEON
    assert "one that the table does not name" in str(OtherProcessor.unmeasured(None, EPYC))


@pytest.mark.parametrize(
    ("mcpu", "vectors"),
    [
        ("znver4", "AVX-512"),
        ("icelake-server", "AVX-512"),
        ("rocketlake", "AVX-512"),
        ("skylake-avx512", "AVX-512"),
        ("skylake", "AVX2"),
        ("znver1", "AVX2"),
        ("alderlake", "AVX2"),
        ("cortex-a72", ""),
    ],
)
def test_what_tvm_built_for_tells_the_vectors(mcpu: str, vectors: str) -> None:
    fingerprint = {"device": "AMD EPYC", "cores": 2, "tvm_target": json.dumps({"kind": "llvm", "mcpu": mcpu})}
    assert processor_of(fingerprint) == Processor("AMD EPYC", 2, vectors)


@pytest.mark.parametrize("told", ["", "{", "[]", '{"kind":"llvm"}', '{"mcpu":7}'])
def test_targets_that_tell_no_vectors(told: str) -> None:
    assert processor_of({"device": "AMD EPYC", "cores": 2, "tvm_target": told}) == EPYC


def test_a_prior_stays_a_prior() -> None:
    guess = Estimate.within(1e-3, 4.0, Source.PRIOR, far=True)
    told = OtherProcessor.measured(XEON, EPYC, [2.0] * 9).estimate(guess)
    assert (told.source, told.far, told.median_s) == (Source.PRIOR, True, pytest.approx(2e-3))


def test_measured_kernels_scale_all() -> None:
    ratios = [1.2, 1.25, 1.3, 1.3, 1.3, 1.35, 1.4, 1.3, 1.3, 1.5]
    scaled = OtherProcessor.measured(XEON, EPYC, ratios)
    assert scaled.scale == pytest.approx(1.3)
    assert scaled.factor == pytest.approx(1.5 / 1.3)  # nine of ten: the worst of these ten
    told = scaled.estimate(TOLD)
    assert told.source == Source.PREDICTED
    assert told.median_s == pytest.approx(2.6e-3)
    assert told.low_s < told.median_s / scaled.factor
    assert scaled.factor < UNMEASURED
    few = OtherProcessor.measured(XEON, EPYC, [1.2, 1.3, 1.3, 1.4])
    assert few.factor > 1.4 / 1.3  # few tell little


def document(**changes: object) -> ProcessorDocument:
    timed = [TimedKernel(kernel=k.key, there_s=1e-3, here_s=1.3e-3) for k in KERNELS]
    given = {"target": "local-cpu", "here": EPYC, "table": table().digest(), "at": "now", "kernels": timed}
    return ProcessorDocument.model_validate({"schema_version": 1, **given, **changes})


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    assert load_calibration(tmp_path) is None
    document().save(tmp_path / "processor.json")
    kept = load_calibration(tmp_path)
    assert kept == document()
    assert kept is not None
    assert kept.scale(XEON).scale == pytest.approx(1.3)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf, "fast"])
def test_times_that_are_none_are_refused(tmp_path: Path, seconds: object) -> None:
    path = tmp_path / "processor.json"
    document().save(path)
    told = json.loads(path.read_text(encoding="utf-8"))
    told["kernels"][0]["here_s"] = seconds
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(IncompatiblePrior, match=r"processor.json: .*remove it, and make it again"):
        load_calibration(tmp_path)


def test_too_few_kernels_tell_nothing(tmp_path: Path) -> None:
    path = tmp_path / "processor.json"
    document().save(path)
    told = json.loads(path.read_text(encoding="utf-8"))
    told["kernels"] = told["kernels"][:3]
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(IncompatiblePrior, match="kernels"):
        load_calibration(tmp_path)
