"""The emulated GPU in the commands: refused where latencies are wanted. What works on it is tests/gpu's."""

import shutil
from pathlib import Path

import pytest

from search.data.classes import CLASSES
from squeezenas_tvm import networks, predict, profile, search
from squeezenas_tvm.bundles.assemble import assemble, seal
from squeezenas_tvm.bundles.machine import processor
from squeezenas_tvm.bundles.manifest import BundleError
from squeezenas_tvm.bundles.runner import Bundle

from .conftest import tiny_manifest

TARGETS = ("emulated-cuda", "emulated-cuda-sm87", "emulated-aarch64")


@pytest.mark.parametrize("target", TARGETS)
def test_latencies_of_an_emulated_device_are_refused(
    target: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command, given in (
        (predict, ["squeezenas-lat-small"]),
        (networks, ["squeezenas-lat-small"]),
        (search, ["--space", "small", "--data", "drawn", "--budget", "4ms"]),
        (profile, ["--from-networks", "measured.csv"]),
    ):
        assert command.main([*given, "--target", target]) == 2
        said = capfd.readouterr().err
        assert said.startswith(
            f"error: target {target}: its device is emulated, and its timings mean nothing; "
        )
        assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_emulated_bundle_in_a_process_that_has_loaded_tvm(sealed_bundle: Path, tmp_path: Path) -> None:
    with assemble(tmp_path / "emulated") as folder:
        for name in ("model.so", "network.onnx"):
            shutil.copy(sealed_bundle / name, folder)
        needs = {"machine": processor(), "cuda_arch": "sm_72", "cuda": None, "emulated": True}
        manifest = tiny_manifest(target="emulated-cuda", device="cuda", runs_on=needs)
        seal(folder, manifest, classes=CLASSES["cityscapes"], dataset="cityscapes")
    with pytest.raises(
        BundleError, match="this process has loaded TVM for other devices; run it in a process"
    ):
        Bundle.load(tmp_path / "emulated")
