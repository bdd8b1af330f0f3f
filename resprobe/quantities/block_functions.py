"""What the families that measure blocks as functions have in common: blocks, parts, rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.quantities.family import sample_group
from resprobe.store.schema import Coordinate, Group

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Part, Pass
    from resprobe.blocks.path import Path
    from resprobe.linalg.linear_map import LinearMap

# The functions of a block: x -> G, and x -> I(s + G).
PARTS: tuple[Part, ...] = ("branch", "block")
PART = Coordinate(
    "part",
    ("part",),
    list(PARTS),
    {"long_name": "whether the Jacobian is of the branch, x -> G, or of the block, x -> I(s + G)"},
)


class BlockFunctions:
    """Measures functions of the blocks, sample by sample; see `Costly` and `Measurement`.

    A family gives `rows`; nothing is added up over the samples.
    """

    family = ""
    sees_blocks = False
    sees_outputs = False
    needs_replays = False
    needs_states = False
    needs_functions = True
    reestimates = False
    counted: tuple[str, ...] = ()
    samples_at_once = 4
    products = 0  # with each Jacobian or its transpose that a sample takes, about

    def __init__(self, model: nn.Module, blocks: Blocks, classes: Sequence[str]) -> None:
        del model
        self.blocks, self._classes = blocks, classes
        self.measured = 0  # samples before this batch

    def group(self) -> Group:
        """Give the layout of the family's group."""
        group = sample_group(f"/{self.family}", self.blocks, self._classes)
        return replace(group, coordinates=(*group.coordinates, PART))

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: the functions are evaluated again."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def try_on(self, whole: Pass) -> float:
        """Give about how many seconds a sample takes.

        Raises:
            InputError: a branch or block is no function of each sample alone.
        """
        from resprobe.linalg.linearise import linearise

        seconds = 0.0
        for block in self.blocks:
            for part in PARTS:
                linear = linearise(whole.path(block, part=part))
                if self.products:
                    seconds += _seconds(linear) * self.products
        return seconds

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Count the samples."""
        self.measured += len(rows["label"])

    def totals(self) -> dict[str, Any]:
        """Give nothing."""
        return {}


def _seconds(linear: LinearMap) -> float:
    """Give the seconds that a product with the map of one sample takes, the first one included."""
    import torch

    shape = (1, linear.samples, *linear.input_shape)
    ones = torch.ones(shape, dtype=linear.dtype, device=linear.device)
    started = time.perf_counter()
    float(linear.matvec(ones).flatten()[0])  # waits for an accelerator
    return (time.perf_counter() - started) / linear.samples


def map_of(path: Path) -> tuple[LinearMap, Tensor]:
    """Give the Jacobians of a function at its point, and how far off their J v is.

    By its linear steps where these agree with its derivative by autodiff, else by autodiff alone.

    Args:
        path: of a branch, a block or a span, with its samples.

    Returns:
        The map, and the relative error of J v of each sample, `(sample,)` float64.
    """
    from resprobe.linalg.agreement import map_errors, tolerance
    from resprobe.linalg.cost import terms
    from resprobe.linalg.linear_map import Autodiff
    from resprobe.linalg.linearise import linearise

    point, found = path.point(), linearise(path)
    errors = map_errors(found, path, point)
    if bool((errors <= tolerance(found.dtype, terms(found.steps, found.shapes))).all()):
        return found, errors
    other = Autodiff(path, point)
    return other, map_errors(other, path, point)


def by_block(
    blocks: Blocks, found: Iterator[Mapping[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """Stack what was found of each block and part, in order, to `(sample, block, part, …)`."""
    each = list(found)
    shape = (len(blocks), len(PARTS))
    stacked = {name: np.stack([one[name] for one in each], axis=1) for name in each[0]}
    return {
        name: values.reshape(len(values), *shape, *values.shape[2:])
        for name, values in stacked.items()
    }


def generators(first_sample: int, samples: int, *also: int) -> list[torch.Generator]:
    """Give a random generator for each sample, whatever else is in its batch.

    Args:
        first_sample: number of the first one in the collection.
        samples: how many.
        *also: numbers that tell apart what is drawn for one sample.
    """
    import torch

    made = []
    for sample in range(first_sample, first_sample + samples):
        seed = np.random.SeedSequence([sample, *also]).generate_state(1, np.uint64)[0]
        # On the host, so that every device draws the same.
        made.append(torch.Generator().manual_seed(int(seed)))
    return made


def as_tensors(rows: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Give rows as a `Measurement` does."""
    import torch

    return {name: torch.from_numpy(values) for name, values in rows.items()}
