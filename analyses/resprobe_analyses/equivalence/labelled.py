"""The numbers of the analysis with names, dimensions, units and meaning.

Always: dimension `network` with the coordinates `network` (label), `group`, `seed`, `step`,
`dtype`, `residual` (1, 0, or -1 where unknown), `control` (1 where the partner was trained in
another way on purpose), `width_factor` (of the recipe's model).

Where pairs were recorded (the others NaN), over `(network, training_step)`: `loss`,
`loss_distance`, `output_distance`, `output_scale`, `gradient_distance`, `gradient_scale`,
`weight_distance`, `weight_scale`, `output_multiple`, `gradient_multiple`, `weight_multiple`
(distance/(u·scale), u the unit roundoff) and `log10_loss_distance`; over `(network,)`:
`initial_output_multiple`, `initial_gradient_multiple` (step 1), `lockstep_step` (50 or the last),
`lockstep_output_multiple`, `lockstep_gradient_multiple`, `rounding_multiple` (of the weights
there), `first_log10_loss_distance`, `first_loss_step`, `log10_loss_slope` (per step),
`log10_loss_start` (of the line, step 1), `loss_distance_zeros`, `loss_distance_not_finite`; over
`(pair_group,)`, with `…_interval` over `(pair_group, bound)`: `mean_log10_loss_slope`,
`mean_log10_loss_start`, `mean_first_log10_loss_distance`; over `(separation,)` and `(rounding,)`,
with `…_interval` likewise: `separation_ratio` (weight distance of a control beside that of the
equivalent pairs) and `rounding_ratio` (the first |ΔL| that is not 0, float32
beside float64).

Where epochs were recorded, over `(network, epoch)`: `train_loss`, `train_error`, `test_loss`,
`test_error`; over `(network,)`: `cost`, `squared_norm`; all of them with `partner_` before the name
where a network has a partner with epochs.

Where `weights` was collected, over `(network, state)`: `state_step`; over `(network, state,
statistic)`: `weight_table`, and `partner_weight_table` of the partner at the same steps; over
`(network, state, bin)`: `weight_histogram`, `id_entry_histogram`.

Where residual networks stand beside plain ones, over `(couple,)`: `couple_label`, `couple_side`,
`couple_seed`, `train_loss_difference`, `cost_difference`, `test_error_difference` (residual minus
plain, last epoch), `id_share_difference`, `large_id_share_difference` (last weights),
`matched_error_difference` (mean over the levels); over `(couple, level)`:
`level_loss`, `residual_error_at_level`, `plain_error_at_level`; over `(side,)`, with `…_interval`
over `(side, bound)`: `mean_…` of each difference.

Where the weights of two groups of one architecture were collected, over `(contrast, layer)`:
`weight_mass_difference` (a factor), `weight_mass_difference_low`, `weight_mass_difference_high`,
`weight_mass_difference_p_holm`, `id_entry_mean_difference`, `id_entry_mean_difference_low`,
`id_entry_mean_difference_high`, `id_entry_mean_difference_p_holm`; their means over the layers,
over `(contrast,)`: `weight_mass_difference_mean`, `weight_mass_difference_mean_low`,
`weight_mass_difference_mean_high`, `id_entry_mean_difference_mean`,
`id_entry_mean_difference_mean_low`, `id_entry_mean_difference_mean_high`.

What does not exist is NaN, -1 where it is a whole number, "" where it is a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from resprobe_analyses.difference import with_differences
from resprobe_analyses.equivalence import recipes
from resprobe_analyses.equivalence.effects import Effect
from resprobe_analyses.equivalence.labelled_pairs import pair_variables
from resprobe_analyses.equivalence.labelled_parts import placed
from resprobe_analyses.equivalence.labelled_sides import side_variables
from resprobe_analyses.equivalence.labelled_weights import weight_variables
from resprobe_analyses.equivalence.networks import Member
from resprobe_analyses.estimates import LEVEL
from resprobe_analyses.labelling import Variables, attributes, number, strings

_EPOCHS = {
    "train_loss": "mean training loss of the epoch",
    "train_error": "training error while training",
    "test_loss": "mean test loss",
    "test_error": "test error",
}


def dataset(found: Effect) -> xr.Dataset:
    """Give every number of the analysis as one labelled dataset, as listed above.

    Args:
        found: what was computed.
    """
    variables: Variables = {}
    coordinates: dict[str, Any] = {**_networks(found), "bound": ("bound", strings(["low", "high"]))}
    for more, own in (
        pair_variables(found),
        _epoch_variables(found),
        weight_variables(found.networks),
        side_variables(found.sides),
    ):
        variables |= more
        coordinates |= own
    data = xr.Dataset(
        variables, coords=coordinates, attrs={"analysis": "equivalence", "level": LEVEL}
    )
    return with_differences(data, found.differences)


def _networks(found: Effect) -> dict[str, Any]:
    nets = found.networks
    groups = [group.label for group in found.groups for _ in group.networks]
    flags = {"flag_values": np.array([-1, 0, 1], np.int8), "flag_meanings": "unknown no yes"}
    factors = [recipes.value_in(net.recipe, "model.width_factor", np.nan) for net in nets]
    residual = [-1 if net.own.residual is None else int(net.own.residual) for net in nets]
    return {
        "network": ("network", strings([net.label for net in nets])),
        "group": ("network", strings(groups)),
        "dtype": ("network", strings([net.dtype for net in nets])),
        "seed": _whole([net.seed for net in nets], "seed of the training, -1 where unknown"),
        "step": _whole([net.step for net in nets], "last recorded step, -1 where unknown"),
        "residual": (
            "network",
            np.array(residual, np.int8),
            {**attributes("whether blocks have skips"), **flags},
        ),
        "width_factor": (
            "network",
            np.array(factors, np.float64),
            attributes("factor of the widths in the recipe, NaN where it names none"),
        ),
        "control": (
            "network",
            np.array([net.control for net in nets], np.int8),
            {**attributes("whether the partner was trained in another way"), **flags},
        ),
    }


def _whole(values: Sequence[int | None], long_name: str) -> tuple[str, Any, dict[str, Any]]:
    known = [-1 if value is None else value for value in values]
    return "network", np.array(known, np.int64), attributes(long_name)


def _epoch_variables(found: Effect) -> tuple[Variables, dict[str, Any]]:
    roles: dict[str, list[Member | None]] = {
        "": [net.own for net in found.networks],
        "partner_": [net.partner for net in found.networks],
    }
    curves = {
        prefix: [None if one is None else one.curve for one in members]
        for prefix, members in roles.items()
    }
    known = [one.epoch for own in curves.values() for one in own if one is not None]
    if not known:
        return {}, {}
    epochs = np.unique(np.concatenate(known)).astype(np.int64)
    variables: Variables = {}
    for prefix, own in curves.items():
        if all(one is None for one in own):
            continue
        for name, long_name in _EPOCHS.items():
            series = [None if one is None else (one.epoch, getattr(one, name)) for one in own]
            variables[prefix + name] = number(
                ("network", "epoch"), placed(epochs, series), long_name
            )
        for name, attribute, long_name in (
            ("cost", "cost", "last training loss with the penalty, L + λ'/2·‖w‖²"),
            ("squared_norm", "penalized", "‖w‖² that the weight decay acts on"),
        ):
            ends = [np.nan if one is None else getattr(one, attribute) for one in own]
            variables[prefix + name] = number(("network",), ends, long_name)
    return variables, {"epoch": ("epoch", epochs, attributes("epochs completed"))}
