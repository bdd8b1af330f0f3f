"""The 1,797 handwritten digits that scikit-learn carries, at twice their size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from resprobe.data import Images, stratified

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEST_SAMPLES = 500
SPLIT_SEED = 0
CLASSES = tuple("0123456789")


def load(*, split: Literal["train", "test"], data_dir: Path | None = None) -> Images:
    """Handwritten digits 1×16×16, 1,297 training and 500 test, 10 classes; come with scikit-learn.

    Gives `(sample, 1, 16, 16)` float32, 0 to 1. The 8×8 images with grey levels 0 to 16 are
    divided by 16 and up-sampled bilinearly (pixel centres at quarters, rim repeated); every result
    is a multiple of 1/256 and exact in float32.
    The split is fixed: 500 test images drawn stratified with seed 0, the other 1,297 train.

    Source: E. Alpaydin and C. Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI
    Machine Learning Repository, doi:10.24432/C50P49, as carried by scikit-learn (its test part).

    Args:
        split: `"train"` or `"test"`.
        data_dir: not read; the data come with scikit-learn.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[stratified(labels, TEST_SAMPLES, SPLIT_SEED)] = True
    chosen = np.flatnonzero(held_out if split == "test" else ~held_out)
    grey = (bunch.images[chosen] / 16.0)[:, None]
    doubled = double(double(grey, axis=2), axis=3).astype(np.float32)
    return Images(doubled, labels[chosen], CLASSES)


def double(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Up-sample linearly to twice the length along one axis: ¾ of the near, ¼ of the next pixel."""
    before = np.concatenate([_edge(values, axis, 0), _inner(values, axis, 0, -1)], axis)
    after = np.concatenate([_inner(values, axis, 1, None), _edge(values, axis, -1)], axis)
    pairs = np.stack([0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], axis + 1)
    shape = list(values.shape)
    shape[axis] *= 2
    return pairs.reshape(shape)


def _edge(values: NDArray[np.float64], axis: int, position: int) -> NDArray[np.float64]:
    return np.take(values, [position], axis)


def _inner(
    values: NDArray[np.float64], axis: int, start: int, stop: int | None
) -> NDArray[np.float64]:
    return np.take(values, np.arange(values.shape[axis])[start:stop], axis)
