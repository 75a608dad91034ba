"""Find and ship the segmentation network that is most accurate within a latency budget on a device."""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.about import SIBLINGS
from squeezenas_tvm.about import __version__ as __version__

if TYPE_CHECKING:
    from squeezenas_tvm import api
    from squeezenas_tvm.api import *  # noqa: F403

    __all__ = []
    __all__ += api.__all__


def _location(name: str) -> Path | None:
    """The folder that ``import name`` would take its package from, or the file of a plain module."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        folders = list(getattr(loaded, "__path__", []))
    else:
        spec = find_spec(name)
        if spec is None:
            return None
        file = spec.origin if spec.has_location else None
        folders = list(spec.submodule_search_locations or [])
    return Path(folders[0] if folders else file or name).resolve()


def _check_siblings() -> None:
    """These names are general: another package of the same name would be taken for ours without a word."""
    home = Path(__file__).resolve().parent.parent
    for name in SIBLINGS:
        found, own = _location(name), home / name
        if found == own:
            continue
        if found is None or not own.is_dir():
            raise ImportError(
                f"squeezenas_tvm needs its package {name!r} at {own}; install squeezenas-tvm again"
            )
        raise ImportError(
            f"squeezenas_tvm needs its own package {name!r} at {own}, but {found} hides it; "
            "rename that one, start Python in another folder, or take its folder out of PYTHONPATH"
        )


_check_siblings()


if not TYPE_CHECKING:  # which knows the names, and so what is none

    def __getattr__(name: str) -> Any:
        """The public API, loaded on first use: the command line must not wait for it. `api` lists it."""
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        public = importlib.import_module("squeezenas_tvm.api")
        if name == "__all__":
            return public.__all__
        if name not in public.__all__:
            names = ", ".join(public.__all__)
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public: {names}")
        return getattr(public, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
