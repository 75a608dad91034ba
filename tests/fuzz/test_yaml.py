"""Files that people write: whatever is in them, they are read or refused in one line."""

import json
from importlib import resources
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from search.architecture import load_architecture
from search.data.dataset_file import load_dataset_file
from search.errors import SearchError
from search.spaces.encoders import get_encoder
from search.strategies.registry import STRATEGIES
from search.training.recipe import load_recipe
from targets import TargetError, load_target

from .mutations import bytes_like, documents, fuzz, is_one_line

pytestmark = pytest.mark.slow
DATASET = """\
schema_version: 1
name: mine
classes: [{name: road, color: [1, 2, 3]}, {name: car, color: [4, 5, 6]}]
labels: index
values: {0: road, 7: car}
ignore: [255]
splits: {train: {images: images, labels: labels}, val: {list: val.txt}}
"""
FILES = {
    "target": ("targets", "jetson-orin.yaml"),
    "architecture": ("search", "architectures/squeezenas-lat-small.yaml"),
    "decoder": ("search", "architectures/fastdense-arch0.yaml"),
    "encoder": ("search", "architectures/squeezenas-mac-small.yaml"),
    "training": ("search", "recipes/camvid.yaml"),
    "gumbel": ("search.strategies.gumbel", "recipes/small.yaml"),
    "random": ("search.strategies.sampling", "recipes/random-small.yaml"),
    "evolution": ("search.strategies.sampling", "recipes/evolution-small.yaml"),
}
SOUND = {
    **{
        kind: resources.files(package).joinpath(path).read_text("utf-8")
        for kind, (package, path) in FILES.items()
    },
    "data": DATASET,
}


def read(kind: str, path: Path) -> None:
    """As the commands do."""
    if kind == "target":
        load_target(path)
    elif kind in ("architecture", "decoder"):
        load_architecture(path)
    elif kind == "encoder":
        get_encoder(str(path))
    elif kind == "training":
        load_recipe(path)
    elif kind == "data":
        load_dataset_file(path.parent)
    else:
        STRATEGIES[kind].load_recipe(path, {})


def check(kind: str, content: bytes, folder: Path) -> None:
    path = folder / "dataset.yaml"
    path.write_bytes(content)
    try:
        read(kind, path)
    except (SearchError, TargetError) as error:
        is_one_line(error, path)


@pytest.mark.parametrize("kind", SOUND)
def test_values(kind: str, tmp_path: Path) -> None:
    sound = json.loads(json.dumps(yaml.safe_load(SOUND[kind])))

    @fuzz(150)
    @given(documents(sound))
    def run(document: object) -> None:
        check(kind, yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"), tmp_path)

    run()


@pytest.mark.parametrize("kind", SOUND)
def test_text(kind: str, tmp_path: Path) -> None:
    odd = [
        "!!int x",
        "&a [*a]",
        "[" * 999,
        "9" * 5000,
        "!!timestamp x",
        "2020-13-45",
        "<<: 1",
        "? [1]",
        "1e999",
    ]

    @fuzz(250)
    @given(bytes_like(SOUND[kind].encode()), st.sampled_from(["", *odd]), st.integers(0, 2000))
    def run(content: bytes, piece: str, place: int) -> None:
        check(kind, content[:place] + piece.encode() + content[place:], tmp_path)

    run()
