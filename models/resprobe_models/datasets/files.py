"""Data sets in files of their own: which files, where they lie, what to do without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from resprobe.data import Images
from resprobe.errors import InputError
from resprobe_models.datasets.cache import Download, cache_folder, fetch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = tuple[NDArray[np.uint8], NDArray[np.int64]]

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Layout:
    """One way in which the files of a data set are handed out.

    Attributes:
        folder: that the archive unpacks to.
        archive: its name.
        files: of each split, in order.
        read: `(folder, names, rows, classes)` to `(sample, channel, height, width)` uint8 pixels
            and `(sample,)` int64 labels; raises InputError for a damaged file.
    """

    folder: str
    archive: str
    files: Mapping[Split, tuple[str, ...]]
    read: Callable[[Path, tuple[str, ...], int, int], Samples]


@dataclass(frozen=True)
class FileSet:
    """A data set in files.

    Attributes:
        name: as registered.
        site: where its archives are published.
        classes: names in the order of the labels.
        rows: images in each file of a split.
        layouts: the ways in which it is handed out; the first is preferred, and downloaded.
        download: the archive of the first layout.
    """

    name: str
    site: str
    classes: tuple[str, ...]
    rows: Mapping[Split, int]
    layouts: tuple[Layout, ...]
    download: Download

    def load(self, split: Split, data_dir: Path | None) -> Images:
        """Read one split, from `data_dir` or from the cache, which is filled if need be.

        Args:
            split: `"train"` or `"test"`.
            data_dir: the folder of one of the layouts, or the one that holds it; nothing is
                downloaded then. None reads the cache.

        Raises:
            InputError: a file is missing or damaged, or cannot be downloaded.
            DiskFullError: there is no room for the download.
        """
        layout, folder = self._cached(split) if data_dir is None else self._given(split, data_dir)
        names = layout.files[split]
        pixels, labels = layout.read(folder, names, self.rows[split], len(self.classes))
        return Images(pixels, labels, self.classes)

    def _cached(self, split: Split) -> tuple[Layout, Path]:
        folder, layout = cache_folder(), self.layouts[0]
        found = self._find(split, folder)
        if found is not None:
            return found
        members = [f"{layout.folder}/{name}" for names in layout.files.values() for name in names]
        fetch(self.name, self.download, members, folder)
        return layout, folder / layout.folder

    def _given(self, split: Split, data_dir: Path) -> tuple[Layout, Path]:
        if not data_dir.is_dir():
            raise InputError(
                f"the data directory {data_dir} is not there. {self._how_to_get(self.layouts[0])}"
            )
        found = self._find(split, data_dir)
        if found is None:
            raise self._missing(split, data_dir)
        return found

    def _find(self, split: Split, data_dir: Path) -> tuple[Layout, Path] | None:
        for layout, folder in self._places(data_dir):
            if all((folder / name).is_file() for name in layout.files[split]):
                return layout, folder
        return None

    def _places(self, data_dir: Path) -> list[tuple[Layout, Path]]:
        return [
            (layout, folder)
            for layout in self.layouts
            for folder in (data_dir / layout.folder, data_dir)
        ]

    def _missing(self, split: Split, data_dir: Path) -> InputError:
        # The folder that comes nearest to a whole split is the one the user meant.
        nearest = [
            (layout, folder)
            for layout, folder in self._places(data_dir)
            if any((folder / name).is_file() for name in layout.files[split])
            or (folder.name == layout.folder and folder.is_dir())
        ]
        fallback = self.layouts[0], data_dir / self.layouts[0].folder
        layout, folder = nearest[0] if nearest else fallback
        missing = [name for name in layout.files[split] if not (folder / name).is_file()]
        return InputError(
            f"{self.name} lacks {', '.join(missing)}: looked for the {split} files in {folder} "
            f"and, in every layout, in and under {data_dir}. {self._how_to_get(layout)}"
        )

    def _how_to_get(self, layout: Layout) -> str:
        return (
            f"Download {layout.archive} from {self.site}, unpack it, and give the folder that "
            f"holds {layout.folder} as --data-dir, or leave out --data-dir to download."
        )


def refuse_other_size(path: Path, found: int, expected: int, rows: str) -> None:
    """Refuse a file that does not have the number of bytes that its rows take.

    Raises:
        InputError: it has more or fewer.
    """
    if found != expected:
        raise InputError(
            f"{path} holds {found:,} bytes, expected {expected:,} ({rows}): it is truncated or "
            "another file; get a fresh copy."
        )


def refuse_labels_outside(labels: NDArray[np.int64], path: Path, first: int, last: int) -> None:
    """Refuse labels that are not `first` to `last`.

    Raises:
        InputError: one is; the message names its row.
    """
    wrong = ((labels < first) | (labels > last)).nonzero()[0]
    if len(wrong):
        raise InputError(
            f"{path}: row {wrong[0]} has the label {labels[wrong[0]]}, expected {first} to {last} "
            f"({len(wrong):,} such rows): this is another data set, or damaged; get a fresh copy."
        )
