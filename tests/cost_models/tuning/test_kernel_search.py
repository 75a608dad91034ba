"""The search of one kernel: several sources, no schedule twice, steered by what was measured."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cost_models.builder.pool import BuildPool, BuildResult
from cost_models.database.records import Trial
from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import structural_hash
from cost_models.runner.runner import RunSettings, arguments_of, run_kernel
from cost_models.schedules.conv_template import Tile
from cost_models.schedules.default import schedule_default
from cost_models.schedules.serialization import Proposal, apply_schedule, tile_text
from cost_models.tuning.kernel_search import KernelSearch, SearchSettings, best_trial
from cost_models.tvm_import import tvm
from targets import Session, load_target, open_session

from ..some_kernels import argmax, convolution, relu

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
SMALL = SearchSettings(round_size=8, population=8, generations=1, random_trials=8)
KERNEL = convolution(8, 24, 8, 32)
FEW = convolution(3, 5, 1, 7)  # few tiles


def module(kernel: Kernel) -> Any:
    return kernel_module(kernel, TARGET)


def search(
    kernel: Kernel = KERNEL, seed: int = 0, history: Sequence[Trial] = (), **more: Any
) -> KernelSearch:
    return KernelSearch(module(kernel), TARGET, more.get("settings", SMALL), seed, history)


def trials(
    proposals: Sequence[Proposal], time_s: Callable[[Proposal], float] = lambda _: 1e-3
) -> list[Trial]:
    return [Trial(schedule=p.schedule, samples_s=(time_s(p),), origin=p.origin) for p in proposals]


def origins(proposals: Sequence[Proposal]) -> Counter[str]:
    return Counter(proposal.origin for proposal in proposals)


def texts(proposals: Sequence[Proposal]) -> list[str]:
    return [proposal.schedule for proposal in proposals]


def test_tiles_lead_until_something_is_measured() -> None:
    assert origins(search().propose(8)) == {"tiles": 6, "evolution": 2}


@pytest.mark.parametrize("winner", ["tiles", "evolution"])
def test_the_source_of_the_best_trial_proposes_most_and_the_other_a_quarter(winner: str) -> None:
    tuning = search()
    first = tuning.propose(8)
    tuning.learn(first, trials(first, lambda p: 1e-3 if p.origin == winner else 2e-3))
    second = tuning.propose(8)
    assert origins(second)[winner] == 6
    assert len(second) == len({*texts(first), *texts(second)}) - len(first) == 8


def test_a_transferred_schedule_leads_to_the_source_of_its_form() -> None:
    tuning = search()
    (proposal,) = search(settings=SearchSettings(population=4, sources=("evolution",))).propose(1)
    transferred = Proposal(schedule=proposal.schedule, mod=proposal.mod, origin="transfer")
    tuning.learn([transferred], trials([transferred]))
    assert origins(tuning.propose(8))["evolution"] == 6


def test_small_rounds() -> None:
    assert origins(search().propose(1)) == {"tiles": 1}
    assert origins(search().propose(2)) == {"tiles": 1, "evolution": 1}
    assert len(search().propose(99)) == SMALL.round_size


@pytest.mark.parametrize("source", ["tiles", "evolution"])
def test_one_source_alone(source: str) -> None:
    settings = SearchSettings(round_size=4, population=8, generations=1, sources=(source,))
    assert origins(search(settings=settings).propose(4)) == {source: 4}


def test_without_tiles_evolution_proposes_all() -> None:
    assert origins(search(argmax(8, 16)).propose(8)) == {"evolution": 8}
    assert search(argmax(8, 16), settings=SearchSettings(sources=("tiles",))).propose(8) == []


def test_when_tiles_are_used_up_evolution_goes_on() -> None:
    tuning = search(FEW)
    found: list[Proposal] = []
    while origins(proposals := tuning.propose(8))["tiles"]:
        found += proposals
        tuning.learn(proposals, trials(proposals, lambda p: 1e-3 if p.origin == "tiles" else 2e-3))
        assert len(found) < 400
    assert origins(proposals) == {"evolution": 8}


def test_no_module_is_proposed_twice_nor_the_default_one() -> None:
    tuning = search(FEW)
    hashes = [structural_hash(schedule_default(module(FEW), TARGET))]
    for _ in range(6):
        proposals = tuning.propose(8)
        tuning.learn(proposals, trials(proposals))
        hashes += [structural_hash(proposal.mod) for proposal in proposals]
    assert len(hashes) == len(set(hashes)) == 49


def test_it_ends_when_the_space_is_used_up() -> None:
    tuning = search(relu(2, 2, 2))
    found: list[str] = []
    while proposals := tuning.propose(8):
        found += texts(proposals)
        tuning.learn(proposals, trials(proposals))
        assert len(found) < 500
    assert len(found) == len(set(found)) >= 1


@pytest.mark.parametrize("known", [0, 8], ids=["no history", "history"])
def test_same_seed_and_history_same_first_round_in_any_thread(known: int) -> None:
    history = trials(search(seed=7).propose(8)[:known])

    def first(seed: int) -> list[str]:
        return texts(search(seed=seed, history=history).propose(8))

    here = first(1)
    with ThreadPoolExecutor(1) as elsewhere:
        assert elsewhere.submit(first, 1).result() == here
    assert first(2) != here


def test_an_earlier_run_steers_and_is_not_repeated() -> None:
    earlier = search()
    first = earlier.propose(8)
    history = trials(first, lambda p: 1e-3 if p.origin == "evolution" else 2e-3)
    again = search(history=history).propose(8)
    assert origins(again)["evolution"] == 6
    assert not set(texts(again)) & set(texts(first))


def test_stored_schedules_that_do_not_fit_are_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    uneven = tile_text(Tile(channels=4, rows=3, vectors=1, lanes=8, down=1, across=1))  # 8 rows
    foreign = [
        *trials(search(argmax(8, 16)).propose(1)),
        Trial(schedule=uneven, samples_s=(1e-9,), origin="tiles"),
    ]
    broken = Trial(schedule='{"conv": 3}', samples_s=(1e-9,), origin="tiles")
    with caplog.at_level(logging.WARNING, logger="cost_models.tuning.kernel_search"):
        tuning = search(history=[*foreign, broken])
    assert len(caplog.messages) == 3
    assert all("a stored trial is left out of the search" in message for message in caplog.messages)
    assert len(tuning.propose(8)) == 8


def test_times_add_up_over_sources() -> None:
    tuning = search()
    before = tuning.sampling_s
    tuning.propose(8)
    assert tuning.sampling_s > before
    assert tuning.evolution_s > 0


def test_settings_of_few_trials_do_not_evolve() -> None:
    assert SearchSettings.for_trials(64) == SearchSettings()
    few = SearchSettings.for_trials(8)
    assert (few.round_size, few.generations) == (8, 0)
    assert SearchSettings.for_trials(0).round_size == 1


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"population": 0}, "population must be >= 1, found 0"),
        ({"generations": -1}, "generations must be >= 0, found -1"),
        ({"sources": ()}, "sources must be some of "),
        ({"sources": ("luck",)}, "sources must be some of "),
        ({"least_share": 0.6}, "least_share must be 0 to 1/2, found 0.6"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(CostModelError, match=rf"SearchSettings\.{text}"):
        SearchSettings(**wrong)


def test_best_is_the_lowest_median_of_those_without_error() -> None:
    failed = Trial(schedule="a", error="no")
    lucky = Trial(schedule="b", samples_s=(1.0, 5.0, 5.0))
    steady = Trial(schedule="c", samples_s=(2.0, 2.0, 2.0))
    assert best_trial([failed, lucky, steady]) is steady
    assert best_trial([failed]) is None
    assert best_trial([]) is None


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_session(load_target("local-cpu")) as session:
        yield session


def test_what_it_finds_on_a_real_device_is_faster_than_no_schedule(session: Session) -> None:
    target = load_target("local-cpu").tvm_target()
    mod = kernel_module(convolution(48, 96, 16, 64), target)
    tuning = KernelSearch(mod, target, SMALL)

    def fastest_s(build: BuildResult) -> float:
        assert build.path is not None, build.error
        run = run_kernel(session, build.path, arguments_of(mod), RunSettings(repeat=3, min_repeat_s=0.001))
        assert run.error is None
        return min(run.samples_s)

    done: list[Trial] = []
    with BuildPool() as pool:
        for _ in range(2):
            proposals = tuning.propose(4)
            builds = pool.build([proposal.mod for proposal in proposals], target)
            found = [
                Trial(schedule=p.schedule, samples_s=(fastest_s(build),), origin=p.origin)
                for p, build in zip(proposals, builds, strict=True)
            ]
            tuning.learn(proposals, found)
            done += found
        best = best_trial(done)
        assert best is not None
        naive, tuned = pool.build([mod, apply_schedule(mod, target, best.schedule)], target)
        pairs = [(fastest_s(naive), fastest_s(tuned)) for _ in range(4)]
    assert min(slow for slow, _ in pairs) > 1.5 * min(fast for _, fast in pairs)
