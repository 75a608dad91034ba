"""What the cells and the pieces around them are: channels, sizes, numbers, and how TVM cuts them."""

import pytest

from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.fasterseg.spaces import FASTERSEG
from search.spaces.space import Head, Part

from ....cost_models.ir.test_fusion import differences
from ....cost_models.two_runtimes import difference
from ..heads import bare_head

TEACHER, STUDENT = FASTERSEG
HEAD = segmentation_head(5)


def kinds_of_part(size: Resolution, head: Head = HEAD) -> list[Part]:
    """One of each operation, going down or not, at each scale; of the decoder, and what is always there."""
    kinds: dict[object, Part] = {}
    for part in STUDENT.parts(size, head):
        shape = {name: value[2:] for name, value in part.inputs.items()}
        ops = tuple((type(node.op), getattr(node.op, "stride", 0)) for node in part.graph.nodes)
        kinds.setdefault((ops, *shape.values(), part.slot.startswith("decoder")), part)
    return list(kinds.values())


@pytest.mark.parametrize("size", ["64x128", "65x97"])
def test_parts_are_cut_as_tvm_fuses_them(size: str) -> None:
    parts = kinds_of_part(Resolution.parse(size))
    assert len(parts) == 3 * 4 + 2 * 5 + 3 - 1 + 3  # both merges to the first scale are alike
    assert differences(parts) == []


@pytest.mark.parametrize("size", ["64x128", "65x97"])
def test_the_runtimes_agree_on_every_kind_of_part(size: str) -> None:
    parts = kinds_of_part(Resolution.parse(size), bare_head(5))
    errors = {part.name: difference(part.graph, part.inputs) for part in parts}
    assert {name: error for name, error in errors.items() if error > 1e-5} == {}
