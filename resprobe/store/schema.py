"""The layout of a file, declared before anything is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from resprobe.blocks.block import Block, Blocks
    from resprobe.quantities.quantity import Quantity

SCHEMA_VERSION = 1
CONVENTIONS = "CF-1.11"

# What became of a recording; stored as int8 with these as CF flags.
STATUS = (
    "recording",
    "finished",
    "reached_target",
    "reached_cap",
    "interrupted",
    "diverged",
    "stopped_disk_full",
)


# With these nobody will go on in the file.
ENDED = ("finished", "reached_target", "reached_cap", "diverged")


@dataclass(frozen=True)
class Variable:
    """One variable: its dimensions, dtype and attributes."""

    name: str
    dims: tuple[str, ...]
    dtype: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


# What came of rows that were recorded again after a resume (`replay.py`): scalars of their group,
# there from the beginning, because nothing is made in a live file. Readers see them as attributes.
REPLAY = (
    Variable(
        "replay_compared",
        (),
        "int64",
        {"long_name": "rows recorded again after a resume and compared", "units": "1"},
    ),
    Variable(
        "replay_differing",
        (),
        "int64",
        {"long_name": "rows that came out otherwise when recorded again", "units": "1"},
    ),
    Variable(
        "replay_first_step",
        (),
        "int64",
        {"long_name": "step of the first row that came out otherwise, 0 if none", "units": "1"},
    ),
    Variable(
        "replay_largest_difference",
        (),
        "float64",
        {"long_name": "largest relative difference of a row recorded again", "units": "1"},
    ),
)


@dataclass(frozen=True)
class Coordinate:
    """One coordinate that is known beforehand, with its values."""

    name: str
    dims: tuple[str, ...]
    values: Any
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """One leaf group of a file.

    Attributes:
        path: such as "/training/step" or "/norms".
        rows: the dimension along which rows are appended; its coordinate is an int64 variable.
        variables: everything that is written, appended or whole.
        coordinates: everything that is known when the file is made.
        row_coordinates: names of the variables that label rows.
    """

    path: str
    rows: str
    variables: tuple[Variable, ...]
    coordinates: tuple[Coordinate, ...] = ()
    row_coordinates: tuple[str, ...] = ()

    def variable(self, name: str) -> Variable:
        """Give a declared variable by its name."""
        return next(v for v in self.variables if v.name == name)


def declare(quantity: Quantity, dims: tuple[str, ...] | None = None) -> Variable:
    """Give the variable that stores a quantity as it is declared."""
    return Variable(
        quantity.name,
        quantity.dims if dims is None else dims,
        quantity.dtype,
        quantity.attributes(),
    )


def declare_over_batch(quantity: Quantity, rows: str) -> tuple[Variable, Variable]:
    """Give the two variables for mean and standard deviation over the samples of a batch."""
    dims = (rows, *quantity.dims[1:])
    attributes = quantity.attributes()
    return (
        Variable(
            quantity.name, dims, quantity.dtype, {**attributes, "cell_methods": "sample: mean"}
        ),
        Variable(
            f"{quantity.name}_std",
            dims,
            quantity.dtype,
            {
                **attributes,
                "long_name": f"{attributes['long_name']} (standard deviation over the batch)",
                "cell_methods": "sample: standard_deviation",
            },
        ),
    )


def block_coordinates(blocks: Sequence[Block] | Blocks) -> tuple[Coordinate, ...]:
    """Give the coordinates of the dimension `block`, its names first."""
    dims = ("block",)
    flag = {
        "long_name": "whether the block changes the shape of its features",
        "flag_values": np.array([0, 1], np.int8),
        "flag_meanings": "within_stage transition",
    }

    def place(name: str, meaning: str, values: list[int]) -> Coordinate:
        attributes = {"long_name": f"{meaning}, from 0", "units": "1"}
        return Coordinate(name, dims, np.array(values, np.int32), attributes)

    return (
        Coordinate("block", dims, [b.name for b in blocks], {"long_name": "name of the block"}),
        place("index", "place of the block in the network", [b.index for b in blocks]),
        place("stage", "number of the block's stage", [b.stage for b in blocks]),
        place("index_in_stage", "place in its stage", [b.index_in_stage for b in blocks]),
        Coordinate("skip", dims, [b.skip for b in blocks], {"long_name": "kind of the skip"}),
        Coordinate("transition", dims, np.array([b.transition for b in blocks], np.int8), flag),
        Coordinate(
            "activation",
            dims,
            [b.activation for b in blocks],
            {"long_name": "whether the block's own activation follows its addition"},
        ),
        Coordinate(
            "scale",
            dims,
            np.array([b.scale for b in blocks], np.float64),
            {"long_name": "step size h: the number that multiplies the branch", "units": "1"},
        ),
        Coordinate(
            "elements",
            dims,
            np.array([b.elements for b in blocks], np.int64),
            {"long_name": "number of elements of one sample's branch", "units": "1"},
        ),
    )


# The names of these beside the block's own, in this order also the columns of the block table.
BLOCK_COORDINATES = tuple(one.name for one in block_coordinates(()) if one.name != "block")
