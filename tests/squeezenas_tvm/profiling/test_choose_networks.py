"""Which networks to measure: architecture files and a CSV file to fill in, never overwritten."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from cost_models.device_models.fewshot import TERMS, choose_networks, work_of_networks
from search.architecture import architecture_of, load_architecture
from search.costs.kernel_table import network_kernels
from search.data.classes import unnamed
from search.spaces import sampling
from search.spaces.registry import get_space
from squeezenas_tvm.profile import main
from squeezenas_tvm.profiling.choose_networks import choose_architectures, draw, work_of_genotypes

from ..helpers import SIZE, refused_by

SPACE = get_space("small")


def chosen(folder: Path, *more: str) -> list[str]:
    return [
        *("--target", "jetson-orin", "--space", "small", "--resolution", str(SIZE)),
        *("--choose-networks", "5", "--out", str(folder), *more),
    ]


def test_files_to_measure_and_to_fill_in(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(chosen(tmp_path, "--json")) == 0
    document = json.loads(capfd.readouterr().out)
    measured = Path(document["measured"])
    with measured.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(document["networks"]) == 5
    for row, network in zip(rows, document["networks"], strict=True):
        architecture = load_architecture(measured.parent / row["network"])
        assert Path(network["file"]) == measured.parent / row["network"]
        assert architecture.blocks == network["blocks"]
        assert f"chosen to be measured at {SIZE}, seed 0" in (architecture.origin or "")
        assert (row["resolution"], row["latency_ms"]) == (str(SIZE), "")
    assert len({tuple(network["blocks"]) for network in document["networks"]}) == 5


def test_text_says_what_to_do_next(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(chosen(tmp_path)) == 0
    said = capfd.readouterr().out
    measured = tmp_path / f"networks-squeezenas-small-{SIZE}" / "measured.csv"
    assert f"squeezenas-tvm deploy {measured.parent}/squeezenas-small-01.yaml --target jetson-orin" in said
    assert f"squeezenas-tvm profile --target jetson-orin --from-networks {measured}" in said


def test_what_somebody_filled_in_is_never_overwritten(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(chosen(tmp_path)) == 0
    assert main(chosen(tmp_path)) == 0  # the same files
    (measured,) = tmp_path.glob("*/measured.csv")
    filled = measured.read_text().replace(f"{SIZE},,", f"{SIZE},12,")
    measured.write_text(filled)
    capfd.readouterr()
    refused_by(main, chosen(tmp_path), "measured.csv: is there already, and differs; move it away", capfd)
    assert measured.read_text() == filled
    refused_by(main, chosen(tmp_path, "--seed", "1"), "is there already, and differs", capfd)
    assert measured.read_text() == filled


def test_wrong_numbers_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    few = [*chosen(tmp_path), "--choose-networks", "3"]
    refused_by(main, few, "--choose-networks 3: fewer than 4 tell nothing; allowed: 4 or more", capfd)
    tracker = chosen(tmp_path, "--tracker", "127.0.0.1:1")
    refused_by(main, tracker, "--tracker 127.0.0.1:1 is not for --choose-networks", capfd)
    many = [*chosen(tmp_path), "--choose-networks", "2001"]
    refused_by(main, many, "space squeezenas-small: 2001 networks to choose of 2000; choose fewer", capfd)
    single = [*chosen(tmp_path), "--space", "mobilenetv3-small"]
    refused_by(main, single, "space mobilenetv3-small: 5 networks to choose of 1; choose fewer", capfd)
    both = [*chosen(tmp_path), "--from-networks", "x.csv"]
    refused_by(main, both, "not allowed with argument", capfd)
    assert list(tmp_path.iterdir()) == []


def test_work_of_many_networks_is_that_of_each() -> None:
    drawn = draw(SPACE, 6, seed=3)
    architectures = [architecture_of(SPACE, genotype, unnamed(19)) for genotype in drawn]
    each = work_of_networks(network_kernels(architecture, SIZE) for architecture in architectures)
    np.testing.assert_allclose(work_of_genotypes(SPACE, SIZE, drawn, 19), each)


def test_draws_differ_in_size_more_than_those_that_like_all_blocks_alike() -> None:
    macs = TERMS.index("MACs")
    drawn = draw(SPACE, 300, 0)
    own = work_of_genotypes(SPACE, SIZE, drawn, 19)[:, macs]
    generator, candidates = np.random.default_rng(0), sampling.candidates_of(SPACE)
    random = sampling.genotypes(SPACE, sampling.draw(candidates, 300, generator))
    alike = work_of_genotypes(SPACE, SIZE, list(random), 19)[:, macs]
    assert own.std() / own.mean() > 1.25 * alike.std() / alike.mean()
    assert len({json.dumps(genotype) for genotype in drawn}) == 300


def test_the_same_seed_chooses_the_same_networks() -> None:
    first, again, other = (choose_architectures(SPACE, SIZE, 6, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    drawn = draw(SPACE, 2000, 0)
    rows = choose_networks(work_of_genotypes(SPACE, SIZE, drawn, 19), 6)
    assert first[0].blocks == architecture_of(SPACE, drawn[rows[0]], unnamed(19)).blocks
