import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost_models.errors import CostModelError, IncompatiblePredictor
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import Graph, Node
from cost_models.ir.ops import Foreign
from cost_models.kernel_models import predictor
from cost_models.kernel_models.features import FEATURES, FEATURES_VERSION
from cost_models.kernel_models.hold_outs import hold_outs
from cost_models.kernel_models.predictor import MANIFEST, TREES, Predictor

from ..some_kernels import argmax, convolution, depthwise, relu, space

BOARD = {"device": "board", "dtype": "float32", "tvm_target": '{"kind":"cuda","arch":"sm_72"}'}
SIZES = ((64, 128), (32, 64), (16, 32))
KERNELS = list(
    dict.fromkeys(
        [
            *space(),
            *(
                convolution(c, c, *size, window, stride=stride, dilation=dilation, groups=c)
                for c, size, (window, dilation), stride in product(
                    (16, 24, 48, 96, 144), SIZES, ((3, 1), (3, 2), (5, 1)), (1, 2)
                )
            ),
            *(
                convolution(c, more * c, *size, groups=groups)
                for c, size, more, groups in product((16, 24, 40, 96), SIZES, (1, 3, 6), (1, 2))
            ),
        ]
    )
)
SECONDS_A_MAC = {"pointwise": 1 / 90e9, "dense": 1 / 50e9, "depthwise": 1 / 20e9, "grouped": 1 / 60e9}


def device_s(kernel: Kernel) -> float:
    """A device that is twice as fast with dilated, strided windows, and scatters by 5 %."""
    conv: Any = kernel.graph.nodes[0].op
    factor = 0.5 if kernel.kind == "depthwise" and conv.stride > 1 and conv.dilation > 1 else 1.0
    luck = np.random.default_rng(zlib.crc32(kernel.key.encode())).normal(0, 0.05)
    work_s = kernel.macs * SECONDS_A_MAC.get(kernel.kind, 0.0) + kernel.bytes_moved / 40e9
    return float((2e-6 + factor * work_s) * np.exp(luck))


SECONDS = [device_s(kernel) for kernel in KERNELS]


def fit(kernels: Sequence[Kernel] = KERNELS, seconds: Sequence[float] = SECONDS) -> Predictor:
    return Predictor.fit(kernels, seconds, BOARD)


@pytest.fixture(scope="module")
def fitted() -> Predictor:
    return fit()


def test_kernels_left_out_are_predicted_and_nine_of_ten_are_inside_their_interval() -> None:
    found = hold_outs(KERNELS, SECONDS, lambda k, s: fit(k, s).predict, splits=["random", "channels"])
    assert found["random"].overall.within_10 > 0.85
    assert found["channels"].overall.within_10 > 0.75
    assert found["random"].overall.spearman > 0.99
    assert 0.85 <= found["random"].overall.coverage <= 0.97
    assert found["channels"].overall.coverage >= 0.85


def test_trees_correct_what_the_base_cannot_know(fitted: Predictor) -> None:
    new = [
        convolution(72, 72, *size, 3, stride=2, dilation=dilation, groups=72)
        for size, dilation in product(SIZES, (1, 2))
    ]
    expected = np.log([device_s(kernel) for kernel in new])
    found = np.log([p.median_s for p in fitted.predict(new)])
    bare = np.log(fitted.base.predict_s(predictor.matrix(new, fitted.machine)))
    assert np.abs(found - expected).max() < 0.2
    assert np.abs(bare - expected).mean() > 2 * np.abs(found - expected).mean()


def test_the_same_rows_give_the_same_predictor(fitted: Predictor) -> None:
    again = fit()
    assert again.predict(KERNELS[:20]) == fitted.predict(KERNELS[:20])
    assert again.errors == fitted.errors


def test_it_tells_what_it_knows(fitted: Predictor) -> None:
    assert sum(fitted.counts.values()) == len(KERNELS)
    assert fitted.counts["memory"] == 5
    assert 0 < fitted.errors["median"] < 0.1
    assert 0.7 < fitted.errors["within_10"] <= 1
    assert fitted.predict([]) == []


@pytest.mark.parametrize(
    "kernel",
    [
        depthwise(48, 64, 128, 7),
        convolution(48, 48, 32, 64, 3, dilation=4, groups=48),
        depthwise(96, 1024, 2048),
        convolution(16, 4096, 16, 32),
    ],
    ids=lambda kernel: kernel.label,
)
def test_far_kernels_have_wide_intervals_and_say_so(fitted: Predictor, kernel: Kernel) -> None:
    near, far = fitted.predict([depthwise(64, 32, 64), kernel])
    assert (near.far, far.far) == (False, True)
    assert near.low_s < near.median_s < near.high_s
    assert far.high_s / far.low_s > (near.high_s / near.low_s) ** 1.5


