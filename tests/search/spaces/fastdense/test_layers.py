"""What decoders are made of: how TVM cuts it, and whether PyTorch, ONNX and TVM agree on it."""

import pytest

from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.encoders import get_encoder
from search.spaces.fastdense.operations import OPERATIONS, parsed
from search.spaces.fastdense.space import FastdenseSpace, Form
from search.spaces.fastdense.templates import TemplatesSpace
from search.spaces.space import Part, SearchSpace

from ....cost_models.ir.test_fusion import differences
from ....cost_models.two_runtimes import difference

ENCODER = get_encoder("mobilenetv2").first(2)
SPACES: dict[str, SearchSpace] = {
    "cells": FastdenseSpace(name="few", summary="few channels", encoder=ENCODER, form=Form(8, 2), blocks=2),
    "templates": TemplatesSpace(
        name="few",
        summary="few layers",
        encoder=ENCODER,
        form=Form(8, 1),
        templates=1,
        layers=2,
        strided=1,
        most_repeats=1,
    ),
}


def kinds_of_part(space: SearchSpace, size: Resolution) -> list[Part]:
    """One of each operation, and of everything that brings maps together."""
    kinds: dict[object, Part] = {}
    for part in space.parts(size, segmentation_head(5)):
        if part.name.startswith("decoder"):
            many = tuple(shape[2:] for shape in part.inputs.values()) if len(part.inputs) > 1 else ()
            changes = [
                getattr(node.op, name, 0) for node in part.graph.nodes for name in ("dilation", "stride")
            ]
            ops = tuple((node.name, type(node.op)) for node in part.graph.nodes)
            kinds.setdefault((ops, *changes, bool(many) and len(set(many[:2]))), part)
    return list(kinds.values())


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("cells", "65x97"),
        ("templates", "65x97"),
        *(pytest.param(name, "64x128", marks=pytest.mark.slow) for name in SPACES),
    ],
)
def test_parts_are_cut_as_tvm_fuses_them(name: str, size: str) -> None:
    parts = kinds_of_part(SPACES[name], Resolution.parse(size))
    options = {part.option.split(" at ")[0] for part in parts}
    if name == "cells":
        assert options >= {"conv1x1", "conv3x3d12", "sep3x3", "sep5x5d6", "global_pool", "sum", "1/4 + 1/8"}
    else:
        assert {option.split(" ")[0] for option in options} >= {"max_pool3x3", "skip", "weighted", "concat"}
    assert differences(parts) == []


@pytest.mark.parametrize("size", ["64x128", "65x97"])
@pytest.mark.parametrize("name", SPACES)
def test_the_runtimes_agree_on_every_kind_of_part(name: str, size: str) -> None:
    parts = kinds_of_part(SPACES[name], Resolution.parse(size))
    errors = {part.name: difference(part.graph, part.inputs) for part in parts}
    assert {name: error for name, error in errors.items() if error > 1e-5} == {}


def test_operations_stand_at_the_authors_numbers() -> None:
    kinds = {name: parsed(name) for name in OPERATIONS[:9] if name != "global_pool"}
    assert list(kinds.values()) == [
        *(("conv", 1, 1), ("conv", 3, 1), ("sep", 3, 1), ("sep", 5, 1)),
        *(("conv", 3, 3), ("conv", 3, 12), ("sep", 3, 3), ("sep", 5, 6)),
    ]
    assert OPERATIONS[9:] == ("skip", "none")
