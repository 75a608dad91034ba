"""The document of a profile: as 0.1 wrote it, and what is refused."""

import json
from pathlib import Path

import pytest

from cost_models.profiling.additivity import Ratio
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.document import ProfileDocument

FROM_0_1 = Path(__file__).parents[1] / "version_0_1" / "squeezenas-small-64x128.json"


def test_a_document_of_0_1_is_read_and_loses_nothing(tmp_path: Path) -> None:
    told = ProfileDocument.load(FROM_0_1)
    assert (told.space, told.resolution, told.tuning.valid) == ("squeezenas-small", "64x128", 2)
    assert told.additivity is not None
    assert isinstance(told.additivity.ratios["warm"], Ratio)
    assert told.additivity.ratios["cold"] is None
    assert told.predictor is not None
    assert told.predictor.hold_outs["random"].groups == ("fifth 1", "fifth 4")
    assert told.predictor.hold_outs["random"].by_kind["dense"].mape == 0.0412
    told.save(tmp_path / "again.json")
    again = json.loads((tmp_path / "again.json").read_text())
    assert again.pop("chosen") is None  # 0.1 measured all kernels
    entries = [entry for row in (*again["blocks"], again["fixed"]) for entry in row.values() if entry]
    assert [entry.pop("predicted_kernels") for entry in entries] == [0] * len(entries)
    assert again == json.loads(FROM_0_1.read_text()) | {"made_by": ""}


def test_one_of_before_schemas_were_written_is_of_the_first(tmp_path: Path) -> None:
    raw = json.loads(FROM_0_1.read_text())
    del raw["schema_version"]
    (tmp_path / "old.json").write_text(json.dumps(raw))
    assert ProfileDocument.load(tmp_path / "old.json") == ProfileDocument.load(FROM_0_1)


def test_faults_are_named_all_at_once(tmp_path: Path) -> None:
    raw = json.loads(FROM_0_1.read_text())
    del raw["tuning"]["valid"]
    (tmp_path / "bad.json").write_text(json.dumps(raw | {"folder": 7}))
    with pytest.raises(UsageError, match=r"bad\.json: tuning\.valid: missing; folder: .*; profile again"):
        ProfileDocument.load(tmp_path / "bad.json")
