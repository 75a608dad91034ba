"""Devices that are tables of others: listed apart, and nobody reaches them."""

import pytest

from targets import (
    OnlyATable,
    PublishedDevice,
    Target,
    UnknownTarget,
    list_published,
    list_targets,
    load_device,
    load_target,
)

NAME = "gtx-1080-ti-tensorrt"


def test_they_are_listed_apart() -> None:
    assert list_published() == (NAME,)
    assert NAME not in list_targets()


def test_one_is_loaded_for_its_latencies_alone() -> None:
    device = load_device(NAME)
    assert isinstance(device, PublishedDevice)
    assert device.kind == "table"
    assert device.licence.startswith("MIT, ")
    assert "478b026" in device.origin
    assert isinstance(load_device("local-cpu"), Target)
    with pytest.raises(OnlyATable, match=rf"^target {NAME}: nobody here can reach it, .* predict, networks"):
        load_target(NAME)
    assert OnlyATable.exit_code == 2


def test_a_near_miss_names_it() -> None:
    with pytest.raises(UnknownTarget, match=rf"did you mean {NAME}\?; allowed: .*, {NAME}, a variant of one"):
        load_device(f"{NAME}t")
    with pytest.raises(UnknownTarget) as told:
        load_target(f"{NAME}t")
    assert "did you mean" not in str(told.value)
