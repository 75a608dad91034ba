"""MetaSchedule asked and told by hand."""

from typing import Any

import numpy as np
import pytest

from cost_models.database.records import Trial
from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.pooling import MaxPool2d
from cost_models.lowering.best_schedules import kernel_module
from cost_models.schedules.serialization import Proposal, apply_schedule
from cost_models.tuning.evolution import Evolution
from cost_models.tuning.settings import SearchSettings
from cost_models.tvm_import import ms, tvm

from ..some_kernels import convolution, depthwise, only, relu

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
SMALL = SearchSettings(round_size=4, population=8, generations=1, random_trials=4)
KERNEL = convolution(8, 8, 16, 16)


def search(kernel: Kernel = KERNEL, seed: int = 0, settings: SearchSettings = SMALL) -> Evolution:
    return Evolution(kernel_module(kernel, TARGET), TARGET, settings, seed)


def trials(proposals: list[Proposal]) -> list[Trial]:
    return [Trial(schedule=p.schedule, samples_s=(1e-3 + 1e-4 * i,)) for i, p in enumerate(proposals)]


def texts(proposals: list[Proposal]) -> list[str]:
    return [proposal.schedule for proposal in proposals]


def result(mod: Any) -> Any:
    """What the kernel computes from fixed random arguments."""
    mod = tvm.s_tir.transform.RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(mod)
    random = np.random.default_rng(0)
    shapes = [[int(extent) for extent in param.shape] for param in mod["main"].params]
    tensors = [tvm.runtime.tensor(random.standard_normal(shape).astype("float32")) for shape in shapes]
    tvm.compile(mod, TARGET)["main"](*tensors)
    return tensors[-1].numpy()


@pytest.mark.parametrize(
    "kernel",
    [KERNEL, convolution(4, 6, 9, 10, 3, stride=2), depthwise(8, 8, 8), relu(4, 8, 8)],
    ids=lambda kernel: kernel.label,
)
def test_what_it_proposes_keeps_what_the_kernel_computes_and_replays(kernel: Kernel) -> None:
    mod = kernel_module(kernel, TARGET)
    expected = result(mod)
    for proposal in search(kernel).propose(2):
        assert proposal.origin == "evolution"
        again = apply_schedule(mod, TARGET, proposal.schedule)
        tvm.ir.assert_structural_equal(again, proposal.mod)
        np.testing.assert_allclose(result(again), expected, rtol=1e-4, atol=1e-4)


