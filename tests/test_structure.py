"""What holds for the code as a whole: who may import what, how long things may be, what must be there."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from squeezenas_tvm.cli import COMMANDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PACKAGES = ("targets", "cost_models", "search", "squeezenas_tvm")  # each may import those before it
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# TVM takes seconds to load and its names move between releases: these files, and nobody else, import it.
TVM_AT_TOP = ("targets/tvm_import.py", "cost_models/tvm_import.py")
TVM_IN_FUNCTIONS = (
    *("targets/*.py", "targets/*/*.py"),
    *("squeezenas_tvm/bundles/runner.py", "squeezenas_tvm/bundles/machine.py"),
)
TORCH = ("search/*.py", "search/*/*.py", "search/*/*/*.py", "squeezenas_tvm/*.py", "squeezenas_tvm/*/*.py")

# Travels in every bundle, where it is a program of its own.
STANDS_ALONE = ("squeezenas_tvm/bundles/runner.py",)

# Floors of each package, from the ground up: a room imports those of its own floor and of lower ones,
# wherever the import stands (in functions and under TYPE_CHECKING too).
FLOORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "targets": (
        ("support",),
        ("errors", "local_machine", "fingerprint"),
        ("spec", "published", "emulated_cuda"),
        ("cuda_stand_in",),
        ("tvm_import",),
        ("target",),
        ("toolchain", "sensors"),
        ("rpc",),
        ("fleet",),
        ("checks", "emulated_board"),
    ),
    "cost_models": (
        ("errors", "statistics", "tvm_import"),
        ("ir", "schedules"),
        ("onnx_io", "builder", "estimate"),
        ("database",),
        ("kernel_models", "lowering"),
        ("network_models", "runner"),
        ("device_models", "tuning"),
        ("cost_model", "profiling"),
        ("lookup",),
    ),
    "search": (
        ("errors", "resolution", "kept"),
        ("parallel",),
        ("spaces",),
        ("data",),
        ("architecture",),
        ("networks", "costs"),
        ("tasks", "remapping"),
        ("training", "supernet"),
        ("problem",),
        ("strategies",),
        ("results",),
        ("run",),
    ),
    "squeezenas_tvm": (
        ("errors", "about"),
        ("terminal",),
        ("bundles", "profiling", "training"),
        ("evaluation", "predicting", "reports", "searching", "serving"),
        ("comparing",),
        ("api",),
        ("cli", "options"),
        tuple(COMMANDS),
        ("completion",),  # knows all commands
        ("__main__", "emulated_board"),
    ),
}

SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> set[str]:
    """Top-level packages that the code below ``tree`` imports, in functions too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imports_at_top(tree: ast.AST) -> set[str]:
    """Packages that loading the file imports: those of its functions are left out."""
    names = imports(tree) if isinstance(tree, ast.Import | ast.ImportFrom) else set()
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            names |= imports_at_top(child)
    return names


