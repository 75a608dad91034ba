"""Which classes are the same in two data sets."""

from search.data.classes import CLASSES
from search.remapping.classes import match_classes

CITYSCAPES, CAMVID = ([entry.name for entry in CLASSES[name]] for name in ("cityscapes", "camvid"))


def test_classes_of_cityscapes_for_those_of_camvid() -> None:
    match = match_classes(CITYSCAPES, CAMVID)
    named = {
        own: None if source is None else CITYSCAPES[source]
        for own, source in zip(CAMVID, match.sources, strict=True)
    }
    assert named == {
        "sky": "sky",
        "building": "building",
        "pole": "pole",
        "road": "road",
        "pavement": "sidewalk",
        "tree": "vegetation",
        "sign": "traffic sign",
        "fence": "fence",
        "car": "car",
        "pedestrian": "person",
        "bicyclist": "rider",
    }


def test_an_equal_name_comes_before_one_that_means_the_same() -> None:
    match = match_classes(["vegetation", "tree", "Side_walk"], ["tree", "sidewalk", "sea"])
    assert match.sources == (1, 2, None)
    assert match.found == 2
