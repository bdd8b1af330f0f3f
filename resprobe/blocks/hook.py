"""Hooks that stay with the module on which they were put."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Hook:
    """A hook of one module; where the module is copied or pickled, the copy's hook does nothing.

    A function would go along with the copy, or could not be pickled, and what a bound method
    belongs to would be copied too.

    Args:
        act: called as the hook; None does nothing.
    """

    def __init__(self, act: Callable[..., None] | None = None) -> None:
        self._act = act

    def __call__(self, *arguments: Any) -> None:
        """Act, if this is no copy."""
        if self._act is not None:
            self._act(*arguments)

    def __reduce__(self) -> tuple[type[Hook], tuple[()]]:
        return Hook, ()
