"""How two groups differ, with names, dimensions, units and meaning."""

from __future__ import annotations

import numpy as np

from resprobe_analyses.estimates import Estimate
from resprobe_analyses.labelling import INTERVAL, Variables, number, strings
from resprobe_analyses.noise_stability.effects import Effect


def contrast_variables(found: Effect) -> Variables:
    """Give what differs between two groups; nothing of one."""
    contrast = found.contrast
    if contrast is None:
        return {}
    told = "ln of the change of the first group over the second"
    first, second = zip(*contrast.labels, strict=True)
    variables: Variables = {
        "pair_first": (("pair",), strings(first), {"long_name": "network of the first group"}),
        "pair_second": (("pair",), strings(second), {"long_name": "network of the second group"}),
        "gap_difference": number(("pair",), contrast.gap, "gap of the first group minus second"),
        "bound_log10_ratio": number(
            ("pair", "norm"), contrast.log10_bound, "log10 of the bound of the first over second"
        ),
    }
    if contrast.weight is not None and contrast.between is not None:
        one, cell = contrast.weight, ("norm", "level")
        variables |= {
            "log_ratio_by_pair": number(("pair", "layer", *cell), one.pairs, told),
            **_interval("log_ratio", ("layer", *cell), one.log_ratio, told),
            **_interval("log_ratio_mean", cell, one.over_layers, f"{told}, mean over layers"),
            **_interval("error_difference", cell, one.error_added, "error added, difference"),
            "log_cushion_ratio": number(
                ("layer", "norm"),
                contrast.between.cushion,
                "ln of the median cushion of the first group over the second",
            ),
            "ratio_correlation_by_pair": number(
                ("pair", "norm"),
                contrast.between.pairs,
                "rank correlation over layers of the ratio of cushions and that of responses",
            ),
        }
    if contrast.equal is not None:
        three = contrast.equal
        told_equal = f"{told} at equal absolute noise"
        variables |= {
            "equal_noise_log_size": number(
                ("pair", "layer"), three.log_size, "ln of the norm of the noise of both networks"
            ),
            "equal_noise_log_ratio_by_pair": number(("pair", "layer"), three.pairs, told_equal),
            **_interval("equal_noise_log_ratio", ("layer",), three.log_ratio, told_equal),
            **_interval(
                "equal_noise_log_ratio_mean",
                (),
                three.over_layers,
                f"{told_equal}, mean over layers",
            ),
        }
    if contrast.input is not None:
        two, levels = contrast.input, ("input_level",)
        variables |= {
            **_interval("input_log_ratio", levels, two.log_ratio, f"{told}, noise of the input"),
            **_interval(
                "input_error_difference", levels, two.error_added, "error added, difference"
            ),
        }
    return variables


def _interval(name: str, dims: tuple[str, ...], one: Estimate, told: str) -> Variables:
    over = f"over {one.over}"
    return {
        name: number(dims, one.value, told),
        f"{name}_interval": number(
            (*dims, "bound"), np.stack([one.low, one.high], axis=-1), f"{INTERVAL}it, {over}"
        ),
    }
