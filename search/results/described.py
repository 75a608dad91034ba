"""A search as its document tells it."""

from typing import Any

from search.problem.problem import SearchProblem, SearchResult
from search.results.document import BlockLatency, Limit, SearchDocument
from search.strategies.registry import named
from targets.support.files import now_utc


def describe(problem: SearchProblem, result: SearchResult | None = None) -> SearchDocument:
    """Of a search that begins, or of one that has ended."""
    found: dict[str, Any] = {}
    if result is not None:
        found = {
            **result.summary,
            "chosen": result.chosen,
            "front": result.front,
            "judged": len(result.networks),
        }
    budget = problem.budget
    return SearchDocument(
        made_by=f"squeezenas_tvm search, strategy {named(problem.strategy)}, recipe {problem.recipe.name}",
        at=now_utc(),
        finished=result is not None,
        strategy=problem.strategy,
        task=problem.task.name,
        metric=problem.task.title,
        target=problem.target,
        space=problem.space.name,
        decisions=[decision.name for decision in problem.space.decisions],
        data=problem.data.name,
        data_spec=problem.data_spec,
        resolution=str(problem.resolution),
        sources=dict(problem.costs.sources),
        cost=problem.cost,
        mix=dict(problem.mix.weights),
        budget=Limit(objective=budget.name, value=budget.value) if budget else None,
        recipe=problem.recipe.model_dump(mode="json"),
        latency_s=_latencies(problem),
        **found,
    )


def _latencies(problem: SearchProblem) -> BlockLatency:
    slots: dict[str, dict[str, float]] = {}
    around = problem.costs.beyond("latency")
    for part, seconds in zip(problem.costs.parts, problem.costs.prices("latency").tolist(), strict=True):
        if part.slot:
            slots.setdefault(part.slot, {})[part.option] = seconds
        else:
            around += seconds
    return BlockLatency(positions=list(slots.values()), around=around)
