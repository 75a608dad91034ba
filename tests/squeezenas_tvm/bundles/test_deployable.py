"""What a deployed network's ONNX file says of itself to a viewer."""

from pathlib import Path

import pytest

from search.architecture import load_architecture
from search.resolution import Resolution
from squeezenas_tvm.about import __version__
from squeezenas_tvm.bundles.deployable import of_architecture


@pytest.mark.parametrize("name", ["squeezenas-lat-small", "fasterseg-student"])
def test_a_viewer_shows_what_it_is_and_whose_part_each_node_is(name: str, tmp_path: Path) -> None:
    architecture = load_architecture(name)
    model = of_architecture(architecture, Resolution(64, 128), None, "float32", tmp_path).model
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["architecture"] == name
    assert (told["space"], told["task"]) == (architecture.space, "segmentation")
    assert told["made_by"] == f"squeezenas-tvm {__version__}"
    assert told["outputs"].startswith("road, sidewalk, building")
    assert all(option in told["chosen"] for option in architecture.genotype.values())
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert [node.output[0] for node in model.graph.node] == names
    if architecture.blocks:
        parts = {tuple(name.split(".")[:2]) for name in names if name.startswith("blocks.")}
        kept = [place for place, block in enumerate(architecture.blocks) if block != "skip"]
        assert parts >= {("blocks", str(place)) for place in kept}