def is_one_of(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(path.relative_to(ROOT).match(pattern) for pattern in patterns)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_imports_are_found_wherever_they_stand() -> None:
    tree = ast.parse(
        "import a.b\nif x:\n    from c.d import e\nclass F:\n    def g(self):\n        import h\n"
    )
    assert imports(tree) == {"a", "c", "h"}
    assert imports_at_top(tree) == {"a", "c"}


def module_of(path: Path) -> str:
    """Its dotted name; a package's is that of its ``__init__.py``."""
    name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix(".__init__")


MODULES = {module_of(path): path for path in SOURCES}


def modules_imported(tree: ast.AST) -> set[str]:
    """Modules of ours that code imports, wherever the import stands."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in inner}
    return names & MODULES.keys()


@cache
def graph() -> dict[str, set[str]]:
    """Module -> those that it imports."""
    return {name: modules_imported(parse(path)) - {name} for name, path in MODULES.items()}


def floor_of(module: str) -> int:
    """Of a module in its package; the package itself, whose face is its API, is at the top."""
    package, _, rest = module.partition(".")
    floors = FLOORS[package]
    return next((i for i, rooms in enumerate(floors) if rest.split(".")[0] in rooms), len(floors))


def test_files_import_each_other_in_no_circle() -> None:
    order = TopologicalSorter(graph())
    try:
        order.prepare()
    except CycleError as error:
        pytest.fail(f"a circle of files: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_its_floor(package: str) -> None:
    rooms = {name.split(".")[1] for name in MODULES if name.startswith(f"{package}.")}
    known = {room for rooms in FLOORS[package] for room in rooms}
    assert rooms == known, "tell tests/test_structure.py on which floor a new room stands"


@pytest.mark.parametrize("module", MODULES)
def test_no_import_goes_up_a_floor(module: str) -> None:
    package = module.split(".")[0]
    own = {other for other in graph()[module] if other.split(".")[0] == package}
    above = sorted(other for other in own if floor_of(other) > floor_of(module))
    assert not above, f"{module} imports {', '.join(above)}, which stand on a higher floor"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    above = set(PACKAGES[PACKAGES.index(package) + 1 :])
    wrong = imports(parse(path)) & above
    assert not wrong, f"{name_of(path)} imports {sorted(wrong)}, which sit above {package}/"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_tvm_is_imported_in_few_places(path: Path) -> None:
    tree = parse(path)
    if not is_one_of(path, TVM_AT_TOP):
        assert not imports_at_top(tree) & {"tvm", "tvm_ffi"}, f"{name_of(path)} loads TVM when it is imported"
    if not is_one_of(path, TVM_AT_TOP + TVM_IN_FUNCTIONS):
        assert not imports(tree) & {"tvm", "tvm_ffi"}, f"{name_of(path)} imports TVM; see {TVM_AT_TOP}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_torch_is_imported_in_search_and_above(path: Path) -> None:
    if not is_one_of(path, TORCH):
        assert "torch" not in imports(parse(path)), (
            f"{name_of(path)} imports torch; it slows tuning processes down"
        )


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    assert loaded_by(f"import {package}") & {"tvm", "torch", "onnx", "xgboost"} == set()


def test_tuning_and_measuring_never_load_torch() -> None:
    modules = [name_of(path)[:-3].replace("/", ".") for path in SOURCES if path.name != "__init__.py"]
    below = [name for name in modules if name.split(".")[0] in ("targets", "cost_models")]
    assert "torch" not in loaded_by(f"import {', '.join(below)}")


def test_a_target_does_not_load_torch_with_tvm() -> None:
    loaded = loaded_by("from targets.target import load_target\nload_target('local-cpu').fingerprint()")
    assert "tvm" in loaded
    assert "torch" not in loaded


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a fresh Python has loaded after ``statement``."""
    code = (
        f"{statement}\nimport sys\nsys.stdout.write(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    return set(process.stdout.split())


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE_LINES, f"{name_of(path)} has {lines} lines; split it"
    for function in functions(parse(path)):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        assert lines <= MAX_FUNCTION_LINES, f"{name_of(path)}: {function.name} has {lines} lines; split it"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_module(command: str) -> None:
    path = ROOT / "squeezenas_tvm" / f"{command}.py"
    assert path.is_file(), f"cli.COMMANDS names {command!r}, and there is no {name_of(path)}"
    defined = {node.name for node in parse(path).body if isinstance(node, ast.FunctionDef)}
    assert {"add_arguments", "execute", "main"} <= defined


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if is_one_of(path, ("squeezenas_tvm/*/*.py",))], ids=name_of
)
def test_work_knows_nothing_of_the_command_line(path: Path) -> None:
    if name_of(path) in STANDS_ALONE:
        return
    tree = parse(path)
    assert "argparse" not in imports(tree), f"{name_of(path)}: arguments are for squeezenas_tvm/*.py to read"
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    wrong = modules & {"squeezenas_tvm.cli", *(f"squeezenas_tvm.{command}" for command in COMMANDS)}
    assert not wrong, f"{name_of(path)} imports {sorted(map(str, wrong))}, which turn its work into words"


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = {package_name(line) for lines in [project["dependencies"], *extras] for line in lines}
    pins = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    loose = [
        pin
        for pin in pins
        if not re.fullmatch(r'[a-z0-9-]+==[^;*\s]+(; python_version [<>=]+ "[\d.]+")?', pin)
    ]
    assert not loose
    assert wanted - {project["name"]} <= {package_name(pin) for pin in pins}


def package_name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-")
