"""Classes: the known lists, and names for what nobody named."""

import pytest

from search.data.classes import CLASSES, IGNORE, MOST_CLASSES, unnamed


def test_unnamed_classes_have_the_colours_of_pascal_voc() -> None:
    assert [(entry.id, entry.name, entry.color) for entry in unnamed(3)] == [
        (0, "class 0", (128, 0, 0)),
        (1, "class 1", (0, 128, 0)),
        (2, "class 2", (128, 128, 0)),
    ]
    assert unnamed(20)[-1].color == (0, 64, 128)  # its last: tv/monitor


@pytest.mark.parametrize("count", [2, 19, 255, 256])
def test_as_many_as_a_byte_tells_apart_differ(count: int) -> None:
    classes = unnamed(count)
    assert classes == unnamed(256)[:count]
    assert len({entry.color for entry in classes}) == len({entry.name for entry in classes}) == count
    assert (0, 0, 0) not in {entry.color for entry in classes}


def test_one_label_is_left_for_what_does_not_count() -> None:
    assert MOST_CLASSES == IGNORE == 255
    assert {name: len(classes) for name, classes in CLASSES.items()} == {"cityscapes": 19, "camvid": 11}
