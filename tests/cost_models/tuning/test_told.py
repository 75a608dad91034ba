"""Schedules that others tell: they are proposed in their order, and those that do not fit are left out."""

import logging

import pytest

from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import structural_hash
from cost_models.schedules.serialization import replay_trace
from cost_models.tuning.told import Told
from cost_models.tvm_import import tvm

from ..measuring import split
from ..some_kernels import convolution, relu

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
MOD = kernel_module(relu(8, 8, 16), TARGET)


def test_they_come_in_their_order_and_each_once() -> None:
    texts = [split(MOD, factor) for factor in (8, 2, 4)]
    source = Told(MOD, texts)
    first, last = source.propose(2), source.propose(2)
    assert [proposal.schedule for proposal in (*first, *last)] == texts
    assert [structural_hash(proposal.mod) for proposal in first] == [
        structural_hash(replay_trace(MOD, text).mod) for text in texts[:2]
    ]
    assert source.propose(2) == []


def test_what_does_not_fit_is_told_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    fits, other = split(MOD, 4), split(kernel_module(convolution(8, 16, 8, 16), TARGET), 4)
    with caplog.at_level(logging.WARNING):
        assert [found.schedule for found in Told(MOD, ["[]", other, fits]).propose(1)] == [fits]
    assert [record.message.partition(": ")[0] for record in caplog.records] == [
        "a schedule that others tell is left out"
    ] * 2
