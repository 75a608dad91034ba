"""The public names: one list, lazily loaded, typed and explained, and none that a command could take away."""

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import squeezenas_tvm as st
from squeezenas_tvm import api
from squeezenas_tvm.cli import COMMANDS

from ..helpers import ROOT

NAMES = list(st.__all__)
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(st, name))]
WORK = [name for name in FUNCTIONS if getattr(st, name).__module__.startswith("squeezenas_tvm.api")]


def python(script: str, cwd: Path) -> str:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_one_list() -> None:
    assert st.__all__ is api.__all__
    assert sorted(NAMES) == NAMES
    assert set(NAMES) <= set(dir(st))
    assert "estimate_latency" in WORK


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_and_explained(name: str) -> None:
    value = getattr(st, name)
    assert value is getattr(api, name)
    assert (value.__doc__ or "").strip()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_signature_is_annotated(name: str) -> None:
    signature = inspect.signature(getattr(st, name))
    assert signature.return_annotation is not signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not parameter.empty, f"{name}: {parameter.name}"


@pytest.mark.parametrize("name", WORK)
def test_the_work_is_silent_and_says_what_it_raises(name: str) -> None:
    parameters = inspect.signature(getattr(st, name)).parameters
    if "progress" in parameters:
        assert parameters["progress"].default is False
    assert "Raises" in (inspect.getdoc(getattr(st, name)) or "")


def test_no_name_is_that_of_a_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(st.__path__)}
    assert set(COMMANDS) <= modules
    assert modules.isdisjoint(NAMES)


def test_names_stay_what_they_are_once_the_commands_are_imported() -> None:
    for command in COMMANDS:
        importlib.import_module(f"squeezenas_tvm.{command}")
    assert [name for name in NAMES if getattr(st, name) is not getattr(api, name)] == []


def test_other_names_are_refused() -> None:
    with pytest.raises(
        AttributeError, match=r"has no attribute 'estimate_latencies'; public: Architecture, "
    ):
        st.estimate_latencies  # noqa: B018
    assert not hasattr(st, "__wrapped__")


def test_import_loads_nothing_until_used(tmp_path: Path) -> None:
    said = python(
        "import sys\n"
        "import squeezenas_tvm as st\n"
        "print(sorted({'tvm', 'torch', 'numpy', 'pydantic', 'yaml', 'onnx'} & set(sys.modules)))\n"
        "from squeezenas_tvm import *\n"
        "load_architecture('squeezenas-lat-small'); load_target('local-cpu'); get_space('small')\n"
        "print(sorted({'tvm', 'torch'} & set(sys.modules)), deploy_architecture is st.deploy_architecture)\n",
        cwd=tmp_path,
    )
    assert said == "[]\n[] True\n"
