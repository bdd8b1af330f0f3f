"""Samples divided in two: blocks are chosen by one half and tested on the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

HALVES = ("validation", "test")
VALIDATION, TEST = range(2)
# That of the usual draw of samples, so that more samples leave every one in its half.
_SEED = 0
# What decides the half of a sample, for the settings of a collection: a change of it is said here.
HALVES_RULE = f"each class in turn, odd ones from the test half, ordered by seed {_SEED}"


def halves(labels: npt.NDArray[np.int64], indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    """Divide samples into a validation and a test half, the classes alike in both.

    The samples of a class, in a random order of the whole data set, go to one half and the other
    in turn; odd classes begin with the test half. A class has at most one sample more in one half.
    The order is that of the usual draw (seed 0), so a sample of such a draw is in the same half
    however many are drawn.

    Args:
        labels: of the whole data set, `(sample,)`.
        indices: of the samples to divide, each once.

    Returns:
        `VALIDATION` or `TEST` for each index.
    """
    place = np.empty(len(labels), np.int64)
    place[np.random.default_rng(_SEED).permutation(len(labels))] = np.arange(len(labels))
    half = np.empty(len(indices), np.int8)
    own = labels[indices]
    for label in np.unique(own):
        members = np.flatnonzero(own == label)
        members = members[np.argsort(place[indices[members]])]
        half[members] = (np.arange(members.size) + label) % 2
    return half
