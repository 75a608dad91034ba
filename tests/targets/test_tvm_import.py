"""What TVM says of itself through Python's loggers: told as ours, and only what matters."""

import logging
import subprocess
import sys

import pytest

import targets.tvm_import

from .conftest import ROOT

THEIRS = "tvm.s_tir.meta_schedule.tune_context"  # the logger of every search


def test_warnings_are_for_those_who_want_to_know_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger(THEIRS).info("generation 1")
    logging.getLogger(THEIRS).warning("no more %s", "candidates")
    logging.getLogger(THEIRS).error("it went wrong")
    name = targets.tvm_import.__name__
    assert [told for told in caplog.record_tuples if told[0] == name] == [
        (name, logging.DEBUG, f"{THEIRS}: no more candidates"),
        (name, logging.WARNING, f"{THEIRS}: it went wrong"),
    ]


def test_errors_alone_reach_the_screen() -> None:
    code = f"""
import logging
from targets.tvm_import import tvm
for level in (logging.INFO, logging.WARNING, logging.ERROR):
    logging.getLogger({THEIRS!r}).log(level, logging.getLevelName(level))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{THEIRS}: ERROR\n")
