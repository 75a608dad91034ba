"""ONNX's own test cases of every operation: the shapes that they expect, or a refusal."""

import warnings
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from cost_models.errors import InvalidGraph
from cost_models.onnx_io.model_file import without_weights
from cost_models.onnx_io.reader import Steps, steps

ONNX_IS_WRONG = ("test_stft", "test_stft_with_window")  # its inference, of the halves of real spectra
EMPTY = ("test_triu_zero",)  # sides of 0 are open sides in a file
TAKEN = 0.85  # the others are quantised, recurrent, of other makers, or as large as their values say


def with_sizes(case: Any) -> ModelProto:
    """A case whose whole numbers are constants, as in networks: they are sizes and axes."""
    made = ModelProto()
    made.CopyFrom(case.model)
    given, values = list(made.graph.input), case.data_sets[0][0]
    del made.graph.input[:]
    for value, array in zip(given, values, strict=False):
        is_size = isinstance(array, np.ndarray) and array.dtype.kind in "iub" and array.ndim <= 1
        if is_size or value.name in ("scales", "roi"):
            made.graph.initializer.append(numpy_helper.from_array(array, value.name))
        else:
            made.graph.input.append(value)
    return made


def read(made: ModelProto) -> Steps | None:
    try:
        return steps(without_weights(made, "net.onnx"), None, "net.onnx")
    except InvalidGraph:
        return None


@pytest.mark.slow
def test_shapes_are_those_that_onnx_expects() -> None:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [case for case in collect_testcases("") if case.data_sets]
    refused = 0
    for case in cases:
        found = read(with_sizes(case))
        refused += found is None
        if found is None or case.name in (*ONNX_IS_WRONG, *EMPTY):
            continue
        for value, expected in zip(case.model.graph.output, case.data_sets[0][1], strict=False):
            if isinstance(expected, np.ndarray) and value.name in found.shapes:
                assert found.shapes[value.name] == expected.shape, case.name
    assert refused < (1 - TAKEN) * len(cases)
