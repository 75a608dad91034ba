"""What the records of the throughput benchmark come to."""

import json
from pathlib import Path
from typing import Any

import pytest
from records import Records
from throughput_summary import as_text, results_of, summary

from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import Graph, Node
from cost_models.ir.ops import Activation

SETTINGS = {"resolution": "64x128", "kernels": 2, "trials": 10, "group": 2, "seed": 0}


def kernel(width: int) -> Kernel:
    return Kernel(Graph(("x0",), (Node("n0", Activation("relu"), ("x0",)),), ("n0",)), ((1, 8, 4, width),))


ONE, TWO = kernel(16), kernel(32)


def result(valid: int, **changes: object) -> dict[str, Any]:
    parts = {"sampling_s": 1.0, "evolution_s": 2.0, "build_s": 3.0, "upload_s": 0.5, "run_s": 0.25}
    found = {"tried": 10, "valid": valid, **parts, "build_over_limit_s": 0.0, "best": "[]", "some": ["[]"]}
    return {**found, **changes}


def checked(key: str, floor: dict[str, float], **rounds_s: list[float]) -> dict[str, Any]:
    return {"what": "checked", "kernel": key, "rounds_s": rounds_s, "floor": floor, **SETTINGS}


@pytest.fixture
def records() -> Records:
    found = Records(None)
    plain = {ONE.key: result(10, build_over_limit_s=40.0), TWO.key: result(0, tried=0, best=None)}
    engine = {ONE.key: result(9), TWO.key: result(6, tried=8)}
    common = {"what": "trials", "group_of": [ONE.key, TWO.key], **SETTINGS}
    found.add({**common, "side": "plain", "wall_s": 100.0, "results": plain})
    found.add({**common, "side": "engine", "wall_s": 30.0, "results": engine})
    found.add({**common, "side": "engine", "trials": 99, "wall_s": 1.0, "results": {}})  # of another run
    floor = {"build_s": 1.0, "measure_s": 0.5}
    default, plain_s = [1.0, 1.0, 2.0], [2.0, 2.0, 4.0]
    found.add(checked(ONE.key, floor, default=default, plain=plain_s, engine=[0.5, 0.5, 1.0]))
    found.add(checked(TWO.key, floor, default=[1.0, 1.0, 1.0], engine=[4.0, 4.0, 4.0]))
    return found


def test_the_totals(records: Records) -> None:
    total = summary(records, [ONE, TWO], SETTINGS)["total"]
    assert (total["plain"]["valid"], total["engine"]["valid"]) == (10, 15)
    assert total["plain"]["valid_a_minute"] == pytest.approx(6)
    assert total["engine"]["valid_a_minute"] == pytest.approx(30)
    assert total["trials_ratio"] == pytest.approx(5)
    assert total["trials_ratio_builds_limited"] == pytest.approx(3)  # 10 in 60 s
    assert total["engine"]["build_s"] == pytest.approx(6)
    assert (total["floor_build_s"], total["floor_measure_s"]) == (18, 9)
    assert total["engine_over_floor_overlapped"] == pytest.approx(30 / 18)
    assert total["engine_over_floor_in_turn"] == pytest.approx(30 / 27)


def test_latencies_are_compared_with_and_without_the_default_schedule(records: Records) -> None:
    document = summary(records, [ONE, TWO], SETTINGS)
    assert document["total"]["engine_to_plain"] == {"geometric_mean": pytest.approx(0.25), "kernels": 1}
    # first kernel: 0.5 to 1.0, the default one; second: both have the default one only
    found = document["total"]["engine_to_plain_or_default"]
    assert found == {"geometric_mean": pytest.approx(0.5**0.5), "kernels": 2}
    assert "engine_to_plain" not in document["kernels"][1]


def test_the_document_is_json_and_text(records: Records) -> None:
    document = summary(records, [ONE, TWO], SETTINGS)
    assert json.loads(json.dumps(document)) == document
    lines = as_text(document).splitlines()
    assert lines[2].split() == [*ONE.key.split(), "1000.000", "2000.000", "500.000", "0.250"]
    assert lines[3].split() == [*TWO.key.split(), "1000.000", "-", "4000.000", "-"]
    assert any(line.split() == ["trials_ratio", "5"] for line in lines)


def test_records_survive_a_run_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "parts.jsonl"
    first = Records(path)
    place = {"what": "trials", "side": "plain", "group_of": [ONE.key], **SETTINGS}
    first.add({**place, "wall_s": 1.0, "results": {ONE.key: result(1)}})
    with path.open("a", encoding="utf-8") as file:
        file.write('\n{"what": "trials", "side": "eng')
    second = Records(path)
    assert len(second.all) == 1
    second.add({**place, "side": "engine", "results": {}})
    third = Records(path)
    assert [record["side"] for record in third.all] == ["plain", "engine"]
    assert third.find(**place) == first.all[0]
    assert third.find(**{**place, "group_of": [TWO.key]}) is None
    assert results_of(third, SETTINGS)["plain"].keys() == {ONE.key}
