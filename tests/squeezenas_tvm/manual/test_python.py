"""What the manual shows of Python runs: its own lines, with tiny sizes and a fast target in their place."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import squeezenas_tvm as st
from cost_models.tuning.effort import Effort
from squeezenas_tvm.profiling.measure import Wanted, measure_kernels
from targets import load_target

from ...cost_models.some_kernels import relu
from ..helpers import command, finish
from ..test_add_a_space import SEARCH as EVOLUTION
from ..test_train import SCENES, recipe
from .pages import blocks

MEASURING, TRAINING, SCHEDULES, FITTING = blocks("docs/python.md", "python")
(ASKING,) = blocks("README.md", "python")


def run(block: str, cwd: Path, instead: dict[str, str], before: str = "", after: str = "") -> str:
    """Execute a block as a program of its own; what it prints."""
    for shown, tiny in instead.items():
        assert shown in block
        block = block.replace(shown, tiny)
    code, out, err = finish(command(program=("-c", f"{before}\n{block}\n{after}"), cwd=cwd), 600)
    assert code == 0, err
    assert "Traceback" not in err
    return out


def test_every_function_that_does_a_commands_work_is_shown() -> None:
    shown = set(re.findall(r"st\.(\w+)\(", MEASURING + TRAINING + SCHEDULES + FITTING))
    assert set(st.__all__) - shown == {
        *("Architecture", "LatencyTable", "NetworkEstimate", "PublishedDevice", "Resolution", "Target"),
        *("list_architectures", "list_targets", "load_device"),
    }


def test_measuring_and_deploying(almost_all: Path, quick: Path, tmp_path: Path) -> None:
    (tmp_path / "results/quick-cpu").mkdir(parents=True)
    shutil.copy(almost_all, tmp_path / "results/quick-cpu")
    pixels = np.random.default_rng(1).integers(0, 256, (64, 128, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "street.png")
    said = run(
        MEASURING,
        tmp_path,
        {
            "local-cpu": str(quick),
            "squeezenas-lat-small-camvid": "squeezenas-lat-small",
            "(256, 512)": "(64, 128)",
            'effort="quick"': "trials=0",
            "camvid:CamVid": SCENES,
        },
        before="from squeezenas_tvm.profiling import measure, profile_space\n"
        "measure.try_predictor, profile_space.sample_blocks = lambda *_: {}, lambda *_, **__: []",
        after="import sys\nassert 'torch' not in sys.modules\nassert profile.holes == []",
    )
    estimate, page, of_network, rows, seen, miou, predicted = said.splitlines()
    median, low, high = map(float, estimate.split())
    assert 0 < low < median < high < 1
    assert int(rows) > 100
    assert Path(page) == Path("results/quick-cpu/report.html")
    assert of_network == "squeezenas-lat-small-quick-cpu.html"
    assert all((tmp_path / written).is_file() for written in (page, of_network))
    assert (tmp_path / seen.split()[0]).is_file()
    assert float(seen.split()[1]) > 0
    assert 0 <= float(miou) <= 100
    assert "'measured': " in predicted


def test_training(tmp_path: Path) -> None:
    (tmp_path / "evolution.yaml").write_text(EVOLUTION, encoding="utf-8")
    instead = {
        "camvid:CamVid": SCENES,
        'recipe="camvid"': f'recipe="{tmp_path}/evolution.yaml"',
        "(360, 480)": "(64, 128)",
        "7ms": "0.5ms",
        '"camvid", "trained"': f'{recipe(tmp_path)!r}, "trained"',
    }
    said = run(TRAINING, tmp_path, instead, after="print(type(network).__name__)")
    found, miou, kind = said.splitlines()
    assert 0 < float(found.split()[0]) <= 1e-3
    assert found.split()[1] == "results/search-local-cpu"
    assert 0 <= float(miou) <= 100
    assert kind == "Network"
    assert (tmp_path / "trained/best.safetensors").is_file()


def test_schedules_to_and_from_tvm(quick: Path, tmp_path: Path) -> None:
    for name, trials in (("local-cpu", 2), ("elsewhere", 0)):
        wanted = Wanted(kernels=[relu(8, 8, 16)], effort=Effort.alone(trials))
        measure_kernels(load_target(quick), wanted, tmp_path / "results" / name, shown=False)
    of_quick = f'"tuned", target=st.load_target({str(quick)!r}))'
    written, taken = run(SCHEDULES, tmp_path, {'"tuned")': of_quick}).split()
    assert int(taken) == int(written) > 0


def test_fitting_a_device(tmp_path: Path) -> None:
    before = "def my_measurement_s(a): return 1e-3 + 1e-11 * a.network().macs({'x': (1, 3, 64, 128)})"
    said = run(FITTING, tmp_path, {"(512, 1024)": "(64, 128)", ", 10,": ", 5,"}, before=before)
    assert re.fullmatch(r"NetworkEstimate\(median_s=0\.00.*shares=\{'prior': 1\.0.*\)\n", said)


def test_asking(tmp_path: Path) -> None:
    said = run(ASKING, tmp_path, {'"local-cpu"': '"jetson-xavier"'}, after="assert size == (256, 512)")
    assert 0 < float(said) < 0.1


@pytest.mark.parametrize("block", [MEASURING, TRAINING, SCHEDULES, FITTING, ASKING])
def test_blocks_are_whole(block: str) -> None:
    assert block.startswith("import squeezenas_tvm as st\n")
