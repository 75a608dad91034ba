"""The list of networks beside a table: kept whole, and refused where it makes no sense."""

import json
from pathlib import Path
from typing import Any

import pytest

from cost_models.database.profiled_networks import FILE, ProfiledNetwork, ProfiledNetworks
from cost_models.errors import IncompatibleTable
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import Graph, Node
from cost_models.ir.ops import Foreign

from ..some_kernels import convolution

HERE = {"device": "some board", "dtype": "float32"}
OWN = convolution(3, 8, 16, 32, 3)
POOL = Kernel(
    Graph(("x0",), (Node("n0", Foreign("MaxPool", (1, 8, 8, 16), steps=4096), ("x0",)),), ("n0",)),
    ((1, 8, 16, 32),),
    module="0123456789abcdef",
)


def network(name: str = "net.onnx", digest: str = "a", **changes: Any) -> ProfiledNetwork:
    told = {
        "name": name,
        "inputs": {"x": [1, 3, 16, 32]},
        "digest": digest,
        "kernels": [OWN.key, POOL.key, POOL.key],
        "reads": [[], [0], [0, 1]],
    }
    return ProfiledNetwork.model_validate(told | changes)


def kept(*networks: ProfiledNetwork) -> ProfiledNetworks:
    none = ProfiledNetworks(schema_version=1, fingerprint=HERE, networks=[], descriptions={})
    return none.also(networks, [OWN, POOL], "a test")


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    assert ProfiledNetworks.in_folder(tmp_path, HERE).networks == []
    kept(network()).save(tmp_path / FILE)
    there = ProfiledNetworks.in_folder(tmp_path, HERE)
    graph = there.graphs["a"]
    assert graph.kernels == (OWN, POOL, POOL)
    assert graph.reads == ((), (0,), (0, 1))
    assert there.networks[0].sizes == "1x3x16x32"


def test_of_one_file_and_size_the_latest_is_kept(tmp_path: Path) -> None:
    first = kept(network(), network("other.onnx", "b", inputs={"x": [1, 3, 8, 8]}))
    second = first.also([network(digest="c", kernels=[OWN.key], reads=[[]])], [OWN], "a test")
    assert [one.digest for one in second.networks] == ["c", "b"]
    larger = second.also([network(digest="d", inputs={"x": [1, 3, 64, 64]})], [OWN, POOL], "a test")
    assert [one.digest for one in larger.networks] == ["c", "b", "d"]
    alone = kept(network()).also([network(digest="c", kernels=[OWN.key], reads=[[]])], [OWN], "a test")
    assert alone.descriptions.keys() == {OWN.key}


def test_of_another_environment_nothing_is_known(tmp_path: Path) -> None:
    kept(network()).save(tmp_path / FILE)
    assert ProfiledNetworks.in_folder(tmp_path, HERE | {"device": "another"}).networks == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"descriptions": {}}, "damaged, net.onnx lacks kernels conv3x3"),
        (
            {"networks": [network().model_dump() | {"reads": [[], [1], [0]]}]},
            "lacks the order of its kernels",
        ),
        ({"networks": [network().model_dump() | {"reads": [[]]}]}, "lacks the order of its kernels"),
        ({"networks": [network().model_dump() | {"kernels": 3}]}, "networks[0].kernels: found 3"),
        ({"descriptions": {OWN.key: {"nodes": 1}, POOL.key: {}}}, "a kernel makes no sense"),
        (
            {"descriptions": {OWN.key: POOL.description, POOL.key: POOL.description}},
            "damaged, conv3x3+relu 3x16x32->8x16x32 #",
        ),
        ({"schema_version": 2}, "schema 2, this program reads 1; update squeezenas_tvm"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / FILE
    kept(network()).save(path)
    told = json.loads(path.read_text(encoding="utf-8")) | changes
    del told["sha256"]
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(IncompatibleTable) as error:
        ProfiledNetworks.in_folder(tmp_path, HERE)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
