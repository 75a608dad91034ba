"""What tests on this machine's GPU share: its target, or the reason why there is none."""

import pytest

from targets import Target, TargetError, load_target
from targets.toolchain.tools import find_tools


@pytest.fixture(scope="session")
def gpu() -> Target:
    """This machine's GPU; from here on this process compiles for it."""
    target = load_target("local-cuda")
    try:
        find_tools(target, "float16").install()
    except TargetError as reason:
        pytest.skip(str(reason))
    return target
