"""Default schedules of what others compute beside convolutions: right, in vectors, in parallel."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from cost_models.lowering.pipeline import compile_lowered, kernels, lower
from cost_models.schedules.default import schedule_default
from cost_models.schedules.matmul_template import choose_matmul_tile, find_matmul
from cost_models.schedules.tile_model import Cpu
from cost_models.tvm_import import relax, tvm

from ..operator_cases import CASES, Case, product, random, whole_model
from ..two_runtimes import run_onnx

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2, "mcpu": tvm.target.codegen.llvm_get_system_cpu()})
ANY = tvm.target.Target({"kind": "llvm", "num-cores": 2})  # four lanes, sixteen registers


@cache
def results(target: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of TVM and of onnxruntime, by case."""
    model = whole_model(CASES)
    given = {
        value.name: random(*(side.dim_value for side in value.type.tensor_type.shape.dim))
        for value in model.graph.input
    }
    compiled = compile_lowered(lower(model, target), target, {})
    machine = relax.VirtualMachine(compiled.executable, tvm.cpu())
    found = machine["main"](*map(tvm.runtime.tensor, given.values()))
    made = {name: value.numpy() for name, value in zip(CASES, found, strict=True)}
    return made, dict(zip(CASES, run_onnx(model, given), strict=True))


@pytest.mark.parametrize("target", [TARGET, ANY], ids=["here", "any"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_as_onnxruntime(name: str, target: Any) -> None:
    found, wanted = (values[name] for values in results(target))
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("name", CASES)
def test_each_has_the_schedule_that_is_meant_for_it(name: str) -> None:
    lowered = lower(whole_model({name: CASES[name]}), TARGET)
    scheduled = [
        str(schedule_default(kernel.mod, TARGET))
        for key, kernel in kernels(lowered).items()
        if CASES[name].kernel in key
    ]
    assert scheduled
    for text in scheduled:
        assert "T.parallel" in text
    blocks = {block.split('"')[0] for text in scheduled for block in text.split('T.sblock("')}
    for wanted in CASES[name].blocks:
        assert any(wanted in block for block in blocks), wanted


def product_of(case: Case, target: Any) -> Any:
    (kernel,) = kernels(lower(whole_model({"c": case}), target)).values()
    return find_matmul(kernel.mod)


def test_register_tiles_fit_in_registers() -> None:
    for registers, lanes in ((16, 4), (16, 8), (32, 16)):
        cpu = Cpu(lanes=lanes, registers=registers, cores=2)
        for case in (CASES["square"], CASES["ragged"], CASES["one row"], product((1000, 77), (77, 1000))):
            tile = choose_matmul_tile(product_of(case, TARGET), cpu)
            assert (tile.rows + 1) * tile.vectors < registers
    large = choose_matmul_tile(product_of(product((1000, 77), (77, 1000)), TARGET), cpu)
    assert large.rows * large.vectors >= 16  # sums in flight, so that loads do not count
    assert not large.direct


def test_every_core_gets_products_to_do() -> None:
    cpu = Cpu(lanes=16, registers=32, cores=8)
    many = choose_matmul_tile(product_of(product((512, 16), (16, 32)), TARGET), cpu)
    assert many.rows * many.down * 4 * cpu.cores <= 512 + 4 * cpu.cores * many.rows
