"""Which measurements may stand in one table, and how two environments differ."""

import json

from cost_models.database.environment import (
    DEFAULT_SCHEDULES,
    differences,
    environment,
    is_told_of,
    told_by,
)
from targets import load_target


def test_it_holds_the_fingerprint_and_our_own_schedules_and_survives_json() -> None:
    target = load_target("local-cpu")
    found = environment(target)
    assert found.items() >= target.fingerprint("float32").as_dict().items()
    assert found["default_schedules"] == DEFAULT_SCHEDULES
    assert differences(json.loads(json.dumps(found)), found) == []


def test_every_leaf_that_differs_is_named_with_both_values() -> None:
    there = {"device": "a", "cores": 2, "measure": {"repeat": 10, "number": 1}}
    wanted = {"device": "a", "cores": 4, "measure": {"repeat": 20, "number": 1}, "default_schedules": 1}
    assert differences(there, wanted) == [
        "cores 2 instead of 4",
        "default_schedules None instead of 1",
        "measure.repeat 10 instead of 20",
    ]


def test_what_others_tell_is_of_an_environment_of_its_own() -> None:
    here, other = {"device": "a", "cores": 2}, {"device": "b", "cores": 2}
    there = told_by(here, {"tvm_database": "tuned"})
    assert there == {**here, "told_by": {"tvm_database": "tuned"}}
    assert is_told_of(there, here)
    assert not is_told_of(here, here)
    assert not is_told_of(there, other)
    assert not is_told_of(told_by(other, {}), here)
