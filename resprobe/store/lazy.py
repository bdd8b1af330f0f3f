"""The recorded groups of a file as datasets whose values are read when they are used.

xarray's engine on h5netcdf gives the same, but asks every variable for the size of every unlimited
dimension whenever it looks at a shape: the square of their number, a second for the recording of a
small network. Here each variable is looked at once. What is not in the form in which resprobe
writes is left to that engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
import xarray as xr
from xarray.backends import (
    AbstractDataStore,
    BackendArray,
    CachingFileManager,
    DummyFileManager,
    FileManager,
)
from xarray.core import indexing

if TYPE_CHECKING:
    import io

# What netCDF keeps for itself in attributes.
_HIDDEN = {"REFERENCE_LIST", "CLASS", "DIMENSION_LIST", "NAME", "_NCProperties", "_nc3_strict"}
_HIDDEN |= {"_Netcdf4Dimid", "_Netcdf4Coordinates"}


class OtherFormError(Exception):
    """A group has something that resprobe does not write."""


def open_groups(source: Path | io.BytesIO) -> dict[str, xr.Dataset]:
    """Give the groups that have a `committed` by path, as `xarray.open_groups` gives them.

    Args:
        source: the file, which stays open until the datasets are closed, or its content.

    Raises:
        OtherFormError: an object is of a form that resprobe does not write.
        OSError, RuntimeError, KeyError, ValueError, TypeError: as h5py has it of damage.
    """
    if isinstance(source, Path):
        return _groups(_Handle(_manager(source), str(source)))
    return _groups(_Handle(DummyFileManager(h5py.File(source, "r")), ""))


class _Handle(NamedTuple):
    """A file, which its manager opens again where it was closed because too many were open."""

    manager: FileManager[Any]
    path: str


def _manager(path: Path) -> FileManager[Any]:
    # HDF5 refuses to open one file twice in a process with and without its lock. It is opened as
    # plain xarray does, so that both can be used side by side; else as whoever has it open.
    manager: FileManager[Any] = CachingFileManager(h5py.File, str(path), mode="r")
    try:
        with manager.acquire_context():
            return manager
    except OSError as error:
        if "flag values don't match" not in str(error):
            raise
    return CachingFileManager(h5py.File, str(path), mode="r", kwargs={"locking": False})


def _groups(handle: _Handle) -> dict[str, xr.Dataset]:
    stores: dict[str, _Group] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and "committed" in item:
            stores[f"/{name}"] = _Group(handle, item)

    try:
        with handle.manager.acquire_context() as file:
            file.visititems(visit)
        return {name: xr.open_dataset(store, engine="store") for name, store in stores.items()}
    except BaseException:
        handle.manager.close()
        raise


class _Group(AbstractDataStore):
    """One group, as xarray takes it."""

    def __init__(self, handle: _Handle, group: h5py.Group) -> None:
        self.path, self._handle = handle.path, handle
        self._attributes = _attributes(group)
        self._variables: dict[str, xr.Variable] = {}
        self._unlimited: set[str] = set()
        sizes: dict[str, int] = {}
        for name, dataset in group.items():
            if isinstance(dataset, h5py.Datatype):  # of complex numbers
                continue
            if not isinstance(dataset, h5py.Dataset):
                raise OtherFormError(f"{name} is a {type(dataset).__name__}")
            dims = _dimensions(name, dataset)
            if any(sizes.setdefault(d, n) != n for d, n in zip(dims, dataset.shape, strict=True)):
                raise OtherFormError(f"{name} has another size than its dimension")
            self._unlimited |= {d for d, n in zip(dims, dataset.maxshape, strict=True) if n is None}
            self._variables[name] = _variable(handle, dims, dataset)

    def get_variables(self) -> Mapping[str, xr.Variable]:
        return self._variables

    def get_attrs(self) -> Mapping[str, Any]:
        return self._attributes

    def get_dimensions(self) -> set[str]:
        return {str(dim) for variable in self._variables.values() for dim in variable.dims}

    def get_encoding(self) -> dict[str, Any]:
        return {"unlimited_dims": self._unlimited}

    def close(self) -> None:
        self._handle.manager.close()


class _Values(BackendArray):
    """The values of one variable in the file."""

    def __init__(self, handle: _Handle, dataset: h5py.Dataset) -> None:
        self._handle, self._name = handle, dataset.name
        self.shape, self.dtype = dataset.shape, dataset.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER_1VECTOR
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        with self._handle.manager.acquire_context() as file:
            dataset = file[self._name]
            return (dataset.asstr() if self.dtype.kind == "O" else dataset)[key]


def _variable(handle: _Handle, dims: tuple[str, ...], dataset: h5py.Dataset) -> xr.Variable:
    text = dataset.dtype.kind == "O"
    if text and h5py.check_string_dtype(dataset.dtype) is None:
        raise OtherFormError(f"{dataset.name} is of type {dataset.dtype}")
    if (not text and dataset.dtype.kind not in "biufc") or h5py.check_enum_dtype(dataset.dtype):
        raise OtherFormError(f"{dataset.name} is of type {dataset.dtype}")
    encoding = {
        "dtype": str if text else dataset.dtype,
        "chunksizes": dataset.chunks,
        "contiguous": dataset.chunks is None,
        "source": handle.path,
        "original_shape": dataset.shape,
    }
    if dataset.chunks:
        encoding["preferred_chunks"] = dict(zip(dims, dataset.chunks, strict=True))
    values = indexing.LazilyIndexedArray(_Values(handle, dataset))
    return xr.Variable(dims, values, _attributes(dataset), encoding)


def _dimensions(name: str, dataset: h5py.Dataset) -> tuple[str, ...]:
    attributes = dataset.attrs
    if not dataset.shape:
        return ()
    if "DIMENSION_LIST" in attributes:
        scales = attributes["DIMENSION_LIST"]
        if any(len(scale) != 1 for scale in scales):
            raise OtherFormError(f"{dataset.name} has not one scale for each dimension")
        return tuple(
            h5py.h5r.get_name(scale[0], dataset.id).decode().rpartition("/")[2] for scale in scales
        )
    scale = attributes.get("CLASS") == b"DIMENSION_SCALE" and dataset.ndim == 1
    if not scale or "not a netCDF variable" in str(attributes.get("NAME")):
        raise OtherFormError(f"{dataset.name} has no dimensions, or is one without values")
    return (name,)


def _attributes(item: h5py.Dataset | h5py.Group) -> dict[str, Any]:
    return {name: _plain(name, item.attrs[name]) for name in item.attrs if name not in _HIDDEN}


def _plain(name: str, value: Any) -> Any:
    """Give an attribute as netCDF has it: a single item is no array, texts are a list."""
    if isinstance(value, str | np.number | np.bool_):
        return value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufO" or value.ndim != 1:
        raise OtherFormError(f"attribute {name} is a {type(value).__name__}")
    texts = value.tolist() if value.dtype.kind == "O" else value
    return texts[0] if len(texts) == 1 else texts
