"""Networks tried out one after another, each chosen by what is known of the earlier ones.

What comes next is a function of the seed and the log alone, so that a search that was stopped and resumed
tries the same networks as one that was not. Where processes score a network each, the networks of a round are
chosen by what was known before it, each also by which come before it in the round, and join the log in their
order, whoever was faster. So no two processes try the same network while there is another one.
"""

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from search.architecture import Architecture
from search.errors import Diverged, FailedTraining, InvalidCheckpoint
from search.parallel.ranks import Ranks
from search.problem.goal import SEARCHED
from search.problem.judged import Judged
from search.problem.problem import SearchProblem
from search.problem.strategy import Progress
from search.spaces.space import Genotype
from search.strategies.sampling.choosers import Chooser
from search.strategies.sampling.scorer import Scorer
from search.strategies.sampling.tried import Tried, best_of, known
from search.training.failures import is_no_memory
from targets.support.interrupts import HeldInterrupts
from targets.support.text import one_line


@dataclass(frozen=True)
class Finals:
    """How the best networks are scored once more, when all are tried.

    Attributes:
        networks: how many of them.
        make: their scorer, which needs no preparation.
    """

    networks: int
    make: Callable[[], Scorer]


class SampledSearch:
    """A ``SearchStrategy``: the scorer prepares itself, then networks are tried out, each an epoch.

    Args:
        candidates: how many.
        finals: after them, for the best; their scores count then. None: there are none.
    """

    curves = ("loss", "score", "best", "tried")

    def __init__(
        self,
        problem: SearchProblem,
        scorer: Scorer,
        choose: Chooser,
        ranks: Ranks,
        *,
        candidates: int,
        seed: int,
        finals: Finals | None = None,
    ) -> None:
        self._problem, self._scorer, self._choose, self._ranks = problem, scorer, choose, ranks
        self._candidates, self._seed, self._finals = candidates, seed, finals
        self._at_once = ranks.world_size if scorer.alone else 1
        self.log: list[Tried] = []
        self.remapped: str | None = None  # see ``search.problem.strategy.Remapped``

    @property
    def step(self) -> int:
        """Steps of preparation, and networks tried."""
        return self._scorer.step + len(self.log)

    @property
    def steps_wanted(self) -> int:
        """In all."""
        return self._scorer.steps_wanted + self._candidates + self._final_count()

    def steps(self) -> Generator[Progress, None, None]:
        """Go on to the end."""
        mean = self._problem.costs.mean()
        mean = {name: mean[name] for name in SEARCHED}
        while self._scorer.step < self._scorer.steps_wanted:
            with HeldInterrupts(errors_first=True):
                loss = self._scorer.prepare()
                yield self._progress(loss, mean, f"shared weights, loss {loss:.3f}")
        while len(self.log) < self._candidates + self._final_count():
            for tried, seconds in self._round():
                with HeldInterrupts(errors_first=True):  # what is in the log is also told
                    self.log.append(tried)
                    best = self._best()
                    now = self._progress(math.nan, self._expected(best), self._said(tried, best))
                    yield replace(now, tried={**tried.plain(), "seconds": round(seconds, 3)})

    def _round(self) -> list[tuple[Tried, float]]:
        """The next networks, one a process where each scores its own, and how long each took."""
        done, count = len(self.log), self._candidates
        first, end = (count, count + self._final_count()) if done >= count else (0, count)
        start = first + (done - first) // self._at_once * self._at_once
        before, beside = self.log[:start], [tried.options for tried in self.log[start:]]
        chosen = list[dict[str, str]]()
        for number in range(done, min(start + self._at_once, end)):
            if number >= count:
                chosen.append(self._genotype(self._finalists()[number - count]))
            else:
                chosen.append(self._choose(before, np.random.default_rng([self._seed, number]), beside))
            beside.append(tuple(chosen[-1].values()))
        if self._at_once == 1:
            return [self._tried(chosen[0], before)]
        chosen = self._ranks.gather(chosen)[0]  # machines may differ in the last digit
        scorers, rank = [chosen.index(genotype) for genotype in chosen], self._ranks.rank
        own = self._tried(chosen[rank], before) if rank in scorers else None  # equal ones are scored once
        told = self._ranks.gather(own and (own[0].plain(), own[1]))
        return [(Tried.of(plain), seconds) for plain, seconds in (told[scorer] for scorer in scorers)]

    def _tried(self, genotype: Genotype, before: Sequence[Tried]) -> tuple[Tried, float]:
        options, start_s = tuple(genotype.values()), time.monotonic()
        final = len(self.log) >= self._candidates
        scorer, tried = (self._final_scorer, None) if final else (self._scorer, known(self.log, options))
        if tried is None:
            try:
                tried = replace(scorer.score(genotype, before), final=final)
            except Diverged as error:
                tried = Tried(options, None, failed=one_line(str(error)), final=final)
            except (MemoryError, RuntimeError) as error:
                if not is_no_memory(error):
                    raise
                tried = Tried(options, None, failed="out of memory", final=final)
        return tried, time.monotonic() - start_s

    def _said(self, tried: Tried, best: Tried) -> str:
        shown = self._problem.task.shown
        told = f"failed ({tried.failed})" if tried.score is None else shown(tried.score)
        behind = f" (given up behind {tried.stopped})" if tried.stopped else ""
        about = f"; {self._scorer.about}" if self._scorer.about else ""
        number, of, what = len(self.log), self._candidates, "network"
        if tried.final:
            number, of, what = number - self._candidates, self._final_count(), "finalist"
        return f"{what} {number} of {of}: {told}{behind}, best {shown(best.reward)}{about}"

    def _progress(self, loss: float, expected: Mapping[str, float], said: str) -> Progress:
        last = self.log[-1].score if self.log else None
        best = self._best().score if self.log else None
        values = {"loss": loss, "score": last, "best": best, "tried": len(self.log)}
        prepared, of_epoch = divmod(self._scorer.step, self._scorer.steps_per_epoch)
        return Progress(
            epoch=prepared + len(self.log) - (of_epoch == 0),
            step=self.step,
            ends_epoch=of_epoch == 0,
            values={name: math.nan if value is None else value for name, value in values.items()},
            expected=expected,
            said=said,
        )

    def score(self, genotype: Genotype) -> float:
        """Of the log, where the network is in it; of the finals rather than of its first trial."""
        options = tuple(self._problem.space.check(genotype).values())
        tried = known(self.log[self._candidates :], options) or known(self.log, options)
        return (tried or self._scorer.score(genotype, self.log)).reward

    def propose(self, count: int, seed: int) -> list[Genotype]:
        """The best of the finals, or else of the log. Raises FailedTraining where all of them failed."""
        scored = best_of(self.log[self._candidates :]) or best_of(self.log)
        if not scored:
            raise FailedTraining(
                f"none of {len(self.log)} networks has a score; the first failed: {self.log[0].failed}"
            )
        return [self._genotype(tried) for tried in scored[:count]]

    def worth(self, network: Judged) -> float:
        """Its score."""
        return network.score

    def companions(self) -> dict[str, Architecture]:
        """None."""
        return {}

    def state(self) -> dict[str, Any]:
        """What the scorer and the chooser know, and the log."""
        return {
            "scorer": self._scorer.state(),
            "chooser": self._choose.state(),
            "log": [tried.plain() for tried in self.log],
            "at_once": self._at_once,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave. Raises InvalidCheckpoint where more or fewer processes scored networks."""
        if (at_once := state.get("at_once", 1)) != self._at_once:
            raise InvalidCheckpoint(
                f"the search was begun with {at_once} processes, each scoring its own networks, and is gone "
                f"on with by {self._at_once}; allowed: as many as before"
            )
        self._scorer.restore(state["scorer"])
        self._choose.restore(state.get("chooser", {}))
        self.log = [Tried.of(plain) for plain in state["log"]]

    def summary(self) -> dict[str, Any]:
        """Which networks were tried, in order, and what the best costs."""
        tried = [entry.plain() for entry in self.log]
        return {"expected": self._expected(self._best()), "tried": tried}

    def _finalists(self) -> list[Tried]:
        """The best of the candidates, where these are scored once more."""
        return best_of(self.log[: self._candidates])[: self._finals.networks if self._finals else 0]

    def _final_count(self) -> int:
        """Of finalists; as many as wanted until it is known how many there are."""
        if len(self.log) < self._candidates:
            return self._finals.networks if self._finals else 0
        return len(self._finalists())

    @cached_property
    def _final_scorer(self) -> Scorer:
        assert self._finals is not None
        return self._finals.make()

    def _best(self) -> Tried:
        return max(self.log[self._candidates :] or self.log, key=lambda tried: tried.reward)

    def _genotype(self, tried: Tried) -> dict[str, str]:
        names = (decision.name for decision in self._problem.space.decisions)
        return dict(zip(names, tried.options, strict=True))

    def _expected(self, tried: Tried) -> dict[str, float]:
        costs = self._problem.costs.cost([self._genotype(tried)], SEARCHED)
        return {name: float(values[0]) for name, values in costs.items()}
