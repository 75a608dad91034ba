"""Profiles in which some kernels are searched and lend their schedules to the others."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cost_models.database.store import MeasurementStore
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import structural_hash
from cost_models.profiling import finalists as careful
from cost_models.profiling.context import MeasureContext, measure_context
from cost_models.profiling.profiler import measure
from cost_models.schedules.serialization import Proposal
from cost_models.tuning import adaptation as adapting
from cost_models.tuning import transfer
from cost_models.tuning.effort import Effort
from cost_models.tuning.transfer import plan

from ..measuring import contents, failing_for, quick_target, timings_of, trials_of
from ..some_kernels import convolution, depthwise

EFFORT = Effort(name="few", trials=6, transfers=2, anchors=0.25, budget=0.5)


@pytest.fixture(autouse=True)
def _nothing_is_left_to_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """All schedules of an anchor are lent, and the best trials are timed however slow they are."""
    monkeypatch.setattr(transfer, "_NEARLY", float("inf"))
    monkeypatch.setattr(careful, "_WORTH_TIMING", float("inf"))


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MeasureContext]:
    target = quick_target(tmp_path)
    with MeasurementStore.open(tmp_path / "m.sqlite") as store, measure_context(target, store) as context:
        yield context


def two_families() -> list[Kernel]:
    pointwise = [convolution(8 * n, 16 * n, 8, 16) for n in (1, 2, 3, 4)]
    return [*pointwise, *(depthwise(16 * n, 8, 16) for n in (1, 2, 3, 4))]


def origins(context: MeasureContext, kernel: Kernel) -> Counter[str]:
    return Counter(trial.origin for trial in trials_of(context, kernel).values())


def test_anchors_are_searched_and_lend_to_their_neighbours_once(context: MeasureContext) -> None:
    kernels = two_families()
    shares = plan(kernels, EFFORT)
    assert {kernel.kind for kernel in shares.anchors} == {"pointwise", "depthwise"}
    assert (len(shares.anchors), len(shares.neighbours), shares.total, shares.reserve) == (2, 6, 24, 0)
    phases: list[str] = []
    measure(context, kernels, EFFORT, lambda: phases.append(context.status.phase))
    for anchor, wanted in shares.anchors.items():
        searched = origins(context, anchor)
        assert searched.keys() == {"tiles", "evolution"}
        assert searched.total() == wanted == 6
    for neighbour in shares.neighbours:
        trials = trials_of(context, neighbour)
        assert origins(context, neighbour) == {"transfer": 2}
        assert {trial.error for trial in trials.values()} == {None}
        timed = timings_of(context, neighbour)
        assert timed.keys() == {None, *trials}
        hows = {found.how for id_, all_ in timed.items() if id_ is not None for found in all_}
        assert hows == {"transferred"}
        _, fastest = context.history.store.fastest(context.history.environment)[neighbour.key]
        assert fastest.how in ("transferred", "default")
    assert context.status.trials == context.status.planned == shares.total
    assert context.status.done == context.status.total == len(kernels)
    assert list(dict.fromkeys(phase for phase in phases if "anchors" in phase or "adapting" in phase)) == [
        "searching anchors",
        "adapting schedules",
    ]
    trials, timed = contents(context.history.store)[0], {k: timings_of(context, k).keys() for k in kernels}
    measure(context, kernels, EFFORT)
    assert context.status.trials == 0
    assert contents(context.history.store)[0] == trials
    assert {k: timings_of(context, k).keys() for k in kernels} == timed


def test_what_is_left_goes_to_kernels_for_which_nothing_that_was_lent_works(
    context: MeasureContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = two_families()
    shares = plan(kernels, EFFORT)
    poor = next(iter(shares.neighbours))
    module = kernel_module(poor, context.tvm_target)
    adapt = adapting.adapt

    def adapt_to_others(mod: Any, target: Any, text: str) -> Proposal | None:
        return None if structural_hash(mod) == structural_hash(module) else adapt(mod, target, text)

    monkeypatch.setattr(adapting, "adapt", adapt_to_others)
    monkeypatch.setattr(careful, "schedule_default", failing_for(module, careful.schedule_default))
    measure(context, kernels, EFFORT)
    assert origins(context, poor).keys() <= {"tiles", "evolution"}
    assert origins(context, poor).total() == 2  # the transfers that it did not get
    assert sum(origins(context, kernel).total() for kernel in kernels) == shares.total
    assert context.history.store.fastest(context.history.environment)[poor.key][1].how == "tuned"
