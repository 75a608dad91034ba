"""What a supernet begins with instead of random weights: those of a donor, in each of its candidates."""

import logging

import torch

from search.problem.problem import SearchProblem
from search.remapping.begin import begin_supernet
from search.remapping.table import csv_text
from search.supernet import Supernet

_log = logging.getLogger(__name__)


def begin_with(supernet: Supernet, problem: SearchProblem, init: str, *, new_head: bool) -> str:
    """Fill a supernet. Returns the table of what is from where, as CSV; the log has it, too.

    Raises what ``begin_supernet`` does.
    """
    names, task = problem.data.tells, problem.task.name
    begun = begin_supernet(supernet.space, task, names, init, new_head=new_head)
    tensors = {name: torch.from_numpy(values) for name, values in begun.tensors.items()}
    unknown = supernet.load_state_dict(tensors, strict=False).unexpected_keys
    assert not unknown, unknown
    for line in begun.lines():
        _log.info("%s", line)
    return csv_text(begun.plan)
