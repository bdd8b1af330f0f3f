"""Reading the pickled batches of CIFAR without executing what a pickle may ask for.

A pickle is a program: `pickle.load` runs any callable that it names. Here the four callables that
an array of bytes needs are replaced by guarded twins, and every other name is refused. What a
pickle says of the state of arrays and types never reaches numpy, whose memory a damaged state can
corrupt: it is kept, checked and made into arrays afterwards.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from resprobe.errors import InputError


def load_pickled_arrays(data: bytes, source: str) -> Any:
    """Read a pickle made of dict, list, tuple, numbers, text, bytes and uint8 arrays.

    Text pickled by Python 2 comes as bytes, as CIFAR's own keys do.

    Args:
        data: the pickle.
        source: what to call it in messages.

    Raises:
        InputError: the pickle names anything else, or is damaged.
    """
    try:
        return _with_arrays(_RestrictedUnpickler(io.BytesIO(data), encoding="bytes").load())
    except _RefusedError as error:
        raise InputError(
            f"{source} asks for {error} while it is read, which an image batch never does: the "
            "file is not CIFAR's; get a fresh copy from a source you trust."
        ) from error
    except Exception as error:  # a damaged pickle may raise nearly anything, none of it ours
        raise InputError(
            f"{source} is not a readable CIFAR batch ({type(error).__name__}: {error}): it is "
            "truncated or damaged; get a fresh copy."
        ) from error


class _RefusedError(Exception):
    """A name that no image batch needs."""


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows the names in `_ALLOWED` and no other."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None


class _Array:
    """In place of an array: what the pickle says of it.

    The class has slots, here and below, so that a pickle can set no attribute on its instances.
    """

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array = np.empty(0, np.uint8)  # whatever size the pickle announces

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, content = state
        if not isinstance(kind, _Bytes) or not isinstance(content, bytes):
            raise _RefusedError("an array of other things than bytes")
        order: Any = "F" if by_columns else "C"
        self.array = np.frombuffer(content, np.uint8).reshape(shape, order=order).copy()


class _NewArray:
    """In place of numpy's `_reconstruct`."""

    __slots__ = ()

    def __call__(self, kind: Any, *_: Any) -> Any:
        if kind is not _ARRAY:
            raise _RefusedError(f"an array of class {kind!r}")
        return _Array()


def _with_arrays(loaded: Any) -> Any:
    """Give what was read with arrays in their places."""
    if isinstance(loaded, _Array):
        return loaded.array
    if isinstance(loaded, dict):
        return {_with_arrays(key): _with_arrays(item) for key, item in loaded.items()}
    if isinstance(loaded, list | tuple):
        return type(loaded)(_with_arrays(item) for item in loaded)
    return loaded


class _ArrayName:
    """Stands for `numpy.ndarray` as an argument; it can make nothing."""

    __slots__ = ()


class _Bytes:
    """In place of the type of unsigned bytes; what a pickle says of its state is dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple):
            raise _RefusedError("a type with attributes")


class _ByteType:
    """In place of `numpy.dtype`: unsigned bytes only, so that no array can hold objects."""

    __slots__ = ()

    def __call__(self, name: Any, *_: Any) -> Any:
        if name not in ("u1", b"u1", "|u1", b"|u1", "uint8"):
            raise _RefusedError(f"an array of type {name!r}")
        return _Bytes()


class _BytesFromText:
    """In place of `_codecs.encode`, by which Python 3 writes bytes for Python 2."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise _RefusedError(f"the codec {encoding!r}")
        return text.encode("latin1")


_ARRAY = _ArrayName()
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _NewArray(),
    ("numpy._core.multiarray", "_reconstruct"): _NewArray(),
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _ByteType(),
    ("_codecs", "encode"): _BytesFromText(),
}
