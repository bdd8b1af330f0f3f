"""resprobe: diagnostics for trained residual networks.

`Recorder` measures while anybody's loop trains, `open` reads what was measured as one
`xarray.DataTree`, `find_blocks` finds the residual blocks of a network. Importing this package
imports no torch: the public names load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resprobe.blocks.discover import find_blocks
    from resprobe.record import Recorder
    from resprobe.store.reader import open  # noqa: A004 - the reader is `resprobe.open` by contract

__version__ = "0.1.0"

_LAZY = {
    "Recorder": "resprobe.record",
    "find_blocks": "resprobe.blocks.discover",
    "open": "resprobe.store.reader",
}

__all__ = ["Recorder", "__version__", "find_blocks", "open"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'resprobe' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
