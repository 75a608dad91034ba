"""Fixtures that tests of all packages share."""

import importlib.metadata
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("targets", "cost_models", "search", "squeezenas_tvm")
LONGEST = (
    "squeezenas_tvm/test_deploy_onnx.py",
    "search/strategies/fasterseg/test_cosearch.py",
    "squeezenas_tvm/manual/test_python.py",
    "squeezenas_tvm/test_profile_onnx.py",
    "cost_models/profiling/test_profiler_faults.py",
    "squeezenas_tvm/test_search.py",
    "squeezenas_tvm/test_emulated.py",
    "squeezenas_tvm/test_deploy.py",
    "squeezenas_tvm/test_profile.py",
    "squeezenas_tvm/test_train.py",
    "squeezenas_tvm/test_profile_stops.py",
    "search/strategies/gumbel/test_gumbel.py",
    "cost_models/profiling/test_profiler_boards.py",
    "search/strategies/gas/test_gas.py",
    "search/parallel/test_ranks.py",
    "cost_models/builder/test_pool.py",
    "squeezenas_tvm/test_emulated_board.py",
    "squeezenas_tvm/test_kills.py",
)
"""Files of a minute and more. They come first: begun last, they would keep one process at work alone."""


def pytest_configure() -> None:
    """Ctrl-C works in tests and in what they start, also where pytest was started in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest first."""
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(autouse=True)
def loggers_as_found() -> Iterator[None]:
    """A command sets up the packages' loggers for its process: undone, for the process of a test goes on."""
    yield
    for name in ("targets", "cost_models", "search", "squeezenas_tvm"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


@pytest.fixture(scope="session", autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the user keeps in his settings, such as the key of boards, is neither used nor made by tests."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("settings"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data (photographs, published weights, tables), which is not in the repository."""
    folder = Path(os.environ.get("SQUEEZENAS_TVM_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data: no folder {folder}; name one with SQUEEZENAS_TVM_DATA")
    return folder


@pytest.fixture
def traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a file under the name of every module that a child could import."""
    installed = importlib.metadata.packages_distributions()
    for name in {*sys.stdlib_module_names, *installed, *PACKAGES}:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'RAN')!r}, 'a').write({name!r} + ' ')\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "RAN").exists(), (tmp_path / "RAN").read_text()
