"""Weights to begin with, of whatever network of the family they are: found, planned, remapped, told."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cost_models.errors import InvalidGraph
from cost_models.ir.weights import check_finite
from search.architecture import Architecture
from search.errors import InvalidWeights
from search.remapping.donor import Donor, check_kin, classes_between, find_donor
from search.remapping.plan import Plan, plan_network, plan_supernet
from search.remapping.remap import remap
from search.remapping.table import EMPTY, TAKEN, classes_told, lines, rows, summary
from search.remapping.tensors import Array
from search.spaces.chain import ChainSpace


@dataclass(frozen=True)
class Begun:
    """What a training or a search begins with.

    Attributes:
        tensors: by our names, of a supernet by its own; what is left out is made anew.
    """

    plan: Plan
    tensors: dict[str, Array]
    path: Path

    def lines(self) -> list[str]:
        """For the log: a table, and two lines that sum it up; only those where nothing was changed."""
        plain = all(row.what in (TAKEN, EMPTY) for row in rows(self.plan))
        told = [f"{self.path}: {said}" for said in (summary(self.plan), classes_told(self.plan))]
        return told if plain else [*lines(self.plan), *told]


def begin_network(architecture: Architecture, init: str | Path, *, new_head: bool = False) -> Begun:
    """For one network, of a chain whose blocks have kin.

    Args:
        init: see ``find_donor``.
        new_head: take all but what tells the classes apart.

    Raises:
        InvalidWeights: not readable, of a network that is not known or of another family, with values that
            are no finite numbers, or for other classes altogether.
        InvalidArchitecture, UnknownSpace, UnknownCandidate: what is named as its network is none.
    """
    donor = find_donor(init, architecture)
    space = check_kin(donor.architecture, architecture.search_space, donor.path)
    classes = classes_between(donor, architecture.task, architecture.tells, new_head=new_head)
    return _begun(plan_network(donor, space, architecture.genotype, classes), donor)


def begin_supernet(
    space: ChainSpace, task: str, names: Sequence[str], init: str | Path, *, new_head: bool = False
) -> Begun:
    """For all candidates of a supernet. Raises what ``begin_network`` does.

    Args:
        task, names: what its networks are for, and what they tell apart.
    """
    donor = find_donor(init)
    check_kin(donor.architecture, space, donor.path)
    classes = classes_between(donor, task, names, new_head=new_head)
    return _begun(plan_supernet(donor, space, classes), donor)


def _begun(plan: Plan, donor: Donor) -> Begun:
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is told as that
        tensors = remap(plan, donor.tensors)
    try:
        check_finite(tensors)
    except InvalidGraph as error:
        raise InvalidWeights(f"{donor.path}: its values are too large to be remapped: {error}") from None
    return Begun(plan, tensors, donor.path)
