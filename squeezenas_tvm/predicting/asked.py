"""What a command is asked about: architectures and ONNX files, by what people call them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cost_models.cost_model import CostModel
from cost_models.ir.op import Shape
from cost_models.lookup import cost_model
from search.architecture import load_architecture
from search.resolution import Resolution
from squeezenas_tvm.bundles.network_files import is_onnx, refuse_other_formats, shapes_of
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.predicting.predict import Network, network_of, read_network
from targets import PublishedDevice


def asked_networks(
    names: Sequence[str], resolution: Resolution | None, shapes: Mapping[str, Shape]
) -> list[Network]:
    """Architectures, by name or YAML file, and ONNX files.

    Args:
        resolution: of the image; of an ONNX file its own when None.
        shapes: of inputs by name, where ONNX files leave them open.

    Raises:
        UsageError: a file of another format, or a shape of an input that no file has.
        InvalidGraph, SearchError: no such network, or one that latencies cannot be told for.
    """
    for name in names:
        refuse_other_formats(name)
    own = shapes_of([Path(name) for name in names if is_onnx(name)], shapes)
    networks = [
        read_network(Path(name), resolution, own[Path(name)])
        if is_onnx(name)
        else network_of(load_architecture(name), resolution and resolution.checked())
        for name in names
    ]
    return told_apart(names, networks)


def asked_of_published(
    names: Sequence[str], device: PublishedDevice, resolution: Resolution | None, table: Path | None
) -> tuple[list[Network], CostModel]:
    """Architectures, and the table that others measured, which knows no ONNX files.

    Raises:
        UsageError: a file that is no architecture.
        SearchError, CostModelError: no such network, or no such table.
    """
    for name in names:
        refuse_other_formats(name)
        if is_onnx(name):
            raise UsageError(f"{name}: {device.name} is a table of operations; allowed: architectures")
    model = cost_model(device, table)
    size = resolution and resolution.checked()
    networks = [network_of(load_architecture(name), size, model) for name in names]
    return told_apart(names, networks), model


def told_apart(given: Sequence[str], networks: Sequence[Network]) -> list[Network]:
    """Networks that are called alike, as each search calls its own ``chosen``, by what was given for them."""
    times = Counter(network.name for network in networks)
    return [
        replace(network, name=name) if times[network.name] > 1 else network
        for name, network in zip(given, networks, strict=True)
    ]
