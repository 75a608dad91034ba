"""What a table was made for: as a profile says it, and as the labels of old tables tell."""

from pathlib import Path

import pytest

from cost_models.database.profiled import Profiled, merged, told_by_labels
from cost_models.database.records import How
from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.ir.fusion import Kernel
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space

from ..some_kernels import convolution, depthwise, frame, relu

SMALL, LARGE, ODD = (64, 128), (128, 256), (90, 120)


def profiled(space: str | None, resolution: str, *kernels: str, outputs: int = 19) -> Profiled:
    return Profiled(space=space, resolution=resolution, outputs=outputs, kernels=list(kernels))


def table_of(*kernels: Kernel, made_for: tuple[Profiled, ...] = ()) -> LatencyTable:
    rows = {kernel.key: Row(How.DEFAULT, 0, (1e-3,)) for kernel in kernels}
    return LatencyTable("board", {"device": "board"}, rows, profiled=made_for)


# --- as a profile says it ---


def test_another_profile_is_added_and_the_same_one_taken_anew() -> None:
    first, second = profiled("a", "64x128", "k"), profiled("a", "64x128", "k", outputs=11)
    again = profiled("a", "64x128", "k", "new")
    assert merged([], [first]) == (first,)
    assert merged([first], [second, again]) == (again, second)
    assert merged([first, second], []) == (first, second)


def test_a_table_remembers_what_the_folder_was_made_for(tmp_path: Path) -> None:
    kernel, shared = relu(8, 64, 128), relu(8, 32, 64)
    first = profiled("a", "64x128", kernel.key, shared.key)
    table_of(kernel, shared).also_for(tmp_path, [first]).save(tmp_path, made_by="a test")
    second = profiled("a", "32x64", shared.key)
    table = table_of(kernel, shared).also_for(tmp_path, [second])
    table.save(tmp_path, made_by="a test")
    assert LatencyTable.load(tmp_path).profiled == (first, second)
    assert table.resolutions(kernel) == {"64x128"}
    assert table.resolutions(shared) == {"64x128", "32x64"}
    assert table.resolutions(relu(1, 1, 1)) == set()
    assert table_of(kernel).also_for(tmp_path).profiled == (first, second)  # kernels of no space in between


def test_a_folder_of_another_environment_or_damaged_counts_for_nothing(tmp_path: Path) -> None:
    table_of().also_for(tmp_path, [profiled("a", "64x128")]).save(tmp_path, made_by="a test")
    other = LatencyTable("board", {"device": "another"})
    assert other.also_for(tmp_path).profiled == ()
    (tmp_path / "table.json").write_text("{")
    assert table_of().also_for(tmp_path).profiled == ()


# --- as labels tell ---


def belongs(kernel: Kernel, *others: Kernel) -> set[tuple[int, ...]]:
    found = told_by_labels([kernel.key, *(other.key for other in others)])
    return {tuple(map(int, one.resolution.split("x"))) for one in found if kernel.key in one.kernels}


def test_frames_are_found_by_their_kernel_the_smallest_first() -> None:
    kernels = [frame(*LARGE), relu(3, 9, 9), frame(*SMALL)]
    found = told_by_labels(kernel.key for kernel in kernels)
    assert [(one.space, one.resolution, one.outputs) for one in found] == [
        (None, "64x128", None),
        (None, "128x256", None),
    ]
    assert told_by_labels([kernels[1].key, "no label", "strange 1x2->3 #0", "far 1xx2->x3 #0"]) == []


def test_the_last_kernel_tells_of_the_outputs() -> None:
    last = ["argmax+tobyte 19x64x128->64x128 #1", "argmax+tobyte 11x64x128->64x128 #2"]
    found = told_by_labels([frame(*SMALL).key, *last, "argmax+tobyte 19x128x256->128x256 #3"])
    assert [(one.resolution, one.outputs) for one in found] == [
        ("64x128", 11),
        ("64x128", 19),
        ("128x256", 19),
    ]
    assert [len(one.kernels) for one in found] == [3, 3, 0]  # no kernel reads a frame of the largest


def test_a_size_of_one_chain_tells_the_frame() -> None:
    frames = frame(*SMALL), frame(*ODD)
    assert belongs(relu(8, 32, 64), *frames) == {SMALL}
    assert belongs(relu(8, 45, 60), *frames) == {ODD}
    assert belongs(relu(8, 23, 30), *frames) == {ODD}  # 22.5, rounded up
    assert belongs(relu(8, 44, 59), *frames) == {ODD}  # shifted by a pixel
    assert belongs(relu(8, 33, 64), *frames) == set()


def test_where_chains_overlap_the_twin_at_the_same_depth_tells() -> None:
    frames = frame(*SMALL), frame(*LARGE)
    kernel, half, double = (depthwise(16, *size) for size in ((32, 64), (16, 32), (64, 128)))
    assert belongs(kernel, *frames) == {SMALL, LARGE}
    assert belongs(kernel, *frames, double) == {SMALL}  # once halved in both
    assert belongs(kernel, *frames, half) == {LARGE}  # twice halved in both
    assert belongs(kernel, *frames, half, double) == {SMALL, LARGE}
    assert belongs(kernel, *frames, depthwise(24, 64, 128), depthwise(16, 64, 128, 5)) == {SMALL, LARGE}


def test_single_pixels_are_of_every_frame() -> None:
    kernels = frame(*SMALL), frame(*ODD), convolution(8, 8, 32, 64)
    assert belongs(convolution(8, 8, 1, 1), *kernels) == {SMALL, ODD}


@pytest.mark.parametrize("name", ["small", "xlarge"])
def test_every_kernel_of_a_space_is_found_in_the_resolutions_that_have_it(name: str) -> None:
    sizes = (Resolution(256, 512), Resolution(360, 480), Resolution(512, 1024))
    users: dict[str, set[str]] = {}
    for size in sizes:
        for kernel in space_kernels(get_space(name), size, segmentation_head(19)):
            users.setdefault(kernel.key, set()).add(str(size))
    found: dict[str, set[str]] = {key: set() for key in users}
    for one in told_by_labels(users):
        for key in one.kernels:
            found[key].add(one.resolution)
    wrong = [
        f"{key}: {sorted(found[key])} for {sorted(true)}"
        for key, true in users.items()
        if found[key] != true and not (len(found[key]) > 1 and found[key] > true)  # in doubt it is shared
    ]
    assert wrong == []
    single = sum(len(true) == 1 for true in users.values())
    assert sum(len(told) == 1 for told in found.values()) > 0.95 * single
