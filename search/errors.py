"""Everything search/ raises on purpose.

SearchError
├── UnknownSpace          no space of that name; suggests the near miss
├── UnknownCandidate      a block's name that the space does not offer there
├── InvalidArchitecture   an architecture file or list of blocks that is no member of its space
├── InvalidResolution     a size no network takes; names the nearest that works
├── InvalidWeights        weights of another network, or a file that holds none
├── InvalidData           a data set that is not there, or whose files are missing, damaged or out of range
├── InvalidSearch         an objective or a budget that cannot be searched for
├── InvalidRecipe         a recipe that is not one, or does not fit its data or its device
├── InvalidCheckpoint     a checkpoint that is none, or one of another work
└── FailedTraining        training that cannot go on: what is kept, what to change (exit code 1)
    ├── Diverged          no finite loss: the same steps again would fail again
    └── LostWorker        a process that loads data is gone
"""


class SearchError(Exception):
    """Base: catch this to catch them all."""

    exit_code = 2


class UnknownSpace(SearchError):
    """No space of that name."""


class UnknownCandidate(SearchError):
    """A block's name that the space does not offer at a position."""


class InvalidArchitecture(SearchError):
    """An architecture that is no member of its space."""


class InvalidResolution(SearchError):
    """A size no network takes."""


class InvalidWeights(SearchError):
    """Weights of another network, or a file that holds none."""


class InvalidData(SearchError):
    """A data set that is not there, or whose files are missing, damaged or out of range."""


class InvalidSearch(SearchError):
    """An objective or a budget that cannot be searched for."""


class InvalidRecipe(SearchError):
    """A recipe that is not one, or does not fit its data or its device."""


class InvalidCheckpoint(SearchError):
    """A checkpoint that is none, or one of another work."""


class FailedTraining(SearchError):
    """Training that cannot go on: no finite loss, out of memory, a lost process."""

    exit_code = 1


class Diverged(FailedTraining):
    """No finite loss. The text ends with what to change; where it is caught, what is kept is added."""


class LostWorker(FailedTraining):
    """A process that loads data is gone. Where it is caught, what to do is added."""