def test_same_seed_same_first_round_and_another_seed_another() -> None:
    one, same, other = (texts(search(seed=seed).propose(4)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_small_shares_use_up_a_generation_before_the_next_evolves() -> None:
    """Whatever MetaSchedule proposed once it never proposes again: none of it may be dropped."""
    whole, bit_by_bit = search(seed=3), search(seed=3)
    together = whole.propose(4)
    evolved_s = bit_by_bit.evolution_s
    single = [proposal for _ in range(4) for proposal in bit_by_bit.propose(1)]
    assert sorted(texts(single)) == sorted(texts(together))
    spent_s = bit_by_bit.evolution_s
    assert spent_s > evolved_s
    (fifth,) = bit_by_bit.propose(1)
    assert bit_by_bit.evolution_s > spent_s
    assert fifth.schedule not in texts(together)


def test_what_was_tried_before_is_not_proposed_again() -> None:
    kernel = convolution(4, 4, 4, 4)  # few schedules: a search that forgot would repeat some
    first = search(kernel)
    history: list[Trial] = []
    for _ in range(3):
        round_ = trials(first.propose(4))
        first.learn(round_)
        history += round_
    second = search(kernel)
    second.learn(history)
    new = [text for _ in range(3) for text in texts(second.propose(4))]
    assert len(new) == len(set(new)) > 4
    assert not set(new) & {trial.schedule for trial in history}


def test_the_cost_model_learns_after_some_trials_and_ranks_what_waits() -> None:
    evolution = search(settings=SearchSettings(round_size=8, population=16, generations=1, random_trials=8))
    first = evolution.propose(8)
    evolution.learn(trials(first))
    model = evolution._model
    assert model.trees.booster is not None
    candidates = [ms.MeasureCandidate(tvm.s_tir.Schedule(p.mod), evolution._args_info) for p in first]
    scores = np.asarray(model.predict(evolution._context, candidates))
    assert scores[0] > scores[-1]  # the first was the fastest
    second = evolution.propose(3)
    assert len(second) == 3


def test_failed_trials_are_learned_from_too() -> None:
    evolution = search()
    failed = [Trial(schedule=text, error="no") for text in texts(evolution.propose(4))]
    evolution.learn(failed)
    assert not set(texts(evolution.propose(4))) & {trial.schedule for trial in failed}


def test_a_trace_of_another_kernel_is_refused() -> None:
    foreign = trials(search(relu(4, 8, 8)).propose(1))
    with pytest.raises(CostModelError, match=r"schedule does not fit the kernel.*tune this one anew"):
        search().learn(foreign)


def test_a_kernel_without_reduction_ends_when_its_schedules_are_used_up() -> None:
    evolution = search(relu(2, 2, 2))
    found: list[str] = []
    while proposals := evolution.propose(4):
        found += texts(proposals)
        evolution.learn(trials(proposals))
        assert len(found) < 500
    assert len(found) == len(set(found)) >= 1


def test_a_generation_at_which_tvm_fails_is_lost_and_the_search_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a mutated trace finds other producers than it was recorded with."""
    evolution = search()
    generate, failures = ms.TuneContext.generate_measure_candidates, [True]

    def fail_first(context: Any) -> Any:
        if failures:
            failures.pop()
            raise RuntimeError("parallel_for_dynamic error with Check failed: (2 vs. 3) :\n")
        return generate(context)

    monkeypatch.setattr(ms.TuneContext, "generate_measure_candidates", fail_first)
    with caplog.at_level("INFO", logger="cost_models"):
        assert evolution.propose(4)
    assert "a generation of schedules is lost: RuntimeError: parallel_for_dynamic error" in caplog.text
    failures += [True] * 9
    while evolution.propose(4):
        pass
    assert len(failures) == 6  # after three it has ended


def test_time_is_split_into_sampling_and_evolution() -> None:
    drawn = search(settings=SearchSettings(round_size=4, population=8, generations=0))
    drawn.propose(4)
    assert drawn.sampling_s > drawn.evolution_s
    evolved = search()
    evolved.propose(4)
    assert min(evolved.sampling_s, evolved.evolution_s) > 0
    before_s = evolved.evolution_s
    evolved.learn(trials(evolved.propose(4)))
    assert evolved.evolution_s > before_s  # training


def test_schedules_for_a_gpu_are_proposed_without_one() -> None:
    target = tvm.target.Target("nvidia/nvidia-h100")
    mod = kernel_module(KERNEL, target)
    proposals = Evolution(mod, target, SMALL, 0).propose(2)
    assert len(proposals) == 2
    for proposal in proposals:
        assert "threadIdx.x" in str(proposal.mod)
        tvm.ir.assert_structural_equal(apply_schedule(mod, target, proposal.schedule), proposal.mod)


def test_pooling_says_nothing_of_rules_that_tvm_lacks(capfd: pytest.CaptureFixture[str]) -> None:
    builder = GraphBuilder()
    kernel = only(builder.build(builder.add("largest", MaxPool2d(3, 2, 1), "x")), 8, 16, 16)
    mod = kernel_module(kernel, TARGET)
    expected = result(mod)
    (first, *_) = search(kernel).propose(2)
    np.testing.assert_allclose(result(apply_schedule(mod, TARGET, first.schedule)), expected)
    assert "Unknown schedule rule" not in "".join(capfd.readouterr())
