"""The distributions of weights with names, dimensions, units and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resprobe_analyses.equivalence.networks import Member, Network
from resprobe_analyses.equivalence.weights import STATISTICS, State
from resprobe_analyses.labelling import Variables, attributes, number, strings


def weight_variables(networks: Sequence[Network]) -> tuple[Variables, dict[str, Any]]:
    """Give Table 3 and the histograms of all networks, and their coordinates; nothing without any.

    Args:
        networks: all runs; states stand in the order of their steps, the fewer filled up.
    """
    steps = [_steps(net) for net in networks]
    states = max(map(len, steps))
    if not states:
        return {}, {}
    bins = next(s.bins for net in networks for m in _members(net) for s in m.states)
    shape = (len(networks), states)
    step = np.full(shape, -1, np.int64)
    tables = {name: np.full((*shape, len(STATISTICS)), np.nan) for name in ("", "partner_")}
    counts = {name: np.zeros((*shape, bins.size), np.int64) for name in ("weight", "id_entry")}
    for row, (net, own) in enumerate(zip(networks, steps, strict=True)):
        step[row, : len(own)] = own
        for prefix, member in (("", net.own), ("partner_", net.partner)):
            for state in () if member is None else member.states:
                tables[prefix][row, own.index(state.step)] = _row(state)
        for state in net.own.states:
            place = row, own.index(state.step)
            counts["weight"][place], counts["id_entry"][place] = state.weights, state.id_entries
    variables: Variables = {
        "state_step": number(("network", "state"), step, "step of the checkpoint, -1 for none"),
        "weight_histogram": number(
            ("network", "state", "bin"), counts["weight"], "histogram of all weights"
        ),
        "id_entry_histogram": number(
            ("network", "state", "bin"), counts["id_entry"], "histogram of the ID entries"
        ),
    }
    told = "statistics of the weights of all convolutions, transferred ones of a residual network"
    for prefix, values in tables.items():
        if np.isfinite(values).any() or not prefix:
            variables[f"{prefix}weight_table"] = number(
                ("network", "state", "statistic"), values, told
            )
    return variables, {
        "statistic": ("statistic", strings(list(STATISTICS))),
        "statistic_meaning": ("statistic", strings(list(STATISTICS.values()))),
        "bin": ("bin", bins, attributes("centre of the bin")),
    }


def _members(net: Network) -> list[Member]:
    return [net.own] if net.partner is None else [net.own, net.partner]


def _steps(net: Network) -> list[int]:
    return sorted({state.step for member in _members(net) for state in member.states})


def _row(state: State) -> list[float]:
    return [state.table[name] for name in STATISTICS]
