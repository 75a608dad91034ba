"""What a search or a training that stopped has left behind, in words: the same for both commands."""

import logging
from pathlib import Path

from search.kept import go_on, is_kept
from squeezenas_tvm.errors import FailedWork

log = logging.getLogger(__name__)


def stopped(out: Path | None) -> str:
    """What is there after Ctrl-C: a phrase.

    Args:
        out: folder of the work; None where it was not known yet.
    """
    if out is None or not is_kept(out):
        return "nothing is kept yet; the same command begins anew"
    return go_on(out)


def note_resumed(out: Path) -> None:
    """Say that ``--resume`` finds nothing there, which may be another folder than was meant."""
    if not is_kept(out):
        log.info("%s holds no checkpoint: it begins anew", out)


def unwritten(error: Exception, out: Path) -> FailedWork:
    """The error to raise where a file could not be written: where, why, what is kept.

    Args:
        error: an OSError, or one that was raised from an OSError.
    """
    cause = error if isinstance(error, OSError) else error.__cause__
    place, reason = (cause.filename, cause.strerror) if isinstance(cause, OSError) else (None, None)
    return FailedWork(f"{place or out}: {reason or error}; make room there; {go_on(out)}")
