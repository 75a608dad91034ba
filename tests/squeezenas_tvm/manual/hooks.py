"""The hooks by which the manual becomes a site; they are no package."""

from importlib import util
from types import ModuleType

from .pages import DOCS


def hook(name: str) -> ModuleType:
    """One of docs/hooks, loaded."""
    spec = util.spec_from_file_location(f"manual_{name}", DOCS / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
