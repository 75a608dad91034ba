"""``--init`` with weights of another network, as a user types it."""

import csv
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from cost_models.ir.weights import random_weights
from search.architecture import Architecture, dump_architecture, load_architecture
from search.networks.weights import save_weights
from squeezenas_tvm import search, train

from .helpers import refused_by

OWN = Architecture(space="squeezenas-small", blocks=["k3e1", "skip", "skip", "skip"] * 5, name="own")
STAGE = {
    "kind": "segmentation",
    "name": "only",
    "epochs": 1,
    "batch_size": 2,
    "crop": [64, 64],
    "optimizer": {"learning_rate": 0.01},
    "schedule": {"kind": "poly"},
}
refused = partial(refused_by, train.main)


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """Arguments of a training of a step, without ``--init``."""
    (tmp_path / "own.yaml").write_text(dump_architecture(OWN), encoding="utf-8")
    document = {"schema_version": 1, "name": "tiny", "summary": "tiny", "stages": [STAGE]}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    options = ["--data", "synthetic:2:64x64", "--recipe", str(tmp_path / "tiny.yaml"), "--workers", "0"]
    return [str(tmp_path / "own.yaml"), *options, "--out", str(tmp_path / "out")]


def saved(path: Path, architecture: Architecture) -> str:
    save_weights(path, random_weights(architecture.network()))
    return str(path)


def test_a_training_begins_with_another_networks_weights_and_tells_which(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init = saved(tmp_path / "donor.safetensors", load_architecture("squeezenas-lat-small"))
    out = tmp_path / "out"
    out.mkdir()
    (out / "remapped.csv").write_text("mine")
    refused([*given, "--init", init], "remapped.csv: there already, and would be overwritten", capsys)
    (out / "remapped.csv").unlink()
    assert train.main([*given, "--init", init]) == 0
    said = capsys.readouterr().err.splitlines()
    rows = list(csv.DictReader((out / "remapped.csv").open(encoding="utf-8")))
    assert [row["part"] for row in rows[:3]] == ["stem", "blocks.0", "blocks.1"]
    assert (rows[5]["donor_block"], rows[5]["what"], rows[5]["changes"]) == (
        "k3e6",
        "cropped",
        "hidden 96→16",
    )
    (fifth,) = (line for line in said if line.startswith("blocks.4 "))
    assert "blocks.4 k3e6" in fifth
    assert fifth.endswith("cropped  hidden 96→16")
    assert any(
        line.startswith(f"{init}: weights of squeezenas-lat-small: of 20 blocks 1 taken, 4 cropped, 15 empty")
        for line in said
    )
    assert train.main([*given, "--resume"]) == 0


def test_the_same_weights_need_no_table(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init = saved(tmp_path / "same.safetensors", OWN)
    assert train.main([*given, "--init", init]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if " train " not in line]
    assert said == [
        f"{init}: weights of own: of 20 blocks 5 taken, 15 empty",
        f"{init}: 19 of 19 classes by name",
    ]


def test_what_fits_nothing_is_one_line(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = OWN.model_copy(update={"blocks": ["k5e6", "skip", "skip", "skip"] * 5, "name": "stranger"})
    unknown = saved(tmp_path / "unknown.safetensors", stranger)
    refused(
        [*given, "--init", unknown], "fits no network that is known; tried own itself, fastdense-", capsys
    )
    refused([*given, "--init", f"own.yam={unknown}"], "unknown architecture 'own.yam'", capsys)
    other = saved(tmp_path / "other.safetensors", load_architecture("mobilenetv3-small-seg"))
    refused([*given, "--init", other], "another family than squeezenas-small", capsys)
    weights = random_weights(OWN.network())
    weights["stem.conv.weight"][0] = float("inf")
    torch.save({name: torch.from_numpy(values) for name, values in weights.items()}, tmp_path / "w.pth")
    refused([*given, "--init", str(tmp_path / "w.pth")], "stem.conv.weight", capsys)
    assert not (tmp_path / "out" / "best.safetensors").exists()


def test_classes_of_which_the_data_have_none(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [{"name": name, "color": [place, 0, 0]} for place, name in enumerate(("weed", "crop"))]
    field = {**OWN.model_dump(exclude={"classes"}), "classes": entries, "weights": "best.safetensors"}
    folder = tmp_path / "field"
    folder.mkdir()
    donor = Architecture.model_validate(field)
    (folder / "architecture.yaml").write_text(dump_architecture(donor), encoding="utf-8")
    init = saved(folder / "best.safetensors", donor)
    refused([*given, "--init", init], "none of its 2 classes (weed, crop) is one of the 19 wanted", capsys)
    assert train.main([*given, "--init", init, "--new-head"]) == 0
    assert "begins anew" in capsys.readouterr().err


def test_a_search_refuses_the_same_and_strategies_that_take_no_weights_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = saved(tmp_path / "other.safetensors", load_architecture("fasterseg-student"))
    words = ["--target", "jetson-xavier", "--data", "synthetic:2:64x64", "--resolution", "64x128"]
    words += ["--out", str(tmp_path / "out"), "--init", other]
    check = partial(refused_by, search.main)
    check(words, "another family than squeezenas-small", capsys)
    check([*words, "--strategy", "gas", "--space", "gas"], "init", capsys)
    trained = ["--strategy", "random", "--recipe", "training"]
    check([*words, *trained], "another family than squeezenas-small", capsys)
