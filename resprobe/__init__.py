"""resprobe: diagnostics for trained residual networks.

`Recorder` measures while anybody's loop trains, `HuggingFaceCallback` and `LightningCallback`
within their trainers, `open` reads what was measured as one `xarray.DataTree` and `block_table` as
a table, `find_blocks` finds the residual blocks of a network and `measure` measures one in memory.
Importing this package imports no torch: the public names load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resprobe.blocks.discover import find_blocks
    from resprobe.measuring import measure
    from resprobe.record import Recorder
    from resprobe.store.reader import open  # noqa: A004 - the reader is `resprobe.open` by contract
    from resprobe.table import block_table

__version__ = "0.1.0"

_LAZY = {
    "HuggingFaceCallback": "resprobe.callbacks.huggingface",
    "LightningCallback": "resprobe.callbacks.lightning",
    "Recorder": "resprobe.record",
    "block_table": "resprobe.table",
    "find_blocks": "resprobe.blocks.discover",
    "measure": "resprobe.measuring",
    "open": "resprobe.store.reader",
}

# Without the callbacks: `import *` must not need frameworks that are not installed.
__all__ = ["Recorder", "__version__", "block_table", "find_blocks", "measure", "open"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'resprobe' has no attribute {name!r}")
    import importlib
    import sys

    from resprobe.errors import MissingNameError, MissingPackageError

    try:
        return getattr(importlib.import_module(_LAZY[name]), name)
    except MissingPackageError as error:
        # `from resprobe import …` would hide an AttributeError and its message; `hasattr` and
        # tools that look at modules take nothing else.
        if sys._getframe(1).f_globals.get("__name__") == "importlib._bootstrap":
            raise
        raise MissingNameError(str(error)) from error


def __dir__() -> list[str]:
    return sorted(__all__)
