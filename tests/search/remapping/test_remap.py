"""Whole networks and supernets with a donor's weights."""

import numpy as np
import pytest
import torch

from search.architecture import Architecture
from search.remapping.classes import ClassMatch, match_classes
from search.remapping.donor import Donor
from search.remapping.plan import Plan, plan_network, plan_supernet
from search.remapping.remap import remap
from search.remapping.table import TAKEN, rows
from search.spaces.chain import ChainSpace
from search.supernet import Supernet

from .donors import chain, donor, network, outputs, picture

DONOR = ("k3e1", "k3e3", "skip", "skip", "k5e3", "k3e1g2", "k3e3d2", "k5e1")
WIDE = ("k5e3", "k5e6", "skip", "skip", "k5e6", "k5e1", "k5e3", "k5e3")


def match(given: Architecture, wanted: Architecture) -> ClassMatch:
    own, other = ([entry.name for entry in one.labels] for one in (given, wanted))
    return match_classes(own, other)


def planned(given: Donor, wanted: Architecture) -> Plan:
    space = wanted.search_space
    assert isinstance(space, ChainSpace)
    return plan_network(given, space, wanted.genotype, match(given.architecture, wanted))


def both(given: Donor, wanted: Architecture) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of the donor, and of the network with its weights."""
    x = picture()
    before = outputs(given.architecture.network(), given.tensors, x)
    return before, outputs(wanted.network(), remap(planned(given, wanted), given.tensors), x)


def test_the_donor_itself_is_the_donor() -> None:
    given = donor(network(DONOR))
    found = remap(planned(given, given.architecture), given.tensors)
    np.testing.assert_equal(found, given.tensors)
    assert {row.what for row in rows(planned(given, given.architecture)) if row.block[:4] != "skip"} == {
        TAKEN
    }


@pytest.mark.parametrize("space", ["short", "short-wide"])
@pytest.mark.parametrize("blocks", [DONOR, WIDE])
def test_a_wider_network_gives_the_donors_outputs(space: str, blocks: tuple[str, ...]) -> None:
    """The donor's strided skip at position 2 is a skip there too; that between equal channels elsewhere."""
    before, after = both(donor(network(DONOR)), network(blocks, space))
    np.testing.assert_allclose(after, before, atol=1e-5 * max(1.0, float(np.abs(before).max())))


def test_blocks_that_the_donor_has_not_change_nothing_at_first() -> None:
    more = ("k3e1", "k5e3", "k3e6", "k5e3", "k5e3", "k3e1", "k3e3d2", "k5e6")
    given = donor(network(DONOR))
    before, after = both(given, network(more))
    np.testing.assert_allclose(after, before, atol=1e-4)
    plan = planned(given, network(more))
    assert [block.how for block in plan.blocks if block.index in (2, 3)] == ["taken", "closed"]
    closed = remap(plan, given.tensors)["blocks.3.project.bn.weight"]
    assert not closed.any()


def test_a_last_convolution_is_put_before_a_decoder_that_had_none() -> None:
    before, after = both(donor(network(DONOR, "short-plain")), network(DONOR))
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_one_is_multiplied_into_a_decoder_that_has_none() -> None:
    """Exact were there no ReLU: where all is above zero."""
    given = donor(network(DONOR))
    given.tensors["head.bn.bias"] += 1000
    before, after = both(given, network(DONOR, "short-plain"))
    np.testing.assert_allclose(after, before, rtol=1e-2, atol=1e-2)


def test_a_narrower_network_keeps_the_channels_that_matter() -> None:
    """A wide donor all of whose channels beyond the narrow ones are idle."""
    narrow = donor(network(DONOR))
    wide = network(DONOR, "short-wide")
    found = remap(planned(narrow, wide), narrow.tensors)
    given = Donor(wide, found, narrow.path)
    plan = planned(given, narrow.architecture)
    after = remap(plan, given.tensors)
    assert {name: values.shape for name, values in after.items()} == {
        name: values.shape for name, values in narrow.tensors.items()
    }
    assert all(np.isfinite(values).all() for values in after.values())
    changes = {row.part: row.changes for row in rows(plan)}
    assert changes["blocks.1"] == "inputs 16→8, hidden 48→24, outputs 16→8"
    assert changes["decoder"] == "middle 24→16"


