"""What is left of the judged networks: a table, a picture, architectures."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from search.architecture import Architecture, load_architecture
from search.problem.goal import Budget
from search.problem.judged import Judged, pareto_front
from search.results.front import write_front
from search.spaces.registry import get_space
from targets.support.files import InTheWay

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

    front = pareto_front(networks, "latency")
    paths = write_front(tmp_path, wanted, networks, front, front[0], architecture, {})
    assert [path.name for path in paths] == ["00.yaml"]
    assert list((tmp_path / "front").iterdir()) == paths
    assert load_architecture(tmp_path / "chosen.yaml").name == "chosen"
    assert load_architecture(paths[0]).blocks == small.blocks
    lines = (tmp_path / "networks.csv").read_text().splitlines()
    assert lines[0].startswith("miou_percent,latency_ms,low_ms,high_ms,gmacs")
    assert lines[1].startswith("50,3,3,3,1,0.1,")
    assert lines[1].endswith(f",1,1,{' '.join(small.blocks)}")
    assert lines[2].endswith(f",0,0,{' '.join(other.blocks)}")
    assert Image.open(tmp_path / "front.png").size[0] > 500


def test_of_an_older_front_only_what_was_written_here_goes(tmp_path: Path) -> None:
    wanted = problem(strategy="random", space=TOY, scoring=TRAINING)
    found = [_judged(["deep", "k5", "w16"], 0.5, 4e-3), _judged(["deep", "k3", "w16"], 0.4, 3e-3)]

    def architecture(network: Judged, name: str) -> Architecture:
        genotype = dict(zip((d.name for d in TOY.decisions), network.options, strict=True))
        return wanted.architecture(genotype, name)

    def write(front: list[Judged]) -> None:
        write_front(tmp_path, wanted, found, front, front[0], architecture, {})

    def names() -> list[str]:
        return sorted(path.name for path in (tmp_path / "front").iterdir())

    write(found)
    assert names() == ["00.yaml", "01.yaml"]
    (tmp_path / "front" / "mine.yaml").write_bytes((tmp_path / "front" / "00.yaml").read_bytes())
    (tmp_path / "front" / "02.yaml").write_text("mine: 1\n")
    write(found[:1])
    assert names() == ["00.yaml", "02.yaml", "mine.yaml"]
    with (tmp_path / "front" / "00.yaml").open("a") as file:
        file.write("# a thought\n")
    with pytest.raises(
        InTheWay, match=r"front/00\.yaml: would be overwritten.*the same command with --resume"
    ):
        write(found[1:])
    assert (tmp_path / "front" / "00.yaml").read_text().endswith("# a thought\n")


def test_networks_without_a_short_form_are_spelled_out(tmp_path: Path) -> None:
    wanted = problem(strategy="random", space=TOY, scoring=TRAINING)
    network = _judged(["deep", "k5", "w16"], 0.5, 3e-3)

    def architecture(network: Judged, name: str) -> Architecture:
        genotype = dict(zip((d.name for d in TOY.decisions), network.options, strict=True))
        return wanted.architecture(genotype, name)

    (path,) = write_front(tmp_path, wanted, [network], [network], network, architecture, {})
    assert (
        (tmp_path / "networks.csv")
        .read_text()
        .splitlines()[1]
        .endswith(",1,1,branch=deep deep.kernel=k5 tail=w16")
    )
    read = load_architecture(path)
    assert read.choices == {"branch": "deep", "deep.kernel": "k5", "tail": "w16"}
    assert read.labels == wanted.data.classes
