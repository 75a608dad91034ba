"""What is left of the judged networks: a table, a picture, architectures."""

from dataclasses import replace
from pathlib import Path

from PIL import Image

from search.architecture import Architecture, load_architecture
from search.problem.goal import Budget
from search.problem.judged import Judged, pareto_front
from search.results.front import write_front
from search.spaces.registry import get_space

from ..spaces.toy_space import TOY
from ..strategies.helpers import TRAINING, problem


def _judged(options: list[str], score: float, latency_s: float) -> Judged:
    return Judged(tuple(options), score, latency_s, latency_s, latency_s, 1e9, 1e5, 1e6, 1e6)


def test_the_front_is_written_as_csv_picture_and_architectures(tmp_path: Path) -> None:
    small = load_architecture("squeezenas-lat-small")
    other = load_architecture("squeezenas-mac-small")
    assert small.blocks is not None
    assert other.blocks is not None
    networks = [_judged(small.blocks, 0.5, 3e-3), _judged(other.blocks, 0.4, 4e-3)]
    wanted = replace(problem(), space=get_space("small"), budget=Budget.parse("3.5ms"))

    def architecture(network: Judged, name: str) -> Architecture:
        return small.model_copy(update={"name": name, "blocks": list(network.options)})

    (tmp_path / "front").mkdir()
    (tmp_path / "front" / "07.yaml").write_text("of an older front")
    front = pareto_front(networks, "latency")
    paths = write_front(tmp_path, wanted, networks, front, front[0], architecture)
    assert [path.name for path in paths] == ["00.yaml"]
    assert list((tmp_path / "front").iterdir()) == paths
    assert load_architecture(paths[0]).blocks == small.blocks
    lines = (tmp_path / "networks.csv").read_text().splitlines()
    assert lines[0].startswith("miou_percent,latency_ms,low_ms,high_ms,gmacs")
    assert lines[1].startswith("50,3,3,3,1,0.1,")
    assert lines[1].endswith(f",1,1,{' '.join(small.blocks)}")
    assert lines[2].endswith(f",0,0,{' '.join(other.blocks)}")
    assert Image.open(tmp_path / "front.png").size[0] > 500


def test_networks_without_a_short_form_are_spelled_out(tmp_path: Path) -> None:
    wanted = problem(strategy="random", space=TOY, scoring=TRAINING)
    network = _judged(["deep", "k5", "w16"], 0.5, 3e-3)

    def architecture(network: Judged, name: str) -> Architecture:
        genotype = dict(zip((d.name for d in TOY.decisions), network.options, strict=True))
        return wanted.architecture(genotype, name)

    (path,) = write_front(tmp_path, wanted, [network], [network], network, architecture)
    assert (
        (tmp_path / "networks.csv")
        .read_text()
        .splitlines()[1]
        .endswith(",1,1,branch=deep deep.kernel=k5 tail=w16")
    )
    read = load_architecture(path)
    assert read.choices == {"branch": "deep", "deep.kernel": "k5", "tail": "w16"}
    assert read.labels == wanted.data.classes
