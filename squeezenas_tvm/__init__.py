"""Find and ship the segmentation network that is most accurate within a latency budget on a device."""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squeezenas_tvm.api import (
        Architecture,
        LatencyTable,
        NetworkEstimate,
        Resolution,
        Target,
        estimate_latency,
        fit_device,
        get_space,
        list_architectures,
        list_targets,
        load_architecture,
        load_target,
    )

__version__ = "0.1.0"
__all__ = [
    "Architecture",
    "LatencyTable",
    "NetworkEstimate",
    "Resolution",
    "Target",
    "estimate_latency",
    "fit_device",
    "get_space",
    "list_architectures",
    "list_targets",
    "load_architecture",
    "load_target",
]

SIBLINGS = ("targets", "cost_models", "search")


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


def __getattr__(name: str) -> Any:
    """The public API, loaded on first use: the command line must not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public: {', '.join(__all__)}")
    return getattr(importlib.import_module("squeezenas_tvm.api"), name)