Shape = tuple[int, ...]
forms: dict[str, Callable[[Shape, dict[str, int]], Kernel]] = {
    "pointwise": lambda s, how: convolution(s[0], s[1], s[2], s[3], stride=how["stride"]),
    "grouped": lambda s, how: convolution(2 * s[0], 4 * s[1], s[2], s[3], groups=2, stride=how["stride"]),
    "dense": lambda s, how: convolution(s[0], s[1], s[2], s[3], how["window"], stride=how["stride"]),
    "depthwise": lambda s, how: convolution(s[0], s[0], s[2], s[3], groups=s[0], **how),
    "relu": lambda s, how: relu(s[0], s[2], s[3]),
    "argmax": lambda s, how: argmax(s[2], s[3]),
}


@pytest.fixture(scope="module", params=["chosen", "sizes seen by the trees"])
def any_fitted(request: pytest.FixtureRequest) -> Predictor:
    """What cross-validation chooses, and what it might choose, on a device that is faster with more."""
    if request.param == "chosen":
        return fit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor, "_CHOICES", ((tuple(FEATURES), 5),))
        patch.setattr(predictor, "_ROUNDS", (120,))
        return fit(
            seconds=[
                s * (0.6 if k.output_shape[1] > 40 else 1.0) for k, s in zip(KERNELS, SECONDS, strict=True)
            ]
        )


@given(
    form=st.sampled_from(tuple(forms)),
    how=st.fixed_dictionaries(
        {"window": st.sampled_from((3, 5)), "stride": st.integers(1, 2), "dilation": st.integers(1, 2)}
    ),
    shape=st.tuples(st.integers(2, 100), st.integers(1, 100), st.integers(9, 100), st.integers(9, 100)),
    steps=st.tuples(*[st.integers(0, 3)] * 4),
)
@settings(deadline=None, max_examples=150)
def test_more_channels_or_pixels_are_never_predicted_cheaper(
    any_fitted: Predictor, form: str, how: dict[str, int], shape: Shape, steps: Shape
) -> None:
    growing = [
        forms[form](tuple(size + n * step for size, step in zip(shape, steps, strict=True)), how)
        for n in range(40)
    ]
    medians_s = [p.median_s for p in any_fitted.predict(growing)]
    assert (medians_s >= 0.98 * np.maximum.accumulate(medians_s)).all()


def test_ten_kernels_are_enough() -> None:
    ten = [convolution(16, 8 * c, 16, 32) for c in range(1, 11)]
    found = fit(ten, [1e-6 * c for c in range(1, 11)])
    (p,) = found.predict([convolution(16, 44, 16, 32)])
    assert p.median_s == pytest.approx(5.5e-6, rel=0.2)
    assert found.predict([argmax(32, 64)])[0].far


@pytest.mark.parametrize(
    ("kernels", "seconds", "message"),
    [
        (
            KERNELS[:9],
            SECONDS[:9],
            "at least 10 measured kernels and a latency of each, found 9 kernels and 9",
        ),
        (KERNELS[:12], SECONDS[:11], "found 12 kernels and 11 latencies"),
        (KERNELS[:10], [*SECONDS[:9], float("nan")], "finite and > 0 s, found nan; leave failures out"),
        (KERNELS[:10], [*SECONDS[:9], -1e-6], "finite and > 0 s, found -1e-06"),
        (KERNELS[:10], [*SECONDS[:9], 0.0], "finite and > 0 s, found 0.0"),
        ([*KERNELS[:10], KERNELS[3]], SECONDS[:11], "given twice, allowed is one latency a kernel"),
    ],
    ids=["nine", "uneven", "nan", "negative", "zero", "twice"],
)
def test_bad_rows_are_refused(kernels: list[Kernel], seconds: list[float], message: str) -> None:
    with pytest.raises(CostModelError, match=message):
        fit(kernels, seconds)


def test_a_bad_row_is_named() -> None:
    with pytest.raises(CostModelError) as error:
        fit(KERNELS[:10], [*SECONDS[:9], float("inf")])
    assert str(error.value).startswith(f"{KERNELS[9].key}: ")
    assert "\n" not in str(error.value)


@pytest.fixture
def folder(fitted: Predictor, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "board", made_by="tests")
    return tmp_path / "board"


