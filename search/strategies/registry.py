"""The strategies by name, and their recipes, which are loaded on first use: ``--help`` waits. No PyTorch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.problem.strategy import SearchRecipe

Changes = Mapping[str, Any]
State = Mapping[str, Any]


@dataclass(frozen=True)
class StrategyInfo:
    """What is known of a strategy before it runs.

    Attributes:
        judging: in a report, where judged networks are from, and how they were scored.
        load_recipe: by name or file, with other values of some keys; ``list_recipes`` names the shipped ones.
        free: keys of the fingerprint that may differ where a search goes on from a state: how it is computed,
            and what comes after what is done.
        companions: names, without their ending, of files of other networks that it hands over.
        reward: of a recipe of its, the task's reward by name; None for the task's own.
        reading: what stands beside its numbers where a paper leaves so much open that another reading of it
            would give others.
    """

    summary: str
    judging: str
    load_recipe: "Callable[[str | Path, Changes], SearchRecipe]"
    list_recipes: Callable[[], list[str]]
    free: Callable[[State, State], tuple[str, ...]]
    companions: tuple[str, ...] = ()
    reward: "Callable[[SearchRecipe], str | None]" = lambda recipe: None
    reading: str = ""


def _gumbel_recipe(source: str | Path, changes: Changes) -> "SearchRecipe":
    from search.strategies.gumbel import recipe

    return recipe.load_recipe(source, changes)


def _gumbel_recipes() -> list[str]:
    from search.strategies.gumbel import recipe

    return recipe.list_recipes()


def _sampled_recipe(strategy: str, source: str | Path, changes: Changes) -> "SearchRecipe":
    from search.strategies.sampling import recipe

    return recipe.load_recipe(strategy, source, changes)


def _sampled_recipes(strategy: str) -> list[str]:
    from search.strategies.sampling import recipe

    return recipe.list_recipes(strategy)


def _cosearch_recipe(source: str | Path, changes: Changes) -> "SearchRecipe":
    from search.strategies.fasterseg import recipe

    return recipe.load_recipe(source, changes)


def _cosearch_recipes() -> list[str]:
    from search.strategies.fasterseg import recipe

    return recipe.list_recipes()


def _cosearch_free(state: State, now: State) -> tuple[str, ...]:
    return ("recipe.workers",)


def _gas_recipe(source: str | Path, changes: Changes) -> "SearchRecipe":
    from search.strategies.gas import recipe

    return recipe.load_recipe(source, changes)


def _gas_recipes() -> list[str]:
    from search.strategies.gas import recipe

    return recipe.list_recipes()


def _gas_free(state: State, now: State) -> tuple[str, ...]:
    return tuple(f"recipe.{name}" for name in ("workers", "form", "judging.networks"))


def _gumbel_free(state: State, now: State) -> tuple[str, ...]:
    """Paths may be trained otherwise as long as none was: learning rates hang on how long that takes."""
    done, searched = state["search"], state["fingerprint"].get("recipe", {}).get("epochs", 0)
    begun = (done.get("epoch", 0), done.get("batch", 0)) > (searched, 0)
    always = ("workers", "checkpointing", "compile", "judging.networks", "init", "new_head")
    return tuple(f"recipe.{name}" for name in always + ("path_training",) * (not begun))


def _sampled_free(state: State, now: State) -> tuple[str, ...]:
    """More networks may be tried: which ones hangs on those before alone; finals come after all of them."""
    log, own = state["search"].get("log", ()), state["fingerprint"].get("recipe", {})
    # Of paths what they began with is in the state; what is in files is compared.
    free = ["recipe.workers", *(f"recipe.scoring.{name}" for name in ("init", "new_head", "teacher"))]
    if not any(isinstance(tried, Mapping) and tried.get("final") for tried in log):
        free += ["recipe.scoring.finalists", "recipe.scoring.final_epochs"]
        free += ["recipe.candidates"] * (now["recipe"].get("candidates", 0) >= len(log))
    if "begin" not in own and now["recipe"].get("begin") == "random":  # as 0.2.0 began
        free.append("recipe.begin")
    return tuple(free)


def _sampled_reward(recipe: "SearchRecipe") -> str | None:
    reward: str | None = recipe.model_dump()["scoring"].get("reward")
    return reward


_TRIED = "that were tried out, each scored as the recipe says"
STRATEGIES: Mapping[str, StrategyInfo] = {
    "gumbel": StrategyInfo(
        "a supernet's weights and distribution by gradient descent (SqueezeNAS)",
        "drawn from the final distribution, each judged by its path through the supernet",
        _gumbel_recipe,
        _gumbel_recipes,
        _gumbel_free,
    ),
    "random": StrategyInfo(
        "networks at random within the budget, scored one by one",
        _TRIED,
        partial(_sampled_recipe, "random"),
        partial(_sampled_recipes, "random"),
        _sampled_free,
        reward=_sampled_reward,
    ),
    "evolution": StrategyInfo(
        "regularised evolution within the budget",
        _TRIED,
        partial(_sampled_recipe, "evolution"),
        partial(_sampled_recipes, "evolution"),
        _sampled_free,
        reward=_sampled_reward,
    ),
    "ppo": StrategyInfo(
        "networks drawn by a controller that learns from rewards (FastDenseNAS)",
        _TRIED,
        partial(_sampled_recipe, "ppo"),
        partial(_sampled_recipes, "ppo"),
        _sampled_free,
        reward=_sampled_reward,
    ),
    "cosearch": StrategyInfo(
        "a grid's student together with its teacher by gradient descent (FasterSeg)",
        "derived from the final logits, each judged by the supernet's head on its pair of branches",
        _cosearch_recipe,
        _cosearch_recipes,
        _cosearch_free,
        companions=("teacher",),
    ),
    "gas": StrategyInfo(
        "a chain of cells, neighbours joined by a graph network, by gradient descent (after GAS)",
        "the likeliest of the final distribution and draws from it, each judged by its path through the "
        "supernet (after GAS)",
        _gas_recipe,
        _gas_recipes,
        _gas_free,
        reading="after GAS",
    ),
}


def named(strategy: str) -> str:
    """A strategy for people: its name, and of what it is a reading."""
    known = STRATEGIES.get(strategy)
    return f"{strategy} ({known.reading})" if known and known.reading else strategy
