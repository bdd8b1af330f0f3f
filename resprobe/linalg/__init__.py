"""Pure numerics on tensors and functions of tensors; no files, no block names.

`jacobian` gives the exact Jacobian of a module or a callable at one sample, `spectrum` the
eigenvalues of one. Importing this package imports no torch: the public names load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resprobe.linalg.jacobians import jacobian
    from resprobe.linalg.spectra import spectrum

_LAZY = {
    "jacobian": "resprobe.linalg.jacobians",
    "spectrum": "resprobe.linalg.spectra",
}

__all__ = ["jacobian", "spectrum"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'resprobe.linalg' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