def test_what_is_loaded_predicts_the_same(fitted: Predictor, folder: Path) -> None:
    kernels = [*KERNELS, depthwise(7, 33, 65, 7)]
    loaded = Predictor.load(folder, fingerprint=BOARD)
    assert loaded.predict(kernels) == pytest.approx(fitted.predict(kernels))
    assert (loaded.counts, loaded.errors, loaded.fingerprint) == (fitted.counts, fitted.errors, BOARD)


def test_what_is_kept_is_plain_json(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, TREES]
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["features_version"] == FEATURES_VERSION
    assert manifest["made_by"] == "tests"
    assert manifest["sha256"][TREES] == hashlib.sha256((folder / TREES).read_bytes()).hexdigest()
    assert json.loads((folder / TREES).read_text())["learner"]["objective"]["name"] == "reg:pseudohubererror"


def change(folder: Path, **values: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sha256"].pop(MANIFEST, None)  # as in documents of older releases
    (folder / MANIFEST).write_text(json.dumps(manifest | values))


def test_features_of_another_version_are_refused(folder: Path) -> None:
    change(folder, features_version=FEATURES_VERSION + 1)
    message = (
        f"features of version {FEATURES_VERSION + 1}, this program has version {FEATURES_VERSION}; profile"
    )
    with pytest.raises(IncompatiblePredictor, match=message):
        Predictor.load(folder)
    change(folder, features_version=1, known=[[0.0]], base="other")  # nor is anything else read of them
    with pytest.raises(IncompatiblePredictor, match="json: features of version 1, this program has version"):
        Predictor.load(folder)


def test_operations_of_others_are_told_once_their_like_was_measured(tmp_path: Path) -> None:
    def upwards(channels: int, height: int, width: int) -> Kernel:
        made = Foreign(
            "ConvTranspose", (1, channels, 2 * height, 2 * width), channels**2 * height * width * 4
        )
        graph = Graph(("x0",), (Node("n0", made, ("x0",)),), ("n0",))
        return Kernel(graph, ((1, channels, height, width),), module="0123456789abcdef")

    measured = [upwards(channels, *size) for channels, size in product((8, 16, 32, 64), SIZES)]
    other = replace(
        measured[0], graph=Graph(("x0",), (Node("n0", Foreign("MatMul", (1, 8, 9, 9)), ("x0",)),), ("n0",))
    )
    assert fit().kernels([measured[0], other]) == [None, None]
    kernels = [*KERNELS, *measured]
    fitted = fit(kernels, [device_s(kernel) for kernel in kernels])
    fitted.save(tmp_path, made_by="a test")
    for predictor_ in (fitted, Predictor.load(tmp_path)):
        wanted = upwards(48, 32, 64)
        told, unknown = predictor_.kernels([wanted, other])
        assert unknown is None
        assert told is not None
        assert told.median_s == pytest.approx(device_s(wanted), rel=0.5)


def test_a_newer_schema_is_refused(folder: Path) -> None:
    change(folder, schema_version=3)
    with pytest.raises(
        IncompatiblePredictor, match="schema 3, this program reads 1 to 2; update squeezenas_tvm"
    ):
        Predictor.load(folder)


def test_another_environment_is_refused(folder: Path) -> None:
    with pytest.raises(IncompatiblePredictor, match="dtype 'float32' instead of 'float16'"):
        Predictor.load(folder, fingerprint=BOARD | {"dtype": "float16"})


def test_changed_trees_are_refused(folder: Path) -> None:
    (folder / TREES).write_bytes((folder / TREES).read_bytes() + b" ")
    with pytest.raises(IncompatiblePredictor, match=r"residual.json: differs from its checksum"):
        Predictor.load(folder)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / MANIFEST).unlink(),
        lambda folder: (folder / TREES).unlink(),
        lambda folder: (folder / MANIFEST).write_text("[]"),
        lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe\x00"),
        lambda folder: change(folder, base={"costs": {}}),
        lambda folder: (
            change(folder, sha256={TREES: hashlib.sha256(b"{}").hexdigest()})
            or (folder / TREES).write_text("{}")
        ),
    ],
    ids=["no manifest", "no trees", "a list", "no text", "another base", "no trees inside"],
)
def test_a_damaged_folder_is_refused_in_one_line(folder: Path, spoil: Callable[[Path], object]) -> None:
    spoil(folder)
    with pytest.raises(IncompatiblePredictor, match=r"predictor\.json: |residual\.json: ") as error:
        Predictor.load(folder)
    assert "\n" not in str(error.value)
    assert "profile again" in str(error.value)
