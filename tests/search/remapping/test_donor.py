"""Whose weights a file holds, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cost_models.ir.weights import random_weights
from search.architecture import Architecture, dump_architecture, load_architecture
from search.data.classes import CLASSES, unnamed
from search.errors import InvalidWeights, SearchError
from search.networks.names import published_keys
from search.networks.weights import save_weights
from search.remapping.begin import begin_network, begin_supernet
from search.remapping.donor import find_donor
from search.spaces.chain import ChainSpace
from search.spaces.registry import get_space

LAT, MAC = load_architecture("squeezenas-lat-small"), load_architecture("squeezenas-mac-small")
OWN = Architecture(space="squeezenas-small", blocks=["k3e3", "skip", "skip", "skip"] * 5, name="own")


def saved(folder: Path, architecture: Architecture, name: str = "w.safetensors") -> Path:
    save_weights(folder / name, random_weights(architecture.network()))
    return folder / name


def refusal(init: str | Path, architecture: Architecture = OWN, **more: bool) -> str:
    with pytest.raises(SearchError) as caught:
        begin_network(architecture, init, **more)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_published_weights_are_known_by_their_tensors(tmp_path: Path) -> None:
    for name in ("squeezenas-mac-small", "squeezenas-mac-large", "squeezenas-lat-small"):
        architecture = load_architecture(name)
        weights = random_weights(architecture.network())
        keys = published_keys(architecture)
        state = {theirs: torch.from_numpy(weights[ours]) for theirs, ours in keys.items()}
        torch.save({f"module.{key}": values for key, values in state.items()}, tmp_path / "w.pth")
        found = find_donor(tmp_path / "w.pth")
        assert found.architecture.name == name
        np.testing.assert_equal(found.tensors, weights)


@pytest.mark.parametrize("name", ["lat_small", "mac_small", "mac_large"])
def test_the_published_files_are_known(shared_data: Path, name: str) -> None:
    found = find_donor(shared_data / "squeezenas" / f"{name}.pth", OWN)
    assert found.architecture.name == f"squeezenas-{name.replace('_', '-')}"
    assert found.architecture.known_classes == "cityscapes"


def test_a_training_says_itself_what_its_weights_are_of(tmp_path: Path) -> None:
    camvid = OWN.for_classes(CLASSES["camvid"]).model_copy(update={"weights": "best.safetensors"})
    saved(tmp_path, camvid, "best.safetensors")
    (tmp_path / "architecture.yaml").write_text(dump_architecture(camvid), encoding="utf-8")
    for init in ("best.safetensors", "architecture.yaml"):
        found = find_donor(tmp_path / init)
        assert found.architecture.genotype == OWN.genotype
        assert found.architecture.known_classes == "camvid"


def test_an_architecture_file_beside_that_is_another_ones_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "architecture.yaml").write_text(dump_architecture(OWN), encoding="utf-8")
    assert find_donor(saved(tmp_path, LAT)).architecture.name == LAT.name
    (tmp_path / "architecture.yaml").write_text("space: none", encoding="utf-8")
    assert find_donor(saved(tmp_path, LAT)).architecture.name == LAT.name


def test_the_network_itself_with_other_classes_and_without_a_head(tmp_path: Path) -> None:
    other = find_donor(saved(tmp_path, OWN.for_classes(unnamed(7))), OWN)
    assert (other.architecture.genotype, len(other.architecture.labels)) == (OWN.genotype, 7)
    weights = random_weights(OWN.network())
    encoder = {name: values for name, values in weights.items() if not name.startswith("decoder.")}
    save_weights(tmp_path / "encoder.safetensors", encoder)
    found = find_donor(tmp_path / "encoder.safetensors", OWN)
    assert found.headless
    np.testing.assert_equal(found.tensors, encoder)
    begun = begin_network(LAT, f"{_file(tmp_path, OWN)}={tmp_path / 'encoder.safetensors'}")
    assert "head.conv.weight" in begun.tensors
    assert not any(name.startswith("decoder.") for name in begun.tensors)


def test_the_network_itself_for_another_task(tmp_path: Path) -> None:
    """Its encoder is taken, and of the decoder all but what tells classes apart."""
    begun = begin_network(OWN.model_copy(update={"task": "depth"}), saved(tmp_path, OWN))
    assert begun.plan.classes.names == ("metres",)
    missing = OWN.network().parameters().keys() - begun.tensors.keys()
    assert {name.rpartition(".")[0] for name in missing} == {"decoder.classify_high", "decoder.classify_low"}


def _file(folder: Path, architecture: Architecture) -> Path:
    path = folder / "own.yaml"
    path.write_text(dump_architecture(architecture), encoding="utf-8")
    return path


def test_a_donor_that_nobody_knows_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, OWN)
    message = refusal(path, LAT)
    assert message.startswith(f"{path}: fits no network that is known; tried squeezenas-lat-small itself, ")
    assert "squeezenas-mac-large, " in message
    assert message.endswith(
        "name the architecture that it is of: --init ARCH=FILE, where ARCH is a name or a .yaml file"
    )
    begun = begin_network(LAT, f"{_file(tmp_path, OWN)}={path}")
    assert begun.plan.donor.name == "own"
    assert "does not fit squeezenas-mac-small: weights of another network" in refusal(
        f"squeezenas-mac-small={path}"
    )


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ("nowhere.pth", "nowhere.pth: no such file of weights"),
        ("squeezenas-lat-small=nowhere.pth", "nowhere.pth: no such file of weights"),
        ("squeezenas-lat-smal=w.pth", "did you mean squeezenas-lat-small?"),
        ("=w.pth", "--init =w.pth: allowed: FILE, or ARCH=FILE with both"),
        ("squeezenas-lat-small=", "allowed: FILE, or ARCH=FILE with both"),
    ],
)
def test_what_is_named_is_there(init: str, said: str) -> None:
    assert said in refusal(init)


def test_an_architecture_without_weights_is_none(tmp_path: Path) -> None:
    assert "own.yaml names no weights (weights:)" in refusal(_file(tmp_path, OWN))


@pytest.mark.parametrize("name", ["mobilenetv3-small-seg", "fasterseg-student", "fastdense-arch0"])
def test_weights_of_another_family(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, load_architecture(name))
    message = refusal(path)
    assert message.startswith(f"{path} is of {name} (space ")
    assert "another family than squeezenas-small" in message
    assert "allowed: weights of networks of squeezenas-small, squeezenas-large, squeezenas-xlarge" in message


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    weights = {name: torch.from_numpy(values) for name, values in random_weights(LAT.network()).items()}
    weights["blocks.4.project.bn.weight"][3] = float("nan")
    torch.save(weights, tmp_path / "w.pth")
    assert re.search(r"w\.pth: .*blocks\.4\.project\.bn\.weight", refusal(tmp_path / "w.pth"))


def test_values_that_become_none_on_the_way(tmp_path: Path) -> None:
    """Of those in the file each is finite; a skip that projects, as a block, needs their squares."""
    blocks = ["skip" if place == 4 else block for place, block in enumerate(OWN.blocks or ())]
    given = OWN.model_copy(update={"blocks": blocks, "name": "given"})
    weights = random_weights(given.network())
    weights["blocks.0.project.bn.weight"][:] = 1e30
    save_weights(tmp_path / "w.safetensors", weights)
    message = refusal(f"{_file(tmp_path, given)}={tmp_path / 'w.safetensors'}")
    assert "its values are too large to be remapped: " in message


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 broken"])
def test_what_is_no_file_of_weights(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    assert refusal(tmp_path / "w.pth").startswith(f"{tmp_path / 'w.pth'}: not ")


def test_classes_that_have_nothing_in_common(tmp_path: Path) -> None:
    path = saved(tmp_path, LAT)
    entries = [{"name": name, "color": [place, 0, 0]} for place, name in enumerate(("weed", "crop", "soil"))]
    field = Architecture.model_validate({**OWN.model_dump(exclude={"classes"}), "classes": entries})
    assert refusal(path, field) == (
        f"{path}: none of its 19 classes (road, sidewalk, building, wall, fence, pole, ...) is one of the 3 "
        "wanted (weed, crop, soil); --new-head takes all but the classifier, which begins anew"
    )
    begun = begin_network(field, path, new_head=True)
    assert begun.plan.classes.found == 0
    assert "decoder.high.conv.weight" in begun.tensors
    assert not any("classify" in name for name in begun.tensors)


def test_classes_without_names_are_taken_in_their_order_or_not_at_all(tmp_path: Path) -> None:
    path = saved(tmp_path, LAT.for_classes(unnamed(11)))
    begun = begin_network(OWN.for_classes(CLASSES["camvid"]), f"squeezenas-lat-small={path}")
    assert begun.plan.classes.by_order
    assert begun.plan.classes.sources == tuple(range(11))
    path = saved(tmp_path, LAT.for_classes(unnamed(12)))
    assert begin_network(OWN.for_classes(CLASSES["cityscapes"]), path).plan.classes.found == 0


def test_two_networks_that_fit_alike_are_told_apart_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dilations leave no trace in the shapes of tensors."""
    twin = LAT.model_copy(update={"name": "twin", "blocks": [_dilated(block) for block in LAT.blocks or ()]})
    known: dict[str, Callable[[], Architecture]] = {LAT.name: lambda: LAT, "twin": lambda: twin}
    monkeypatch.setattr("search.remapping.donor.list_architectures", lambda: list(known))
    monkeypatch.setattr("search.remapping.donor.load_architecture", lambda name: known[name]())
    path = saved(tmp_path, LAT)
    assert refusal(path).startswith(f"{path}: fits {LAT.name} and twin alike; say which: --init {LAT.name}=")
    assert find_donor(f"twin={path}").architecture.name == "twin"


def _dilated(block: str) -> str:
    return f"{block}d2" if block == "k3e6" else block


def test_a_supernet_refuses_the_same(tmp_path: Path) -> None:
    space = get_space("small")
    assert isinstance(space, ChainSpace)
    with pytest.raises(InvalidWeights, match="another family"):
        begin_supernet(space, "segmentation", ["a"], saved(tmp_path, load_architecture("fasterseg-student")))
    with pytest.raises(InvalidWeights, match="none of its 19 classes"):
        begin_supernet(space, "segmentation", ["weed", "crop"], saved(tmp_path, LAT))