def test_channels_of_a_stream_are_the_same_ones_for_all_its_blocks() -> None:
    """The donor's last four of eight channels are nobody's: what is left computes the same."""
    given = donor(network(DONOR, "short-wide"))
    idle = [8, 9, 10, 11, 12, 13, 14, 15]
    kept = [0, 1, 2, 3, 8, 9, 10, 11]  # halves stay halves
    idle = sorted(set(range(16)) - set(kept))
    for name in ("blocks.0.project.bn", "blocks.1.project.bn"):
        for part in ("weight", "bias"):
            given.tensors[f"{name}.{part}"][idle] = 0
    plan = planned(given, network(DONOR))
    found = remap(plan, given.tensors)
    rows_kept = given.tensors["blocks.0.project.bn.weight"][kept]
    np.testing.assert_array_equal(found["blocks.0.project.bn.weight"], rows_kept)
    np.testing.assert_array_equal(
        found["blocks.1.project.bn.weight"], given.tensors["blocks.1.project.bn.weight"][kept]
    )


def test_classes_are_rows_by_name_and_the_mean_for_new_ones() -> None:
    given = donor(network(DONOR))
    wanted = network(
        DONOR, classes=[{"name": name, "color": [i, 0, 0]} for i, name in enumerate(("sea", "car", "tree"))]
    )
    found = remap(planned(given, wanted), given.tensors)
    for name in ("decoder.classify_high.weight", "decoder.classify_low.bias"):
        old = given.tensors[name]
        expected = np.stack([old.mean(0), old[13], old[8]])
        np.testing.assert_allclose(found[name], expected, rtol=1e-6)


def test_a_classifier_without_a_common_class_begins_anew() -> None:
    given = donor(network(DONOR))
    wanted = network(
        DONOR, classes=[{"name": name, "color": [i, 0, 0]} for i, name in enumerate(("sea", "sand"))]
    )
    found = remap(planned(given, wanted), given.tensors)
    missing = wanted.network().parameters().keys() - found.keys()
    assert missing == {
        f"decoder.classify_{map_}.{kind}" for map_ in ("high", "low") for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("form", ["plain", "fused"])
def test_every_path_of_a_supernet_that_loses_nothing_is_the_donor(form: str) -> None:
    given = donor(network(DONOR))
    space = chain()
    plan = plan_supernet(given, space, match(given.architecture, given.architecture))
    supernet = Supernet(space, 19, form=form)  # type: ignore[arg-type]
    tensors = {name: torch.from_numpy(values) for name, values in remap(plan, given.tensors).items()}
    assert not supernet.load_state_dict(tensors, strict=False).unexpected_keys
    x = picture()
    before = outputs(given.architecture.network(), given.tensors, x)
    for blocks in (DONOR, WIDE, ("k3e6", "k5e3", "k3e3", "k5e6", "k5e6", "k5e3", "k3e6d2", "k5e3")):
        state = {
            name: values.numpy()
            for name, values in supernet.extract(blocks).items()
            if not name.endswith("num_batches_tracked")
        }
        after = outputs(network(blocks).network(), state, x)
        np.testing.assert_allclose(after, before, atol=1e-4, err_msg=str(blocks))


def test_all_of_another_kind_is_filled_and_finite() -> None:
    """From each of the spaces into each of them: nothing is misshapen, nothing but what is new is missing."""
    from search.architecture import load_architecture

    names = ["squeezenas-lat-small", "squeezenas-mac-large", "squeezenas-lat-xlarge"]
    for one in names:
        given = donor(load_architecture(one))
        for other in names:
            wanted = load_architecture(other)
            found = remap(planned(given, wanted), given.tensors)
            graph = wanted.network()
            shapes = graph.parameters() | graph.buffers()
            assert {name: values.shape for name, values in found.items()} == {
                name: tuple(shapes[name]) for name in found
            }
            assert all(np.isfinite(values).all() for values in found.values()), (one, other)
