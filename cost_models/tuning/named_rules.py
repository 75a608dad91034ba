"""Rules of scheduling that TVM's pooling operators ask for by name, and that TVM has for no target.

``ApplyCustomRule`` of MetaSchedule warns of each on stderr, again and again. Registered ones that change
nothing leave the block to the rules that every block has.
"""

from functools import cache
from typing import Any

from cost_models.tvm_import import tvm_ffi

_ASKED_FOR = ("pool_avg", "pool_max", "adaptive_pool_avg", "adaptive_pool_max")
_KEYS = ("cpu", "gpu")  # of targets: one that each kind has


@cache
def register_named_rules() -> None:
    """For this process, once."""
    for key in _KEYS:
        for name in _ASKED_FOR:
            rule = f"s_tir.meta_schedule.{key}.meta_schedule.{name}"
            tvm_ffi.register_global_func(rule, _as_it_is, override=True)


def _as_it_is(schedule: Any, block: Any) -> list[Any]:
    return [schedule]
