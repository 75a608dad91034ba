"""What every ``dataset.yaml`` says, whatever its frames are labelled with. No PyTorch."""

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from search.data.class_entry import MOST_CHARS
from search.data.classes import CLASSES
from search.data.files import LABEL_ENDINGS
from targets.support.strict_yaml import Section, Text

PLACE = "{name}"  # in a rule for labels: the image's name without its ending


def below(path: str) -> str:
    """A path that stays in the folder it is looked for in. Raises ValueError for others."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not path.isprintable():
        raise ValueError(f"found {path!r}; allowed: a path below the data set's folder, without ..")
    return path


def _is_free(name: str) -> str:
    if name in (*CLASSES, "synthetic", "nyudv2", "mpii"):
        raise ValueError(f"found {name!r}, which another data set is called; allowed: a name of its own")
    return name


Below = Annotated[Text, AfterValidator(below)]
SetName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=MOST_CHARS), AfterValidator(_is_free)
]


class Split(Section):
    """Frames, by folders or by a list.

    Attributes:
        images: folder of the images, or that in which a list's images are looked for.
        labels: folder of the labels, which are called as their images are; or a rule such as
            ``labels/{name}_mask.png``, where ``{name}`` is the image's name without its ending.
        list: a text file. With ``labels``, it names an image a line, with or without its ending; alone, an
            image and its labels.
    """

    images: Below | None = None
    labels: Below | None = None
    list: Below | None = None

    @model_validator(mode="after")
    def _says_which(self) -> "Split":
        if self.images is None and self.list is None:
            raise ValueError("allowed: images and labels, or a list")
        if self.images is not None and self.labels is None:
            raise ValueError("labels: missing; where the images are named, so are the labels")
        labels = self.labels or ""
        if PLACE in labels and not labels.lower().endswith(LABEL_ENDINGS):
            allowed = ", ".join(LABEL_ENDINGS)
            raise ValueError(f"labels: found {labels!r}; allowed: a rule that ends in {allowed}")
        return self


class Splits(Section):
    """The splits that there are, one at least."""

    train: Split | None = None
    val: Split | None = None
    test: Split | None = None

    @model_validator(mode="after")
    def _any(self) -> "Splits":
        if not self.named():
            raise ValueError("none is there; allowed: train, val, test, one of them at least")
        return self

    def named(self) -> dict[str, Split]:
        """By name, those that there are."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}
