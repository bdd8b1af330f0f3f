"""The numbers of the analysis with names, dimensions, units and meaning.

Coordinates: `network` with `group`, `seed` (-1 unknown), `step` (-1 unknown) and `residual` (0, 1);
`norm` ("kept", "removed": ID entries in the norm that the noise and the cushion are measured in);
`level` (‖ΔW‖_F/‖W‖_F); `input_level` (‖η‖/‖x‖); `factor` (of the bound); `scope` (which layers a
rank correlation is over); `bound` ("low", "high" of an interval); `pair` of networks.

    layer_name, layer_with_skip            (network, layer)
    layer_stage, layer_within              (network, layer)
    log_output_change, output_change       (network, layer, norm, level)
    error_change                           (network, layer, norm, level)
    layer_weight_norm                      (network, layer, norm)
    noise_ratio                            (network, layer)
    log_cushion_kept, log_cushion_removed  (network, layer)
    slope, first_slope                     (network, norm), with two levels and more
    cushion_correlation                    (network, scope, norm)
    image_correlation                      (network, layer, norm)
    train_error, test_error, train_loss, test_loss, gap, loss_gap, training_images   (network)
    interpretable, changes_left_out                                                  (network)

Where they were collected for any network, NaN for the others:

    log_input_change, input_change, input_error_change                  (network, input_level)
    contraction, output_norm_max, margin, margin_loss                   (network)
    minimal_layer_cushion                                               (network, layer, norm)
    minimal_interlayer_cushion                                          (network, layer)
    bound_value                                                         (network, norm)
    bound_log10_factor                                                  (network, factor, norm)
    smoothness_min, smoothness_median, smoothness_needed, smoothness_share,
    smoothness_noise_level                                              (network)

With two groups, the first over the second (the residual one first, where one is):

    log_ratio, log_ratio_interval          (layer, norm, level), (…, bound)
    log_ratio_by_pair                      (pair, layer, norm, level)
    log_ratio_mean, log_ratio_mean_interval            (norm, level), (…, bound)
    error_difference, error_difference_interval        (norm, level), (…, bound)
    pair_first, pair_second                (pair), names of networks
    equal_noise_log_size                   (pair, layer), see `equal_noise`
    equal_noise_log_ratio_by_pair          (pair, layer)
    equal_noise_log_ratio, equal_noise_log_ratio_interval             (layer), (…, bound)
    equal_noise_log_ratio_mean, equal_noise_log_ratio_mean_interval   (), (bound)
    input_log_ratio, input_log_ratio_interval          (input_level), (…, bound)
    input_error_difference, input_error_difference_interval   (input_level), (…, bound)
    log_cushion_ratio                      (layer, norm)
    ratio_correlation_by_pair              (pair, norm)
    gap_difference                         (pair)
    bound_log10_ratio                      (pair, norm)

With two groups of one architecture, the first beside the second, each with `…_low`, `…_high` and
`…_p_holm`, and with `…_mean`, `…_mean_low` and `…_mean_high` over (contrast):

    weight_noise_output_change_difference  (contrast, layer), a factor, ID entries kept
    weight_noise_output_change_id_removed_difference   likewise, ID entries removed
    weight_noise_error_difference          (contrast, layer)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from resprobe_analyses.cushions.labelled import filled, network_coordinates
from resprobe_analyses.difference import with_differences
from resprobe_analyses.estimates import LEVEL
from resprobe_analyses.labelling import Variables, attributes, number, strings
from resprobe_analyses.noise_stability.effects import Effect, NetworkEffect
from resprobe_analyses.noise_stability.known import mean_of_known
from resprobe_analyses.noise_stability.labelled_bound import bound_coordinates, bound_variables
from resprobe_analyses.noise_stability.labelled_groups import contrast_variables
from resprobe_analyses.noise_stability.labelled_layers import layer_variables
from resprobe_analyses.noise_stability.networks import NORMS, Network, Response
from resprobe_analyses.noise_stability.predictions import SCOPES, log_cushion, log_response
from resprobe_analyses.noise_stability.responses import slopes

CELL = ("network", "layer", "norm", "level")
METRICS = {
    "train_error": "training error over the epoch before the checkpoint, by the trainer",
    "test_error": "test error at the checkpoint, by the trainer",
    "train_loss": "training loss over the epoch before the checkpoint, by the trainer",
    "test_loss": "test loss at the checkpoint, by the trainer",
}


def dataset(found: Effect) -> xr.Dataset:
    """Give every number of the analysis as one labelled dataset; see this module.

    Args:
        found: the effect of one group or two.

    Returns:
        The dataset. Networks with fewer layers are filled up with NaN and "".
    """
    variables = {
        **layer_variables(found.members),
        **_responses([member.network for member in found.members]),
        **_predictions(found.members),
        **_trainings(found.members),
        **_inputs([member.network for member in found.members]),
        **bound_variables(found.members),
        **contrast_variables(found),
    }
    data = xr.Dataset(
        variables,
        coords=_coordinates(found, {name for dims, *_ in variables.values() for name in dims}),
        attrs={
            "analysis": "noise-stability",
            "images": found.images,
            "trials": found.members[0].network.weight.trials,
            "level": LEVEL,
        },
    )
    return with_differences(data, found.differences)


def _coordinates(found: Effect, dims: set[str]) -> dict[str, Any]:
    nets = [member.network for member in found.members]
    told = {
        **network_coordinates(found.cushions),
        "residual": (
            "network",
            np.array([net.residual for net in nets], np.int8),
            {
                **attributes("whether any block has a skip"),
                "flag_values": np.array([0, 1], np.int8),
                "flag_meanings": "no yes",
            },
        ),
        "norm": (
            "norm",
            strings(NORMS),
            {"long_name": "ID entries in the norm of noise and cushion"},
        ),
        "level": (
            "level",
            nets[0].weight.level,
            attributes("norm of the noise beside that of the weight"),
        ),
        "scope": ("scope", strings(SCOPES), {"long_name": "layers of a rank correlation"}),
    }
    if "input_level" in dims:
        response = next(net.input for net in nets if net.input is not None)
        told["input_level"] = (
            "input_level",
            response.level,
            attributes("norm of the noise beside that of the image"),
        )
    if "bound" in dims:
        told["bound"] = ("bound", strings(["low", "high"]))
    return told | bound_coordinates(dims)


def _responses(nets: list[Network]) -> Variables:
    found = {
        "log_output_change": number(
            CELL,
            filled([log_response(net) for net in nets]),
            "mean over images and trials of ln of the relative change of the logits",
        ),
        "output_change": number(
            CELL,
            filled([net.weight.change for net in nets]),
            "median over images and trials of the relative change of the logits",
        ),
        "error_change": number(
            CELL,
            filled([net.weight.error_added.mean(axis=0) for net in nets]),
            "error with the noise minus error without, mean over trials",
        ),
        "changes_left_out": number(
            ("network",),
            [net.weight.left_out for net in nets],
            "share of the changes that are 0 or no number, which have no logarithm",
        ),
    }
    for name, own in (("slope", slice(None)), ("first_slope", slice(2))):
        values = [_slopes(net.weight, own) for net in nets]
        if all(one is not None for one in values):
            found[name] = number(
                ("network", "norm"),
                values,
                f"slope of ln change on ln level, {_told(own)}, mean over layers and images",
            )
    return found


def _told(own: slice) -> str:
    return "all levels" if own.stop is None else "the two lowest levels"


def _slopes(response: Response, own: slice) -> Any:
    averaged = mean_of_known(response.log_change, axis=1)[None, ..., own]
    found = slopes(averaged, response.level[own])
    return None if found is None else mean_of_known(found[0], axis=0)


def _predictions(members: list[NetworkEffect]) -> Variables:
    cushions = [log_cushion(member.network) for member in members]
    told = "ln of the median over images of the layer cushion, ID entries"
    correlations = [
        [[m.prediction.layers[scope][norm].value for norm in NORMS] for scope in SCOPES]
        for m in members
    ]
    kept, removed = (filled([one[:, place] for one in cushions]) for place in (0, 1))
    return {
        "log_cushion_kept": number(("network", "layer"), kept, f"{told} kept"),
        "log_cushion_removed": number(("network", "layer"), removed, f"{told} removed"),
        "cushion_correlation": number(
            ("network", "scope", "norm"),
            correlations,
            "rank correlation over layers of median cushion and response at the lowest level",
        ),
        "image_correlation": number(
            ("network", "layer", "norm"),
            filled([member.prediction.samples for member in members]),
            "rank correlation over images of cushion and response at the lowest level",
        ),
    }


def _trainings(members: list[NetworkEffect]) -> Variables:
    dims = ("network",)
    found = {
        name: number(dims, [member.metric(name) for member in members], told)
        for name, told in METRICS.items()
    }
    found["gap"] = number(dims, [m.gap for m in members], "test error minus training error")
    found["loss_gap"] = number(dims, [m.loss_gap for m in members], "test loss minus training loss")
    for name in ("train_loss", "test_loss", "loss_gap"):
        found[name][2]["units"] = "nat"
    found["interpretable"] = (
        dims,
        np.array([member.network.interpretable for member in members], np.int8),
        {
            **attributes("whether the network errs on at most half as many images as chance does"),
            "flag_values": np.array([0, 1], np.int8),
            "flag_meanings": "no yes",
        },
    )
    found["training_images"] = number(
        dims,
        [member.parts.training_images for member in members],
        "images the network was trained on, at most a batch too many",
    )
    return found


def _inputs(nets: list[Network]) -> Variables:
    known = [net.input for net in nets if net.input is not None]
    if not known:
        return {}
    empty = np.full(len(known[0].level), np.nan)

    def of(net: Network, name: str) -> Any:
        if net.input is None:
            return empty
        value = getattr(net.input, name)
        return value if name == "change" else mean_of_known(value, axis=0)

    dims = ("network", "input_level")
    told = "of the relative change of the logits under noise of the input"
    return {
        "log_input_change": number(
            dims, [of(net, "log_change") for net in nets], f"mean of ln {told}"
        ),
        "input_change": number(dims, [of(net, "change") for net in nets], f"median {told}"),
        "input_error_change": number(
            dims,
            [of(net, "error_added") for net in nets],
            "error with noise of the input minus error without, mean over trials",
        ),
    }
