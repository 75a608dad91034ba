"""Real parts for the tests of targets/: two compiled libraries and one running server."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from targets import LocalServer, Target, load_target, local_rpc

BAD = """
int __tvm_ffi_spin(void *self, const void *args, int count, void *result) {
  volatile int go = 1;
  while (go);
  return 0;
}
int __tvm_ffi_crash(void *self, const void *args, int count, void *result) {
  *(volatile int *)8 = 1;
  return 0;
}
"""


@pytest.fixture(scope="session")
def local_cpu() -> Target:
    return load_target("local-cpu")


@pytest.fixture(scope="session")
def add_library(tmp_path_factory: pytest.TempPathFactory, local_cpu: Target) -> Path:
    """``main(x, y)``: y = x + 1, float32[8]."""
    from targets.tvm_import import tvm

    te = tvm.te
    x = te.placeholder((8,), name="x")
    y = te.compute((8,), lambda i: x[i] + 1.0, name="y")
    module: Any = tvm.compile(
        tvm.IRModule({"main": te.create_prim_func([x, y])}), target=local_cpu.tvm_target()
    )
    path = tmp_path_factory.mktemp("add") / "add.so"
    module.export_library(str(path))
    return path


@pytest.fixture(scope="session")
def bad_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``spin()`` never returns, ``crash()`` is a segmentation fault."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "bad.c").write_text(BAD)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "bad.so", "bad.c"], cwd=folder, check=True)
    return folder / "bad.so"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with local_rpc("local-cpu") as running:
        yield running
