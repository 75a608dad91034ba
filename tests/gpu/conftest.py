"""What tests of GPUs share: this machine's, or where it has none the one that its CPU emulates.

A process has the one or the other, which is decided before TVM is loaded: run them by themselves, as
``make test-gpu`` does.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from targets import Target, TargetError, load_target
from targets.cuda_stand_in import has_driver
from targets.emulated_cuda.findings import take_findings
from targets.emulated_cuda.libraries import VARIABLE
from targets.toolchain.emulated_compiler import EmulatedCompiler, find_emulated_compiler
from targets.toolchain.tools import find_tools

EMULATED = "emulated-cuda"


def pytest_configure(config: pytest.Config) -> None:
    """Where these tests are wanted and there is no GPU, this process gets the emulated one."""
    wanted = str(config.getoption("markexpr")).startswith("gpu")
    if wanted and not has_driver() and "tvm" not in sys.modules:
        os.environ.setdefault(VARIABLE, str(load_target(EMULATED).emulated_gpu))


@pytest.fixture(scope="session")
def gpu() -> Target:
    """The GPU; from here on this process compiles for it."""
    target = load_target(EMULATED if VARIABLE in os.environ else "local-cuda")
    try:
        find_tools(target, "float16").install()
    except TargetError as reason:
        pytest.skip(str(reason))
    return target


@pytest.fixture
def sound(gpu: Target) -> Callable[[], AbstractContextManager[None]]:
    """A block in which every access of kernels is checked on an emulated GPU, and none may be wrong."""

    @contextmanager
    def checked() -> Iterator[None]:
        compiler = find_tools(gpu).cuda
        if not isinstance(compiler, EmulatedCompiler):
            yield
            return
        find_emulated_compiler(compiler.arch, checked=True).install()
        take_findings()
        try:
            yield
        finally:
            compiler.install()
            found = [str(finding) for finding in take_findings()]
        assert found == []

    return checked
