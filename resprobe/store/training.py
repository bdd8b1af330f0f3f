"""The layout of `training.h5`: a row a recorded step, a row an epoch, Jacobians, a comparison."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe.quantities.block_functions import PART
from resprobe.quantities.quantity import all_quantities, of_family
from resprobe.store.schema import (
    REPLAY,
    Coordinate,
    Group,
    Variable,
    block_coordinates,
    declare,
    declare_over_batch,
)

if TYPE_CHECKING:
    from resprobe.blocks.block import Blocks

STEP, EPOCHS, JACOBIAN = "/training/step", "/training/epoch", "/training/jacobian"
PAIR = "/training/pair"
# What differs when an epoch is repeated.
UNREPEATABLE = ("wall_time",)

# The scalars of the Jacobians that are followed while training.
JACOBIAN_SCALARS = (
    "jacobian_frobenius_norm",
    "jacobian_spectral_norm",
    "jacobian_log_norm",
    "jacobian_spectral_abscissa",
    "jacobian_spectral_radius",
)
_JACOBIAN_DIMS = ("step", "sample", "block", "part")

_STEP = Variable("step", ("step",), "int64", {"long_name": "optimizer steps taken", "units": "1"})
EPOCH = (
    Variable("epoch", ("epoch",), "int64", {"long_name": "epochs completed", "units": "1"}),
    Variable("step", ("epoch",), "int64", {"long_name": "steps at its end", "units": "1"}),
    Variable(
        "train_loss", ("epoch",), "float64", {"long_name": "mean training loss", "units": "nat"}
    ),
    Variable(
        "train_error",
        ("epoch",),
        "float64",
        {"long_name": "fraction of training samples wrong while training", "units": "1"},
    ),
    Variable("test_loss", ("epoch",), "float64", {"long_name": "mean test loss", "units": "nat"}),
    Variable(
        "test_error",
        ("epoch",),
        "float64",
        {"long_name": "fraction of test samples wrong", "units": "1"},
    ),
    Variable(
        "learning_rate",
        ("epoch",),
        "float64",
        {"long_name": "learning rate of the epoch's last step", "units": "1"},
    ),
    Variable("wall_time", ("epoch",), "float64", {"long_name": "time of the epoch", "units": "s"}),
)


def training_groups(
    blocks: Blocks, parameters: Sequence[str], names: Collection[str]
) -> tuple[Group, Group]:
    """Give the two groups of a training record.

    Args:
        blocks: of the network.
        parameters: names of the parameters that are trained.
        names: of the quantities to record.
    """
    variables = [_STEP]
    for name, quantity in all_quantities().items():
        if name not in names:
            continue
        if quantity.while_training:
            variables.extend(declare_over_batch(quantity, "step"))
        elif quantity.family == "step":
            variables.append(declare(quantity))
        elif name == "weight_norm":
            variables.append(declare(quantity, ("step", "block")))
    return (
        Group(
            STEP,
            "step",
            (*variables, *REPLAY),
            (*block_coordinates(blocks), *_parameter_coordinates(blocks, parameters)),
            ("step",),
        ),
        Group(EPOCHS, "epoch", (*EPOCH, *REPLAY), (), ("epoch", "step")),
    )


def jacobian_group(blocks: Blocks, samples: int) -> Group:
    """Give the group of the Jacobians on fixed samples while training.

    Args:
        blocks: of the network.
        samples: how many there are.
    """
    known = all_quantities()
    place = Coordinate(
        "sample",
        ("sample",),
        np.arange(samples, dtype=np.int64),
        {"long_name": "place among the fixed samples", "units": "1"},
    )
    return Group(
        JACOBIAN,
        "step",
        (
            _STEP,
            *(declare(known[name], _JACOBIAN_DIMS) for name in JACOBIAN_SCALARS),
            *REPLAY,
        ),
        (*block_coordinates(blocks), PART, place),
        ("step",),
    )


def pair_group() -> Group:
    """Give the group of the comparison with a second network that is trained in lockstep."""
    figures = (declare(quantity) for quantity in of_family("pair"))
    return Group(PAIR, "step", (_STEP, *figures, *REPLAY), (), ("step",))


def _parameter_coordinates(
    blocks: Blocks, parameters: Sequence[str]
) -> tuple[Coordinate, Coordinate, Coordinate]:
    owner = {name: block.name for block in blocks for name in block.parameters}
    dims = ("parameter",)
    return (
        Coordinate("parameter", dims, list(parameters), {"long_name": "name of the parameter"}),
        Coordinate(
            "parameter_block",
            dims,
            [owner.get(name, "") for name in parameters],
            {"long_name": "block whose branch reads the parameter, empty outside"},
        ),
        Coordinate(
            "layer",
            dims,
            [name.rpartition(".")[0] for name in parameters],
            {"long_name": "path of the module that holds the parameter"},
        ),
    )
