import pytest

from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.resolutions import Size, frame_sizes, frames_of
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space

from ..some_kernels import convolution, depthwise, frame, relu

SMALL, LARGE, ODD = (64, 128), (128, 256), (90, 120)


def belongs(kernel: Kernel, *others: Kernel) -> set[Size]:
    return set(frames_of([kernel, *others])[0])


def test_frames_are_found_by_their_kernel_the_smallest_first() -> None:
    kernels = [frame(*LARGE), relu(3, 9, 9), frame(*SMALL), frame(*SMALL)]
    assert frame_sizes(kernels) == [SMALL, LARGE]
    assert frame_sizes(kernels[1:2]) == []
    assert frames_of(kernels[1:2]) == [frozenset()]


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
    users: dict[Kernel, set[Size]] = {}
    for size in sizes:
        for kernel in space_kernels(get_space(name), size, segmentation_head(19)):
            users.setdefault(kernel, set()).add((size.height, size.width))
    found = frames_of(list(users))
    wrong = [
        f"{kernel.label}: {sorted(told)} for {sorted(true)}"
        for (kernel, true), told in zip(users.items(), found, strict=True)
        if told != true and not (len(told) > 1 and told > true)  # in doubt it is shared
    ]
    assert wrong == []
    assert sum(len(frames) == 1 for frames in found) > 0.95 * sum(len(true) == 1 for true in users.values())
