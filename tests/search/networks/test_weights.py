import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file as save_torch_tensors

from cost_models.ir.weights import random_weights
from search.architecture import Architecture, load_architecture
from search.data.classes import CLASSES
from search.errors import InvalidWeights
from search.networks.names import published_keys
from search.networks.weight_files import TORCH_SUFFIXES
from search.networks.weights import (
    load_beginning,
    load_weights,
    load_weights_apart,
    save_weights,
)
from targets.support.files import sha256

ROOT = Path(__file__).parents[3]
SMALL = load_architecture("squeezenas-mac-small")


def tensors(architecture: Architecture = SMALL) -> dict[str, torch.Tensor]:
    weights = random_weights(architecture.network())
    return {name: torch.from_numpy(values) for name, values in weights.items()}


def as_published(architecture: Architecture) -> dict[str, torch.Tensor]:
    """Random weights under the authors' names, with the counters that their files hold too."""
    ours = tensors(architecture)
    theirs = {name: ours[key] for name, key in published_keys(architecture).items()}
    means = [name for name in theirs if name.endswith("running_mean")]
    return theirs | {re.sub("running_mean$", "num_batches_tracked", name): torch.tensor(7) for name in means}


def refusal(path: Path, architecture: Architecture = SMALL) -> str:
    with pytest.raises(InvalidWeights) as caught:
        load_weights(architecture, path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def test_safetensors_round_trip(tmp_path: Path) -> None:
    weights = random_weights(SMALL.network())
    weights["stem.conv.weight"] = weights["stem.conv.weight"][:, :, ::-1]  # not contiguous
    save_weights(tmp_path / "w.safetensors", weights)
    loaded = load_weights(SMALL, tmp_path / "w.safetensors")
    np.testing.assert_equal(loaded, weights)
    assert {values.dtype for values in loaded.values()} == {np.dtype("float32")}


@pytest.mark.parametrize("suffix", TORCH_SUFFIXES)
def test_state_dicts_of_ours(tmp_path: Path, suffix: str) -> None:
    path, state = tmp_path / f"w{suffix}", tensors()
    torch.save(state, path)
    np.testing.assert_equal(load_weights(SMALL, path), {name: value.numpy() for name, value in state.items()})


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {name: torch.nn.Parameter(value) for name, value in state.items()},
        lambda state: state | {"stem.bn.num_batches_tracked": torch.tensor(3)},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {"model_state_dict": {f"module._orig_mod.{n}": v for n, v in state.items()}},
        lambda state: {"state_dict": {"model": {f"model.{n}": v for n, v in state.items()}}},
        lambda state: {n.replace("stem.", "stem._orig_mod."): v for n, v in state.items()},
        lambda state: {f"module.{n}": v for n, v in state.items()} | {"n_averaged": torch.tensor(1)},
    ],
    ids=[
        *("checkpoint", "data parallel", "parameters", "counters", "model", "compiled", "nested"),
        *("partly compiled", "averaged"),
    ],
)
def test_state_dicts_as_training_leaves_them(
    tmp_path: Path, wrap: Callable[[dict[str, torch.Tensor]], Any]
) -> None:
    torch.save(wrap(tensors()), tmp_path / "w.pth")
    np.testing.assert_equal(load_weights(SMALL, tmp_path / "w.pth"), random_weights(SMALL.network()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("save", [torch.save, save_torch_tensors], ids=["torch", "safetensors"])
def test_other_precisions_become_float32(
    tmp_path: Path, dtype: torch.dtype, save: Callable[..., None]
) -> None:
    path = tmp_path / ("w.pth" if save is torch.save else "w.safetensors")
    state = {name: value.to(dtype) for name, value in tensors().items()}
    save(state, path)
    loaded = load_weights(SMALL, path)
    assert {values.dtype for values in loaded.values()} == {np.dtype("float32")}
    np.testing.assert_array_equal(loaded["stem.bn.bias"], state["stem.bn.bias"].float().numpy())


@pytest.mark.parametrize(
    "name", [f"squeezenas-{kind}-{size}" for kind in ("lat", "mac") for size in ("small", "large", "xlarge")]
)
def test_every_tensor_has_its_name_in_the_authors_files(name: str, tmp_path: Path) -> None:
    architecture = load_architecture(name)
    graph = architecture.network()
    keys = published_keys(architecture)
    assert sorted(keys.values()) == sorted(graph.parameters() | graph.buffers())
    torch.save(as_published(architecture), tmp_path / "w.pth")
    np.testing.assert_equal(load_weights(architecture, tmp_path / "w.pth"), random_weights(graph))


def test_every_fault_is_listed_at_once(tmp_path: Path) -> None:
    state = tensors()
    del state["head.bn.bias"]
    state["stem.extra"] = torch.zeros(1)
    state["stem.conv.weight"] = torch.zeros(16, 3, 5, 5)
    torch.save(state, tmp_path / "w.pth")
    assert refusal(tmp_path / "w.pth") == (
        " does not fit squeezenas-mac-small: weights of another network: 3 of 306 tensors do not fit: "
        "missing head.bn.bias; unexpected stem.extra; stem.conv.weight has shape (16, 3, 5, 5), "
        "needs (16, 3, 3, 3)"
    )


def test_faults_in_the_authors_files_are_listed_too(tmp_path: Path) -> None:
    state = as_published(SMALL)
    state["encoder.extra"] = state.pop("encoder.conv1.0.weight")
    torch.save(state, tmp_path / "w.pth")
    message = refusal(tmp_path / "w.pth")
    assert message.endswith(
        ": 2 of 306 tensors do not fit: missing stem.conv.weight; unexpected encoder.extra"
    )


@pytest.mark.parametrize("other", ["squeezenas-lat-small", "squeezenas-mac-large", "mobilenetv3-small-seg"])
def test_weights_of_another_network(tmp_path: Path, other: str) -> None:
    save_weights(tmp_path / "w.safetensors", random_weights(load_architecture(other).network()))
    message = refusal(tmp_path / "w.safetensors")
    assert message.startswith(" does not fit squeezenas-mac-small: weights of another network: ")
    for kind in ("missing ", "unexpected ", " has shape "):
        assert kind in message


class Bomb:
    """Unpickling it makes a file: what a hostile file of weights would do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "save", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state, protocol=2))]
)
def test_code_in_a_file_is_never_run(tmp_path: Path, save: Callable[..., None], nested: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "w.pth"
    bomb = Bomb(trace)
    save(tensors() | {"stem.bn.bias": bomb} if nested else bomb, path)
    assert refusal(path) == (
        ": not loaded (UnpicklingError): damaged, no PyTorch file, or holds more than tensors, "
        "which could run code; save it with torch.save(network.state_dict(), path)"
    )
    assert not trace.exists()
    pickle.loads(pickle.dumps(bomb))
    assert trace.exists(), "the bomb is a dud, so the test proves nothing"


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 broken"])
def test_what_is_no_file_of_weights(tmp_path: Path, content: bytes) -> None:
    for name, reason in {"w.pth": ": not loaded (", "w.safetensors": ": not a file of weights ("}.items():
        (tmp_path / name).write_bytes(content)
        is_zip = content.startswith(b"PK")  # what it holds tells, not how it is called
        assert refusal(tmp_path / name).startswith(": not loaded (" if is_zip else reason)


@pytest.mark.parametrize("zipped", [False, True])
def test_damaged_files_are_refused_wherever_they_are_cut(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(20), "b": torch.ones(2, 3)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for size in range(0, len(content), 1 if not zipped else 97):
        path.write_bytes(content[:size])
        refusal(path)


def test_a_precision_that_numpy_lacks(tmp_path: Path) -> None:
    save_torch_tensors({"a": torch.ones(2).to(torch.float8_e4m3fn)}, tmp_path / "w.safetensors")
    message = refusal(tmp_path / "w.safetensors")
    assert message.startswith(": not a file of weights (")
    assert "float8_e4m3fn" in message


@pytest.mark.parametrize("held", [[1, 2], {"a": 3}, torch.zeros(3)])
def test_a_torch_file_without_a_state_dict(tmp_path: Path, held: Any) -> None:
    torch.save(held, tmp_path / "w.pth")
    assert refusal(tmp_path / "w.pth").startswith(": holds no state dict (a mapping from names to tensors), ")


@pytest.mark.parametrize("name", ["w.bin", "w.PTH", "w", "w.safetensors"])
def test_what_a_file_holds_tells_how_it_is_read_not_its_name(tmp_path: Path, name: str) -> None:
    torch.save(tensors(), tmp_path / name)
    np.testing.assert_equal(load_weights(SMALL, tmp_path / name), random_weights(SMALL.network()))
    np.testing.assert_equal(
        load_weights_apart(SMALL, tmp_path / name, tmp_path), random_weights(SMALL.network())
    )
    save_weights(tmp_path / name, random_weights(SMALL.network()))
    np.testing.assert_equal(load_weights(SMALL, tmp_path / name), random_weights(SMALL.network()))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda file: torch.jit.save(torch.jit.script(torch.nn.ReLU()), file), "a TorchScript program; "),
        (lambda file: np.savez(file, a=np.zeros(2)), "a numpy archive; allowed: .safetensors"),
        (lambda file: np.save(file, np.zeros(2)), "a numpy array; allowed: .safetensors"),
        (lambda file: file.write(b"version https://git-lfs.github.com/spec/v1\n"), "a pointer of Git LFS"),
        (lambda file: file.write(b"<!DOCTYPE html><html>"), "a web page or XML, not the file that it links"),
        (lambda file: file.write(b"squeezenas-tvm checkpoint 00\n"), "a checkpoint, which --resume goes on"),
        (lambda file: file.write(b"\x89HDF\r\n\x1a\n"), "an HDF5 file, as Keras writes them"),
    ],
    ids=["TorchScript", "npz", "npy", "Git LFS", "web page", "checkpoint", "HDF5"],
)
def test_what_is_given_by_mistake_is_named_for_what_it_is(
    tmp_path: Path, make: Callable[[IO[bytes]], Any], said: str
) -> None:
    for name in ("w.pth", "w.safetensors"):
        with (tmp_path / name).open("wb") as file:
            make(file)
        assert refusal(tmp_path / name).startswith(f": {said}")


def test_a_beginning_takes_all_but_the_head_of_other_classes(tmp_path: Path) -> None:
    """The strict way stays the usual one."""
    path, other = tmp_path / "w.safetensors", SMALL.for_classes(CLASSES["camvid"])
    save_weights(path, random_weights(other.network()))
    assert "needs (19," in refusal(path)
    begin = load_beginning(SMALL, path)
    names = [f"decoder.classify_{which}.{kind}" for which in ("high", "low") for kind in ("bias", "weight")]
    assert begin.fresh == begin.left == names
    expected = random_weights(other.network())
    np.testing.assert_equal(begin.tensors, {n: v for n, v in expected.items() if n not in names})


@pytest.mark.parametrize("published", [False, True])
def test_a_beginning_may_be_an_encoder_with_a_head_of_its_own(tmp_path: Path, published: bool) -> None:
    state = as_published(SMALL) if published else tensors()
    encoder = {name: value for name, value in state.items() if not name.startswith("decoder.")}
    torch.save(encoder | {"classifier.weight": torch.zeros(1000, 2)}, tmp_path / "w.pth")
    begin = load_beginning(SMALL, tmp_path / "w.pth")
    assert begin.left == ["classifier.weight"]
    assert {name.split(".")[0] for name in begin.fresh} == {"decoder"}
    wanted = SMALL.network().parameters() | SMALL.network().buffers()
    assert sorted([*begin.tensors, *begin.fresh]) == sorted(wanted)


def test_a_beginning_of_another_network_is_refused(tmp_path: Path) -> None:
    other = load_architecture("squeezenas-lat-small")
    save_weights(tmp_path / "w.safetensors", random_weights(other.network()))
    with pytest.raises(InvalidWeights, match="does not fit squeezenas-mac-small: weights of another network"):
        load_beginning(SMALL, tmp_path / "w.safetensors")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "w.pth", tmp_path / "w.safetensors"):
        message = refusal(path)
        assert message == ": no such file of weights"


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


APART = """
import sys
from pathlib import Path
from search.architecture import load_architecture
from search.errors import InvalidWeights
from search.networks.weights import load_weights_apart
folder = Path(sys.argv[1])
architecture = load_architecture("squeezenas-mac-small")
weights = load_weights_apart(architecture, folder / "w.pth", folder)
assert set(weights) == set(architecture.network().parameters() | architecture.network().buffers())
try:
    load_weights_apart(load_architecture("squeezenas-mac-large"), folder / "w.pth", folder)
except InvalidWeights as error:
    sys.stdout.write(str(error))
assert "torch" not in sys.modules
"""


def test_a_process_without_torch_reads_torch_files(tmp_path: Path) -> None:
    torch.save(as_published(SMALL), tmp_path / "w.pth")
    command = [sys.executable, "-c", APART, str(tmp_path)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(
        f"{tmp_path / 'w.pth'} does not fit squeezenas-mac-large: weights of another"
    )


def test_loading_apart_runs_nothing_of_the_current_folder(traps: Path, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(as_published(SMALL), traps / "w.pth")
    assert load_weights_apart(SMALL, Path("w.pth"), folder)


def test_loading_apart_is_loading(tmp_path: Path) -> None:
    torch.save(as_published(SMALL), tmp_path / "w.pth")
    apart = load_weights_apart(SMALL, tmp_path / "w.pth", tmp_path)
    np.testing.assert_equal(apart, load_weights(SMALL, tmp_path / "w.pth"))
    save_weights(tmp_path / "again.safetensors", apart)
    np.testing.assert_equal(load_weights_apart(SMALL, tmp_path / "again.safetensors", tmp_path), apart)
    with pytest.raises(InvalidWeights, match=r"absent\.pth: no such file of weights$"):
        load_weights_apart(SMALL, tmp_path / "absent.pth", tmp_path)


WITHOUT_NUMBERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sparse": lambda tensor: tensor.to_sparse(),
    "quantised": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    "complex": lambda tensor: tensor.to(torch.complex64),
    r"without values \(of the meta device\)": lambda tensor: tensor.to("meta"),
    "larger than what is stored of it": lambda tensor: torch.zeros(1).expand(tensor.shape),
}


@pytest.mark.parametrize("kind", WITHOUT_NUMBERS)
def test_tensors_without_plain_numbers_are_named(kind: str, tmp_path: Path) -> None:
    state = tensors()
    torch.save(
        state | {"stem.conv.weight": WITHOUT_NUMBERS[kind](state["stem.conv.weight"])}, tmp_path / "w.pth"
    )
    assert re.match(rf": the tensor stem\.conv\.weight is {kind}; allowed: ", refusal(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stem.conv.weight", float("nan")),
        ("stem.bn.running_mean", float("-inf")),
        ("stem.bn.running_var", -0.1),
        ("stem.conv.weight", 1e300),  # infinite in float32
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_make_no_numbers_are_refused(
    name: str, value: float, suffix: str, tmp_path: Path
) -> None:
    state = {key: tensor.double() for key, tensor in tensors().items()}
    state[name].ravel()[0] = value
    path = tmp_path / f"w{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_torch_tensors(state, path)
    said = refusal(path)
    assert said.startswith(
        f": 1 of {len(state)} tensors hold what is no finite number, or a variance below 0: {name};"
    )
    weights = {key: tensor.float().numpy() for key, tensor in state.items()}
    with pytest.raises(InvalidWeights, match="not written: 1 of"):
        save_weights(tmp_path / "again.safetensors", weights)
    assert not (tmp_path / "again.safetensors").exists()


def test_one_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    state = tensors()
    torch.save(state | {"module.stem.conv.weight": torch.zeros(1)}, tmp_path / "w.pth")
    assert refusal(tmp_path / "w.pth").startswith(
        ": stem.conv.weight and module.stem.conv.weight are both stem.conv.weight; leave one of them out"
    )


def test_weights_of_complex_numbers_are_refused(tmp_path: Path) -> None:
    save_torch_tensors(
        {key: tensor.to(torch.complex64) for key, tensor in tensors().items()}, tmp_path / "w.safetensors"
    )
    assert "complex64" in refusal(tmp_path / "w.safetensors")


@pytest.mark.parametrize("published", [False, True], ids=["ours", "published"])
def test_a_networks_weights_fill_the_encoder_that_is_its_first_part(tmp_path: Path, published: bool) -> None:
    decoder = ["8", "0 0 5 2", "0 2 8 8", "0 5 1 4", "2 2", "2 1", "2 0"]
    architecture = Architecture(space="fastdense@squeezenas-mac-small", blocks=decoder, num_classes=7)
    donor, path = tensors(), tmp_path / "w.pth"
    torch.save(as_published(SMALL) if published else donor, path)
    begin = load_beginning(architecture, path)
    assert {name.split(".")[0] for name in begin.tensors} == {"encoder"}
    for name, values in begin.tensors.items():
        np.testing.assert_array_equal(values, donor[name.removeprefix("encoder.")])
    assert {name.split(".")[0] for name in begin.fresh} == {"decoder"}
    network = architecture.network()
    wanted = network.parameters().keys() | network.buffers().keys()
    assert begin.tensors.keys() | set(begin.fresh) == wanted
    del donor["blocks.0.project.conv.weight"]
    torch.save(donor, path)
    with pytest.raises(InvalidWeights, match=r"missing encoder\.blocks\.0\.project\.conv\.weight"):
        load_beginning(architecture, path)
