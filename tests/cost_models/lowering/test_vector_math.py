"""Exponential and error function, as right as float32 can say."""

import math
from typing import Any

import numpy as np
import pytest

from cost_models.lowering.vector_math import erf_value, exp_value
from cost_models.tvm_import import tvm

te = tvm.te
VALUES = np.concatenate(
    [
        np.linspace(-100, 100, 40001),
        np.linspace(-4.5, 4.5, 20001),
        [-0.0, 1e-20, -1e-38, 88.72283, 88.7229, -87.33654, 3.4e38, -3.4e38, math.inf, -math.inf, math.nan],
    ]
).astype("float32")


@pytest.fixture(scope="module")
def found() -> tuple[Any, Any]:
    x = te.placeholder(VALUES.shape, name="x")
    exp = te.compute(x.shape, lambda i: exp_value(x(i)), name="exp")
    erf = te.compute(x.shape, lambda i: erf_value(x(i)), name="erf")
    mod = tvm.IRModule({"main": te.create_prim_func([x, exp, erf]).with_attr("global_symbol", "main")})
    target = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()})
    tensors = [
        tvm.runtime.tensor(values) for values in (VALUES, np.zeros_like(VALUES), np.zeros_like(VALUES))
    ]
    tvm.compile(mod, target)["main"](*tensors)
    return tensors[1].numpy().astype("float64"), tensors[2].numpy().astype("float64")


def test_exponential(found: tuple[Any, Any]) -> None:
    with np.errstate(over="ignore", under="ignore"):
        wanted = np.exp(VALUES.astype("float64")).astype("float32").astype("float64")
    normal = (wanted >= np.finfo("float32").tiny) & np.isfinite(wanted)
    off = np.abs(found[0] - wanted)[normal] / wanted[normal]
    assert off.max() < 5e-7  # four units in the last place
    others = ~normal & ~np.isnan(wanted)
    np.testing.assert_allclose(found[0][others], wanted[others], atol=1.2e-38)
    assert np.isnan(found[0][np.isnan(VALUES)]).all()
    assert found[0][VALUES == 0].tolist() == [1] * int((VALUES == 0).sum())


def test_error_function(found: tuple[Any, Any]) -> None:
    wanted = np.array([math.erf(x) for x in VALUES.astype("float64")])
    numbers = np.isfinite(wanted) & (wanted != 0)
    off = np.abs(found[1] - wanted)[numbers] / np.abs(wanted[numbers])
    assert off.max() < 5e-7
    assert np.abs(found[1]).max() <= 1.0000002  # a unit in the last place
