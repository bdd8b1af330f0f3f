"""Exponents and training losses with names, dimensions, units and meaning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resprobe_analyses.estimates import Estimate
from resprobe_analyses.labelling import INTERVAL, Variables, number, strings
from resprobe_analyses.norm_vs_depth.scaling import VERSIONS, Group, PowerLaw

CASE = ("step_size", "version")
NAN = float("nan")
LAW = {"trained": "of the trained networks", "untrained": "of the untrained networks"}


def estimates(
    name: str, dims: tuple[str, ...], estimates: Sequence[Estimate | None], long_name: str
) -> Variables:
    """Give a variable and its interval, of scalars in one row; NaN for None."""
    return _nested_estimates(name, dims, [[one] for one in estimates], long_name, squeeze=True)


def _nested_estimates(
    name: str,
    dims: tuple[str, ...],
    table: Sequence[Sequence[Estimate | None]],
    long_name: str,
    *,
    squeeze: bool = False,
) -> Variables:
    values, intervals = (
        np.array([[cell(one) for one in row] for row in table], dtype=np.float64)
        for cell in (_value, _interval)
    )
    if squeeze:
        values, intervals = values[:, 0], intervals[:, 0]
    return {
        name: number(dims, values, long_name),
        f"{name}_interval": number((*dims, "bound"), intervals, f"{INTERVAL}the {long_name}"),
    }


def _value(one: Estimate | None) -> float:
    return NAN if one is None else float(one.value)


def _interval(one: Estimate | None) -> tuple[float, float]:
    return (NAN, NAN) if one is None else (float(one.low), float(one.high))


def exponent_variables(
    groups: Sequence[Group], seeds: Sequence[int], depths: Sequence[int]
) -> Variables:
    """Give exponents, slopes, γ and γ·d by step size and version."""
    scalings = [[group.scalings[version] for version in VERSIONS] for group in groups]
    found: Variables = {
        "outcome": (
            CASE,
            strings([[one.outcome for one in row] for row in scalings]),
            {"long_name": "outcome of the rule"},
        )
    }
    found |= _nested_estimates(
        "exponent_difference",
        CASE,
        [[one.difference for one in row] for row in scalings],
        "exponent of the trained networks minus that of the same ones untrained, over their depths",
    )
    for state, of in LAW.items():
        laws = [[getattr(one, state) for one in row] for row in scalings]
        found |= _law_variables(state, of, laws, seeds, depths)
    return found


def _law_variables(
    state: str,
    of: str,
    laws: Sequence[Sequence[PowerLaw | None]],
    seeds: Sequence[int],
    depths: Sequence[int],
) -> Variables:
    slopes, constants = (np.full((len(laws), len(VERSIONS), len(seeds)), np.nan) for _ in range(2))
    tables = np.full((len(laws), len(VERSIONS), len(seeds), len(depths)), np.nan)
    for row, of_size in enumerate(laws):
        for column, law in enumerate(of_size):
            if law is not None:
                places = [seeds.index(seed) for seed in law.seeds]
                columns = [depths.index(depth) for depth in law.depths]
                slopes[row, column, places] = law.slopes
                constants[row, column, places] = law.constants
                tables[row, column][np.ix_(places, columns)] = law.gammas
    totals = tables * np.array(depths)
    by_seed = f"γ = c·d^p {of}, for each seed"
    return {
        f"{state}_slope": number((*CASE, "seed"), slopes, f"exponent p of {by_seed}"),
        f"{state}_constant": number((*CASE, "seed"), constants, f"constant c of {by_seed}"),
        f"{state}_gamma_by_depth": number(
            (*CASE, "seed", "depth"), tables, f"γ {of} that count for the exponent"
        ),
        f"{state}_total": number(
            (*CASE, "seed", "depth"), totals, f"γ·d {of}: the sum of ||G|| over d blocks of mean γ"
        ),
    } | {
        name: variable
        for quantity, meaning in (
            ("exponent", "exponent of γ against d"),
            ("growth", "γ·d at the deepest by that at the shallowest, geometric mean"),
        )
        for name, variable in _nested_estimates(
            f"{state}_{quantity}",
            CASE,
            [[None if law is None else getattr(law, quantity) for law in row] for row in laws],
            f"{meaning} {of}, over seeds",
        ).items()
    }


def loss_variables(groups: Sequence[Group], depths: Sequence[int]) -> Variables:
    """Give the training losses reached, by step size and depth."""
    shape = (len(groups), len(depths))
    mean, low, high = (np.full(shape, np.nan) for _ in range(3))
    for row, group in enumerate(groups):
        if group.losses is not None:
            columns = [depths.index(depth) for depth in group.losses.depths]
            mean[row, columns] = group.losses.losses.mean(axis=0)
            low[row, columns] = group.losses.losses.min(axis=0)
            high[row, columns] = group.losses.losses.max(axis=0)
    dims = ("step_size", "depth")
    told = "training loss reached over seeds"
    return {
        name: (dims, values, {"units": "nat", "long_name": f"{kind} {told}"})
        for name, values, kind in (
            ("train_loss_mean", mean, "mean"),
            ("train_loss_lowest", low, "lowest"),
            ("train_loss_highest", high, "highest"),
        )
    } | estimates(
        "train_loss_exponent",
        ("step_size",),
        [None if group.losses is None else group.losses.exponent for group in groups],
        "exponent of the training loss reached against d, over seeds",
    )
