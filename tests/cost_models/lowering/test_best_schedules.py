"""Schedules on record: the kernel as it is searched, and what is worth deploying."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cost_models.database.environment import environment
from cost_models.database.history import History
from cost_models.database.records import Measurement, Trial
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module, tuned_modules
from cost_models.lowering.pipeline import kernels, lower, structural_hash
from cost_models.onnx_io.exporter import to_onnx
from cost_models.schedules.serialization import Proposal, apply_schedule
from cost_models.tuning.kernel_search import KernelSearch, SearchSettings
from targets import Target, load_target

from ..some_kernels import convolution, depthwise


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("local-cpu")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        yield store


def proposals(kernel: Kernel, target: Target, count: int) -> list[Proposal]:
    mod = kernel_module(kernel, target.tvm_target())
    return KernelSearch(mod, target.tvm_target(), SearchSettings.for_trials(count)).propose(count)


def add(
    store: MeasurementStore, target: Target, kernel: Kernel, timings: list[tuple[str | None, float]]
) -> list[int | None]:
    """Store timings of schedules, None for the default one; returns the ids of their trials."""
    place, ids = store.add_environment(environment(target)), []
    store.add_kernel(kernel.key, kernel.description)
    for schedule, seconds in timings:
        trial = schedule and store.add_trial(place, kernel.key, Trial(schedule=schedule, samples_s=(1.0,)))
        how = "tuned" if schedule else "default"
        found = Measurement(kernel=kernel.key, how=how, samples_s=(seconds,))
        store.add_measurement(place, found, trial=trial or None)
        ids.append(trial)
    return ids


def hash_of(kernel: Kernel, target: Target) -> str:
    return structural_hash(kernel_module(kernel, target.tvm_target()))


def test_a_kernel_alone_is_the_one_in_a_network(target: Target) -> None:
    kernel = convolution(8, 16, 8, 16)
    mod = kernel_module(kernel, target.tvm_target())
    assert [name.name_hint for name in mod.get_global_vars()] == ["main"]
    network = lower(to_onnx(kernel.graph, kernel.input_shapes, name="network"), target.tvm_target())
    assert [found.hash for found in kernels(network).values()] == [structural_hash(mod)]


def test_modules_worth_deploying(store: MeasurementStore, target: Target) -> None:
    faster, slower, default_only, unmeasured = (depthwise(8 * n, 8, 16) for n in (1, 2, 3, 4))
    (best,), (worse,) = (proposals(kernel, target, 1) for kernel in (faster, slower))
    add(store, target, faster, [(None, 2.0), (best.schedule, 1.0)])
    add(store, target, slower, [(None, 1.0), (worse.schedule, 2.0)])
    add(store, target, default_only, [(None, 1.0)])
    wanted = [faster, slower, default_only, unmeasured]
    found = tuned_modules(History.of(store, environment(target)), wanted, target.tvm_target())
    assert list(found) == [hash_of(faster, target)]
    assert structural_hash(found[hash_of(faster, target)]) == structural_hash(best.mod)
    assert tuned_modules(History.of(store, environment(target)), [slower], target.tvm_target()) == {}
    other = History(store, store.add_environment(environment(target) | {"device": "another"}))
    assert tuned_modules(other, wanted, target.tvm_target()) == {}


def test_what_is_deployed_is_what_the_table_counts(store: MeasurementStore, target: Target) -> None:
    """Of several timings of one schedule the fastest counts for both."""
    kernel = depthwise(8, 8, 16)
    first, second = (proposal.schedule for proposal in proposals(kernel, target, 2))
    place = store.add_environment(environment(target))
    trial, _, _ = add(store, target, kernel, [(second, 3.0), (first, 2.0), (None, 4.0)])
    store.add_measurement(place, Measurement(kernel=kernel.key, how="tuned", samples_s=(1.0,)), trial=trial)
    table = LatencyTable.from_history(History.of(store, environment(target)), target.name)
    assert table.rows[kernel.key].samples_s == (1.0,)
    history = History.of(store, environment(target))
    (deployed,) = tuned_modules(history, [kernel], target.tvm_target()).values()
    scheduled = apply_schedule(kernel_module(kernel, target.tvm_target()), target.tvm_target(), second)
    assert structural_hash(deployed) == structural_hash(scheduled)


def test_a_schedule_of_another_release_is_refused(store: MeasurementStore, target: Target) -> None:
    kernel = depthwise(8, 8, 16)
    add(store, target, kernel, [('{"tile": {}}', 1.0)])
    with pytest.raises(CostModelError, match=r"not the text of a schedule.*tune this kernel anew"):
        tuned_modules(History.of(store, environment(target)), [kernel], target.tvm_target())
