"""What all measurements share: whole while it is held, and gone afterwards."""

import threading
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from cost_models.database.environment import environment
from cost_models.database.store import MeasurementStore
from cost_models.errors import CostModelError
from cost_models.profiling.context import measure_context
from targets import TargetError

from ..measuring import quick_target


def test_it_is_whole_cannot_be_changed_and_ends(tmp_path: Path) -> None:
    target = quick_target(tmp_path)
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        with measure_context(target, store) as context:
            assert None not in [getattr(context, field.name) for field in fields(context)]
            assert context.history.environment == store.find_environment(environment(target))
            with pytest.raises(FrozenInstanceError):
                context.dtype = "float16"  # type: ignore[misc]
            assert context.apart(threading.current_thread) != threading.current_thread()
            assert context.fleet.submit(lambda session: 42, timeout_s=5.0).result(60).value == 42
        with pytest.raises(CostModelError, match="the pool is not open"):
            context.pool.submit(None, None)
        with pytest.raises(TargetError, match="the fleet is closed"):
            context.fleet.submit(lambda session: 42, timeout_s=5.0)


def test_a_wrong_address_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        with (
            pytest.raises(TargetError, match="tracker address: found 'nowhere'"),
            measure_context(quick_target(tmp_path), store, tracker="nowhere"),
        ):
            pass
        assert list(store.environments()) == []
