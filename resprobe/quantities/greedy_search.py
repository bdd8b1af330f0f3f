"""Drop blocks one after the other, each time the one that is missed least: the search alone.

It knows no network: `Measure` says of images and sets of blocks how the network answers. A step
gives what trying every block on every image would give, with fewer measurements: images that the
network answers least surely come first, and a block is given up as soon as it errs on more images
than another one on all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# What decides the blocks, for the settings of a collection: a change of `search` is said here.
SEARCH_RULE = "fewest errors, then smallest mean loss, then first; until halfway to chance"

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


class Answers(NamedTuple):
    """How the network answers without some blocks.

    Attributes:
        wrong: whether it errs, `(set, image)`.
        loss: its cross-entropy, `(set, image)` float64.
    """

    wrong: Flags
    loss: Floats


# Takes images, the blocks that are dropped already, and those of which each is dropped beside
# them: one set for each of these, or the dropped ones alone where there are none.
Measure = Callable[[Integers, Sequence[int], Sequence[int]], Answers]


class Progress(NamedTuple):
    """How far a search is.

    Attributes:
        dropped: the blocks dropped so far, in order.
        drop: the number of the drop that is looked for, from 1; 0 while the network is measured
            from which the search starts or goes on.
        error: of the network without those dropped before this drop, over all images; at the end
            without all of them.
        done: images of the present step that are measured; of those that are measured twice,
            without the likeliest block and without the others, each time counts half. All of them
            once the block is chosen.
        total: all images.
        ended: whether the search is over.
    """

    dropped: tuple[int, ...]
    drop: int
    error: float
    done: int
    total: int
    ended: bool = False


@dataclass
class _Tried:
    """A set of blocks, measured on some of the images.

    Attributes:
        loss: of each measured image, `(image,)`.
        measured: which images these are, `(image,)`.
        errors: how many of them the network errs on.
    """

    loss: Floats
    measured: Flags
    errors: int = 0

    @classmethod
    def of(cls, images: int) -> _Tried:
        return cls(np.zeros(images), np.zeros(images, np.bool_))

    def add(self, images: Integers, wrong: Flags, loss: Floats) -> None:
        self.measured[images], self.loss[images] = True, loss
        self.errors += int(wrong.sum())

    def key(self) -> tuple[int, float]:
        """Give the errors and the mean loss so far; a loss that is no number is the worst."""
        mean = float(self.loss[self.measured].mean())
        return self.errors, mean if np.isfinite(mean) else np.inf


def halfway_to_chance(error: float, labels: Integers) -> float:
    """Give the error halfway from a network's own to that of always answering one class.

    Args:
        error: of the whole network on these images.
        labels: of the images, `(image,)`; the class is the most frequent one.
    """
    chance = 1 - float(np.unique(labels, return_counts=True)[1].max()) / labels.size
    return (error + chance) / 2


def search(
    measure: Measure, blocks: int, labels: Integers, size: int, dropped: Sequence[int] = ()
) -> Generator[Progress]:
    """Drop blocks greedily until the error is halfway to chance.

    At every step each remaining block is dropped in addition to those dropped so far, and the one
    is taken without which the network errs on the fewest images; among equals the one with the
    smallest mean loss, then the first. The search ends with the first set that brings the error
    halfway from the whole network's to chance, or with all blocks.

    Args:
        measure: says how the network answers.
        blocks: how many there are.
        labels: of the images that it may choose by, `(image,)`.
        size: most images measured at once.
        dropped: what an earlier search has dropped, to go on from.

    Yields:
        Progress after every measurement; `dropped` of the last one is what was found.
    """
    images = labels.size
    found = tuple(dropped)
    start = Progress(found, 0, np.nan, 0, images)
    whole = now = yield from _measured(measure, images, size, (), start)
    limit = halfway_to_chance(whole.errors / images, labels)
    if found:
        now = yield from _measured(measure, images, size, found, start)
    while len(found) < blocks and now.errors / images < limit:
        remaining = [block for block in range(blocks) if block not in found]
        told = Progress(found, len(found) + 1, now.errors / images, 0, images)
        now, found = yield from _step(measure, told, remaining, now, size)
    yield Progress(found, len(found), now.errors / images, images, images, ended=True)


def _measured(
    measure: Measure, images: int, size: int, without: Sequence[int], told: Progress
) -> Generator[Progress, None, _Tried]:
    tried = _Tried.of(images)
    for batch in _batches(np.arange(images), size):
        answers = measure(batch, without, ())
        tried.add(batch, answers.wrong[0], answers.loss[0])
        yield told._replace(done=int(batch[-1]) + 1)
    return tried


def _step(
    measure: Measure, told: Progress, remaining: Sequence[int], now: _Tried, size: int
) -> Generator[Progress, None, tuple[_Tried, tuple[int, ...]]]:
    """Drop one block more; give what the network answers without it, and all dropped blocks."""
    order = np.argsort(-np.nan_to_num(now.loss, nan=np.inf), kind="stable")
    batches = _batches(order, size)
    # twice as many images as it errs on: all of these, and as many that it is least sure of
    first = max(1, -(-2 * now.errors // size))
    tried = {block: _Tried.of(told.total) for block in remaining}
    halves = 0

    def measured(batch: Integers, chosen: Sequence[int], count: int) -> Iterator[Progress]:
        nonlocal halves
        answers = measure(batch, told.dropped, chosen)
        for block, wrong, loss in zip(chosen, answers.wrong, answers.loss, strict=True):
            tried[block].add(batch, wrong, loss)
        halves += count * batch.size
        if halves < 2 * told.total:
            yield told._replace(done=halves // 2)

    for batch in batches[:first]:
        yield from measured(batch, remaining, 2)
    likely = min(remaining, key=lambda block: tried[block].key())
    for batch in batches[first:]:
        yield from measured(batch, [likely], 1)
    most = tried[likely].errors
    alive = [block for block in remaining if block != likely]
    for batch in batches[first:]:
        alive = [block for block in alive if tried[block].errors <= most]
        if not alive:
            break
        yield from measured(batch, alive, 1)
    finished = [likely, *(block for block in alive if tried[block].errors <= most)]
    chosen = min(sorted(finished), key=lambda block: tried[block].key())
    found = (*told.dropped, chosen)
    yield told._replace(dropped=found, done=told.total)
    return tried[chosen], found


def _batches(images: Iterable[int], size: int) -> list[Integers]:
    every = np.asarray(images, np.int64)
    return [every[start : start + size] for start in range(0, every.size, size)]
