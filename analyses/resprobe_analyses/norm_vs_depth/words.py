"""How exponents, their intervals and the networks behind them are written in sentences."""

from __future__ import annotations

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.norm_vs_depth.rule import CLAIMED
from resprobe_analyses.norm_vs_depth.scaling import PowerLaw
from resprobe_analyses.statistics import MINIMUM_SEEDS

MOST_TOLD = 3  # networks named in one sentence


def plural(word: str, count: int) -> str:
    """Give "depth" or "depths"."""
    return word if count == 1 else f"{word}s"


def claim() -> str:
    """Name what is tested."""
    return f"the claim of Eq. 5 (p = {wording.signed_number(CLAIMED, 0)})"


def extent(law: PowerLaw, h: float | None, moment: str = "") -> str:
    """Give "3 to 24 blocks (6 depths, 5 seeds, h = 1, step 390)"."""
    size = at(h, moment)
    depths, seeds = len(law.depths), len(law.seeds)
    return (
        f"{law.depths[0]} to {law.depths[-1]} blocks ({depths} {plural('depth', depths)}, {seeds} "
        f"{plural('seed', seeds)}{size})"
    )


def at(h: float | None, moment: str) -> str:
    """Give ", h = 0.5, step 390", of which either may be missing."""
    return ("" if h is None else f", h = {h:g}") + (f", {moment}" if moment else "")


def over_seeds(estimate: Estimate, *, signed: bool = True) -> str:
    """Write a scalar with its interval over seeds, or say why there is none."""
    value = _number(estimate.value, signed)
    if np.isfinite(estimate.low):
        bounds = ", ".join(_number(bound, signed) for bound in (estimate.low, estimate.high))
        return f"{value} [{bounds}] over {estimate.networks} seeds"
    if estimate.networks >= MINIMUM_SEEDS:
        return f"{value} (no interval: {estimate.networks} seeds agree exactly)"
    if estimate.networks == 1:
        return f"{value} (one seed, no interval)"
    return f"{value} (mean of {estimate.networks} seeds, no interval)"


def over_networks(estimate: Estimate) -> str:
    """Write a ratio with its interval over seeds where there is one."""
    if np.isfinite(estimate.low):
        return over_seeds(estimate, signed=False)
    return f"{_number(estimate.value, signed=False)}"


def _number(value: object, signed: bool) -> str:
    number = float(value)  # type: ignore[arg-type]  # an array of shape ()
    return wording.signed_number(number) if signed else f"{number:.2f}"
