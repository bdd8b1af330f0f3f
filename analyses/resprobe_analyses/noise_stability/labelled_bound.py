"""The parts of the bound with names, dimensions, units and meaning."""

from __future__ import annotations

from typing import Any

import numpy as np

from resprobe_analyses.cushions.labelled import filled
from resprobe_analyses.labelling import Variables, number, strings
from resprobe_analyses.noise_stability.bound import FACTORS
from resprobe_analyses.noise_stability.effects import NetworkEffect
from resprobe_analyses.noise_stability.networks import NORMS

_SCALARS = {
    "contraction": ("contraction", "largest activation contraction over layers and images"),
    "output_norm_max": ("output_norm", "largest norm of the logits over images"),
    "margin": ("margin", "10 % quantile of the margins of the images that are right"),
    "margin_loss": ("margin_loss", "share of all images whose margin is at most that"),
}
_SMOOTHNESS = {
    "least": "smallest interlayer smoothness over images, spans and draws",
    "median": "median interlayer smoothness over images, spans and draws",
    "needed": "interlayer smoothness that the bound asks for: three times the number of layers",
    "share": "share of images, spans and draws that reach it",
    "noise_level": "norm of the noise beside that of the span's input",
}


def bound_coordinates(dims: set[str]) -> dict[str, Any]:
    """Give the coordinates that only the bound has, where it is there."""
    if "factor" not in dims:
        return {}
    return {"factor": ("factor", strings(FACTORS), {"long_name": "factor of the bound"})}


def bound_variables(members: list[NetworkEffect]) -> Variables:
    """Give the parts of the bound, NaN for the networks that lack some; nothing if all do."""
    return {**_bounds(members), **_smoothness(members)}


def _bounds(members: list[NetworkEffect]) -> Variables:
    bounds = [member.parts.bound for member in members]
    if not any(bounds):
        return {}
    nan, norms = float("nan"), len(NORMS)
    variables = {
        name: number(("network",), [getattr(one, own) if one else nan for one in bounds], told)
        for name, (own, told) in _SCALARS.items()
    }
    blank, empty = np.full(norms, nan), np.full((len(FACTORS), norms), nan)
    layers = [np.full(len(member.network.layers), nan) for member in members]
    return {
        **variables,
        "minimal_layer_cushion": number(
            ("network", "layer", "norm"),
            filled(
                [
                    one.layer_cushion if one else np.stack([own] * norms, axis=-1)
                    for one, own in zip(bounds, layers, strict=True)
                ]
            ),
            "smallest layer cushion over images",
        ),
        "minimal_interlayer_cushion": number(
            ("network", "layer"),
            filled(
                [
                    one.interlayer_cushion if one else own
                    for one, own in zip(bounds, layers, strict=True)
                ]
            ),
            "smallest interlayer cushion from the layer on, as Arora et al. scale it",
        ),
        "bound_value": number(
            ("network", "norm"),
            [one.value if one else blank for one in bounds],
            "Arora et al. 2018, Theorem 4.1, without logarithms and constants",
        ),
        "bound_log10_factor": number(
            ("network", "factor", "norm"),
            [one.log10_factors if one else empty for one in bounds],
            "log10 of the factors of the bound, which add up to its log10",
        ),
    }


def _smoothness(members: list[NetworkEffect]) -> Variables:
    known = [member.parts.smoothness for member in members]
    if not any(known):
        return {}
    names = {"least": "min"}
    return {
        f"smoothness_{names.get(own, own)}": number(
            ("network",), [getattr(one, own) if one else float("nan") for one in known], told
        )
        for own, told in _SMOOTHNESS.items()
    }
