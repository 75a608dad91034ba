"""Networks of anybody's, from an ONNX file to a bundle that runs, against onnxruntime."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

import squeezenas_tvm as st
from squeezenas_tvm.bundles.manifest import read_labels
from squeezenas_tvm.bundles.runner import Bundle
from squeezenas_tvm.deploy import main as deploy
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.evaluate import main as evaluate
from squeezenas_tvm.run import main as run

from .conftest import run_alone
from .helpers import refused_by
from .torch_networks import export

refused = partial(refused_by, deploy)
H, W = 32, 64


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return export("unet", tmp_path / "unet.onnx", (H, W))


def deployed(network: Path, *options: str, out: Path) -> Path:
    assert deploy([str(network), "--target", "local-cpu", "--out", str(out), *options]) == 0
    return out


def by_onnxruntime(network: Path, *arrays: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    found: list[np.ndarray] = session.run(None, dict(zip(names, arrays, strict=True)))
    return found


def image(folder: Path) -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, (H, W, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "street.png")
    return folder / "street.png"


def ran(bundle: Path, *files: Path, out: Path, capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capfd.readouterr()
    argv = [str(bundle), *map(str, files), "--out", str(out), "--repeats", "1", "--json"]
    assert run(argv) == 0
    document: dict[str, Any] = json.loads(capfd.readouterr().out)
    return document


def test_outputs_as_they_are(network: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = deployed(network, out=tmp_path / "bundle")
    x = np.random.default_rng(0).random((1, 3, H, W), np.float32)
    np.save(tmp_path / "x.npy", x)
    document = ran(bundle, tmp_path / "x.npy", out=tmp_path / "seen", capfd=capfd)
    found = np.load(document["images"][0]["outputs"]["y"])
    assert np.abs(found - by_onnxruntime(network, x)[0]).max() < 1e-4
    assert document["resolution"] is None
    assert document["trained"] is True
    assert read_labels(bundle) == []
    alone = run_alone(bundle, "x.npy", "--out", "alone", cwd=tmp_path)
    assert (alone.returncode, alone.stderr) == (0, "")
    assert alone.stdout.startswith("x.npy: alone/x-y.npy: y 1x4x32x64 float32: ")
    assert np.array_equal(np.load(tmp_path / "alone" / "x-y.npy"), found)


def test_from_a_camera_to_classes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Normalisation, blue first, arg-max and names are inside; the same as by hand around onnxruntime."""
    (tmp_path / "names.txt").write_text("road\nsky\ncar\nrest\n", encoding="utf-8")
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    options = ("--mean", "0.4,0.5,0.6", "--std", "0.2,0.25,0.3", "--bgr", "--end", "argmax")
    labels = ("--labels", str(tmp_path / "names.txt"))
    torch.manual_seed(0)
    scores = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU6(), nn.Conv2d(8, 4, 1, bias=False))
    network = tmp_path / "scores.onnx"
    torch.onnx.export(scores, (torch.zeros(1, 3, H, W),), str(network), dynamo=False, opset_version=11)
    bundle = deployed(network, *options, *labels, out=tmp_path / "bundle")
    street = image(tmp_path)
    document = ran(bundle, street, out=tmp_path / "seen", capfd=capfd)
    assert document["resolution"] == [H, W]
    pixels = np.asarray(Image.open(street))
    x = ((pixels / 255 - mean) / std)[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    expected = by_onnxruntime(network, np.ascontiguousarray(x))[0][0].argmax(0)
    seen = np.asarray(Image.open(document["images"][0]["labels"]))
    assert np.mean(seen == expected) > 0.999
    assert len(np.unique(expected)) > 1
    assert [entry["name"] for entry in read_labels(bundle)] == ["road", "sky", "car", "rest"]


def test_best_classes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = export("mobilenet", tmp_path / "net.onnx", (H, W))
    bundle = deployed(network, "--end", "topk:3", out=tmp_path / "bundle")
    x = np.random.default_rng(0).random((3, H, W)).astype(np.float32)  # the batch of one is left out
    np.save(tmp_path / "x.npy", x)
    (seen,) = ran(bundle, tmp_path / "x.npy", out=tmp_path / "seen", capfd=capfd)["images"]
    (scores,) = by_onnxruntime(network, x[None])
    best = np.argsort(-scores[0])[:3]
    assert np.load(seen["outputs"]["classes"]).tolist() == [best.tolist()]
    assert np.load(seen["outputs"]["scores"]) == pytest.approx(scores[:, best], abs=1e-4)
    assert seen["summaries"][0] == "classes: " + ", ".join(f"class {index}" for index in best)


class Distances(nn.Module):
    """Two images and a number -> distances at half their size, and what else it knows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(6, 1, 3, 2, 1)

    def forward(self, left: Tensor, right: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        far = self.conv(torch.cat([left, right], 1)) * gain
        return far, far.mean((2, 3))


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    path = tmp_path / "stereo.onnx"
    images = torch.zeros(2, 3, H, W)
    names = {"input_names": ["left", "right", "gain"], "output_names": ["far/map", "mean"]}
    arguments = (images, images, torch.zeros(1))
    torch.onnx.export(Distances(), arguments, str(path), dynamo=False, opset_version=11, **names)
    return path


def test_several_inputs_and_outputs(stereo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = deployed(stereo, out=tmp_path / "bundle")
    numbers = np.random.default_rng(0)
    left, right = (numbers.random((2, 3, H, W), np.float32) for _ in range(2))
    gain = np.array([2.0], np.float32)
    np.savez(tmp_path / "two.npz", gain=gain, right=right, left=left)
    (seen,) = ran(bundle, tmp_path / "two.npz", out=tmp_path / "seen", capfd=capfd)["images"]
    far, mean = by_onnxruntime(stereo, left, right, gain)
    assert Path(seen["outputs"]["far/map"]).name == "two-far_map.npy"
    assert np.abs(np.load(seen["outputs"]["far/map"]) - far).max() < 1e-4
    assert np.abs(np.load(seen["outputs"]["mean"]) - mean).max() < 1e-4


def test_distances_of_each_pixel(stereo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = deployed(stereo, "--end", "depth", "--output", "far/map", out=tmp_path / "bundle")
    numbers = np.random.default_rng(0)
    left, right = (numbers.random((2, 3, H, W), np.float32) for _ in range(2))
    np.savez(tmp_path / "two.npz", gain=np.ones(1, np.float32), right=right, left=left)
    (seen,) = ran(bundle, tmp_path / "two.npz", out=tmp_path / "seen", capfd=capfd)["images"]
    far, _ = by_onnxruntime(stereo, left, right, np.ones(1, np.float32))
    expected = nn.functional.interpolate(torch.from_numpy(far), (H, W), mode="bilinear")[:, 0]
    assert np.abs(np.load(seen["outputs"]["metres"]) - expected.numpy()).max() < 1e-4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--end", "argmax"], "has 2 outputs; choose one for argmax by --output NAME: far/map 2x1x16x32 fl"),
        (["--end", "argmax", "--output", "near"], "has no such output; choose one for argmax by --output"),
        (["--end", "argmax", "--output", "mean"], "output mean 2x1 float32 is not what this --end is for; w"),
        (["--end", "topk:5", "--output", "mean"], "wanted: scores of 5 classes or more, N x classes"),
        (["--end", "topk"], "--end topk: allowed: argmax, topk:5 (1 to 1000), depth"),
        (["--end", "best"], "--end best: allowed: argmax, topk:5 (1 to 1000), depth"),
        (["--output", "mean"], "--output mean: without --end all outputs are deployed"),
        (["--frame"], "a camera's frame is for one image of three channels"),
        (["--layout", "NHWC"], "--layout NHWC is for a camera's frame; give --frame, too"),
        (["--std", "0,1,1"], "--std 0.0,1.0,1.0: allowed: numbers above 0"),
        (["--weights", "x.pth"], "--weights x.pth: "),
        (["--shape", "middle=1x3x8x8"], "has no input 'middle'; allowed: left, right, gain"),
        (["--shape", "left=1x3x8x8"], "input left is 2x3x32x64, not 1x3x8x8; give numbers for what is open"),
        (["--labels", "cityscapes"], "tells no classes apart as it is deployed; give --end"),
        (["--resolution", "64x64"], "is for images of 32x64, not of 64x64; leave the resolution out"),
    ],
)
def test_what_does_not_fit_is_refused(
    options: list[str], said: str, stereo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    refused([str(stereo), "--target", "local-cpu", "--out", str(out), *options], said, capfd)
    assert not out.exists()


def test_labels_of_another_count(network: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    argv = [str(network), "--target", "local-cpu", "--out", str(tmp_path / "bundle"), "--end", "argmax"]
    (tmp_path / "names.txt").write_text("one\ntwo\n", encoding="utf-8")
    two = ["--labels", str(tmp_path / "names.txt")]
    refused([*argv, *two], "--labels names 2 classes, and", capfd)
    refused(
        [*argv, "--labels", "nothing.txt"], "--labels nothing.txt: no such file; allowed: a text file", capfd
    )
    (tmp_path / "names.txt").write_text("one\n\x1b[31mtwo\n", encoding="utf-8")
    refused([*argv, *two], "names.txt, line 2: found ", capfd)


def test_an_architecture_has_its_own_ends(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    argv = ["squeezenas-lat-small", "--target", "local-cpu", "--out", str(tmp_path / "bundle")]
    refused(
        [*argv, "--frame", "--end", "argmax"], "--frame, --end: for ONNX files; squeezenas-lat-small", capfd
    )


@pytest.mark.parametrize(("name", "said"), [("net.pth", "holds weights, not the"), ("a.pt", "weights")])
def test_other_formats_say_what_to_export(
    name: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(b"x")
    refused([str(tmp_path / name), "--target", "local-cpu", "--out", str(tmp_path / "b")], said, capfd)


def test_open_sizes_are_closed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = export("unet", tmp_path / "unet.onnx", (64, 128), open_sizes=True)
    argv = [str(network), "--target", "local-cpu", "--out", str(tmp_path / "bundle")]
    refused(argv, "has no fixed size; give one: --resolution HxW", capfd)
    bundle = deployed(network, "--shape", f"x=2x3x{H}x{W}", out=tmp_path / "bundle")
    x = np.random.default_rng(0).random((2, 3, H, W), np.float32)
    np.save(tmp_path / "x.npy", x)
    (seen,) = ran(bundle, tmp_path / "x.npy", out=tmp_path / "seen", capfd=capfd)["images"]
    assert np.abs(np.load(seen["outputs"]["y"]) - by_onnxruntime(network, x)[0]).max() < 1e-4


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((1, 3, 8, 8), np.float32), "found 1x3x8x8; allowed: x 1x3x32x64 float32"),
        (
            np.zeros((1, 3, H, W), "U1"),
            "no array of numbers as numpy.save writes it; allowed: x 1x3x32x64 float32",
        ),
        (np.zeros((), object), "no array of numbers as numpy.save writes it"),
        (np.zeros((1, 3, H, W), np.complex64), "no array of numbers"),
    ],
)
def test_arrays_that_do_not_fit(
    array: np.ndarray, said: str, network: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = deployed(network, out=tmp_path / "bundle")
    np.save(tmp_path / "x.npy", array)
    capfd.readouterr()
    assert run([str(bundle), str(tmp_path / "x.npy"), "--out", str(tmp_path)]) == 2
    assert said in capfd.readouterr().err
    assert run([str(bundle), str(image(tmp_path)), "--out", str(tmp_path)]) == 2
    assert "street.png: the network takes x 1x3x32x64 float32; give .npy" in capfd.readouterr().err


def test_only_own_arrays_are_written_over(
    network: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle, out = deployed(network, out=tmp_path / "bundle"), tmp_path / "seen"
    np.save(tmp_path / "x.npy", np.zeros((1, 3, H, W), np.float32))
    for _ in range(2):
        ran(bundle, tmp_path / "x.npy", out=out, capfd=capfd)
    np.save(out / "x-y.npy", np.load(out / "x-y.npy"))
    argv = [str(bundle), str(tmp_path / "x.npy"), "--out", str(out)]
    refused_by(run, argv, "x-y.npy is there already, and was not written here", capfd)


def test_a_hand_made_network_is_evaluated_as_it_ships(
    network: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.txt").write_text("\n".join(f"class {n}" for n in range(4)), encoding="utf-8")
    options = ("--frame", "--end", "argmax", "--labels", str(tmp_path / "names.txt"))
    bundle = deployed(network, *options, out=tmp_path / "bundle")
    capfd.readouterr()
    assert evaluate([str(bundle), "--data", "synthetic"]) == 2
    assert "tells 4 classes apart (class 0, class 1, ...), and synthetic has" in capfd.readouterr().err
    bundle = deployed(network, out=tmp_path / "bundle")
    capfd.readouterr()
    assert evaluate([str(bundle), "--data", "synthetic"]) == 2
    assert "deploy with --frame --end argmax" in capfd.readouterr().err


def test_sixteen_bits_and_many_outputs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(3, 2, 1) for _ in range(17))

        def forward(self, x: Tensor) -> list[Tensor]:
            return [conv(x) for conv in self.convs]

    torch.manual_seed(0)
    path = tmp_path / "many.onnx"
    torch.onnx.export(Many().half(), (torch.zeros(1, 3, 8, 8).half(),), str(path), dynamo=False)
    bundle = deployed(path, out=tmp_path / "bundle")
    x = np.random.default_rng(0).random((1, 3, 8, 8)).astype(np.float16)
    np.save(tmp_path / "x.npy", x)
    (seen,) = ran(bundle, tmp_path / "x.npy", out=tmp_path / "seen", capfd=capfd)["images"]
    assert len(seen["outputs"]) == 17
    for file, expected in zip(seen["outputs"].values(), by_onnxruntime(path, x), strict=True):
        assert np.load(file).dtype == np.float16
        assert np.abs(np.load(file).astype(float) - expected).max() < 2e-3


def test_the_manifest_says_what_goes_in_and_comes_out(network: Path, tmp_path: Path) -> None:
    bundle = deployed(network, out=tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    x = {"name": "x", "dtype": "float32", "shape": [1, 3, H, W], "meaning": "tensor"}
    y = {"name": "y", "dtype": "float32", "shape": [1, 4, H, W], "meaning": "tensor"}
    assert (manifest["inputs"], manifest["outputs"]) == ([x], [y])
    assert "architecture" not in manifest
    assert "normalisation" not in manifest


def test_a_module_is_deployed_from_python(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU())
    example, target = torch.rand(1, 3, 8, 16), st.load_target("local-cpu")
    done = st.deploy_network(module, target, tmp_path / "bundle", example_input=example)
    assert done.manifest.name == "sequential"
    assert module.training
    (found,) = Bundle.load(tmp_path / "bundle").run([example.numpy()])
    expected = module.eval()(example).detach().numpy()
    assert np.abs(found - expected).max() < 1e-4
    program = torch.export.export(module, (example,))
    st.deploy_network(program, target, tmp_path / "exported", example_input=example)
    (found,) = Bundle.load(tmp_path / "exported").run([example.numpy()])
    assert np.abs(found - expected).max() < 1e-4
    with pytest.raises(UsageError, match="network is a int; allowed: a torch"):
        st.deploy_network(3, target, tmp_path / "b", example_input=example)
    with pytest.raises(UsageError, match="example_input: allowed: a tensor"):
        st.deploy_network(module, target, tmp_path / "b")
    with pytest.raises(UsageError, match="Sequential: PyTorch cannot export it: "):
        st.deploy_network(module, target, tmp_path / "b", example_input=torch.rand(1, 5, 8, 8))


def test_operations_that_tvm_lacks_are_named_with_their_nodes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c0"]),
        helper.make_node("MaxPool", ["c0"], ["c", "places"], name="pool", kernel_shape=[1, 1]),
        helper.make_node("DeformConv", ["c", "w2", "offset"], ["d"], name="bend"),
    ]
    tensors = [
        numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w"),
        numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w2"),
        numpy_helper.from_array(np.zeros((1, 2, 8, 8), np.float32), "offset"),
    ]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (1, 3, 8, 8)), ("d", None))
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")
    argv = [str(tmp_path / "net.onnx"), "--target", "local-cpu", "--out", str(tmp_path / "bundle")]
    refused(argv, "net.onnx: TVM has no MaxPool that tells places (pool), DeformConv (bend); export", capfd)
