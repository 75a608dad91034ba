"""A PyTorch module as an ONNX file."""

import logging
import warnings
from pathlib import Path
from typing import Any

from squeezenas_tvm.errors import UsageError
from targets.support.text import brief

OPSET = 18


def export_module(module: Any, example: Any, path: Path) -> None:
    """Write a module, or what ``torch.export`` made of one, in evaluation mode.

    PyTorch's exporter by tracing is used: the other one needs a package more. What the module decides by
    values is decided as for ``example``, and PyTorch warns of it. What was exported before stays in its mode.

    Args:
        example: a tensor, or a tuple of them, of the shapes that are deployed.

    Raises UsageError where PyTorch cannot export it.
    """
    import torch

    network = module.module() if isinstance(module, torch.export.ExportedProgram) else module
    if not isinstance(network, torch.nn.Module):
        raise UsageError(
            f"network is a {type(module).__name__}; allowed: a torch.nn.Module, what torch.export made of "
            "one, or the path of an ONNX file"
        )
    arguments = example if isinstance(example, tuple) else (example,)
    if not all(isinstance(value, torch.Tensor) for value in arguments):
        raise UsageError("example_input: allowed: a tensor, or a tuple of them, of the shapes to deploy")
    training = network.training
    if network is module:
        network.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            kept = torch.onnx.TrainingMode.PRESERVE  # what torch.export made cannot change it
            torch.onnx.export(network, arguments, str(path), opset_version=OPSET, dynamo=False, training=kept)
    except Exception as error:  # of many types, from the module itself too
        raise UsageError(f"{type(network).__name__}: PyTorch cannot export it: {brief(error)}") from error
    finally:
        if network is module:
            network.train(training)
    logging.getLogger(__name__).info("%s: exported to ONNX, opset %d", type(network).__name__, OPSET)
