"""What is said of RA Eq. 5, of forward Euler's condition, and of log norms beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.stability import words
from resprobe_analyses.stability.conditions import (
    CONTRACTION,
    EQ5,
    EULER,
    Tally,
    jacobian_share,
    jacobian_shares,
    tallies,
)
from resprobe_analyses.stability.records import Group, Network

EQ5_WORDS = (
    "RA Eq. 5 (every Re λ of the branch's Jacobian at most 0, as far as the rightmost computed "
    "eigenvalues show)"
)
EULER_WORDS = (
    "forward Euler's own condition for x + G (every |1 + λ| at most 1, as far as the computed "
    "eigenvalues show)"
)
ERROR_WORDS = "residual times norm times condition number"


def condition_lines(group: Group) -> list[str]:
    """Say on how many images and blocks each condition holds, and what the log norms add."""
    if group.first.plain:
        return [
            f"{group.label} is a plain network: its units add nothing to a state, so neither RA "
            "Eq. 5 nor |1 + λ| at most 1 is about them; the figures show |λ| = 1 instead."
        ]
    counted = [tallies(net) for net in group.networks]
    lines: list[str] = []
    for name, what in ((EQ5, EQ5_WORDS), (EULER, EULER_WORDS)):
        found = [one[name] for one in counted if name in one]
        if len(found) < len(counted):
            continue
        if not any(tally.tested.any() for tally in found):
            lines.append(
                f"{group.label}: {what} is not tested, since no block with an identity skip has "
                "eigenvalues."
            )
        elif len(found) > 1:
            lines.append(_of_networks(group, name, found, what))
        else:
            lines.append(_of_one(group.first, found[0], what))
            if name == EQ5:
                lines.append(_by_block(group.first, found[0]))
    return [*lines, *_log_norms(group)]


def _of_one(net: Network, tally: Tally, what: str) -> str:
    tested = tally.tested > 0
    count = int(tested.sum())
    everywhere = int((tested & (tally.holds == tally.tested)).sum())
    never = int((tested & (tally.violated == tally.tested)).sum())
    mixed = count - everywhere - never
    images = wording.counted_images(int(tally.tested.max()))
    parts = [
        f"holds on all {images} in {everywhere} of {_blocks(count)}",
        f"is violated on all in {never}",
    ]
    if mixed:
        parts.append(f"differs between images or is undecided in {mixed}")
    return f"{net.label}: {what} {', '.join(parts)} (this network); {_undecided([tally])}."


def _of_networks(group: Group, name: str, found: Sequence[Tally], what: str) -> str:
    """Give the share of Jacobians on which it holds, over blocks and images, by network."""
    shares, mean = jacobian_shares(group, name), jacobian_share(group, name)
    blocks = _blocks(int((found[0].tested > 0).sum()))
    if mean is None or not np.isfinite(mean.low):
        listed = ", ".join(f"{share:.2f}" for share in shares)
        told = f"{listed} of their Jacobians (these {len(shares)} networks, no interval)"
    else:
        told = (
            f"{float(mean.value):.2f} [{float(mean.low):.2f}, {float(mean.high):.2f}] of a "
            f"network's Jacobians (mean over {len(shares)} seeds; {min(shares):.2f} to "
            f"{max(shares):.2f})"
        )
    return f"{group.label}: {what} holds on {told}, over images and {blocks}; {_undecided(found)}."


def _undecided(found: Sequence[Tally]) -> str:
    total, unsure = (
        sum(int(getattr(tally, what).sum()) for tally in found) for what in ("tested", "undecided")
    )
    if not unsure:
        return f"each of the {total:,} Jacobians is decided beyond the error ({ERROR_WORDS})"
    return (
        f"{unsure:,} of {total:,} Jacobians {'stays' if unsure == 1 else 'stay'} undecided, where "
        f"the error ({ERROR_WORDS}) covers the limit or a solver did not converge"
    )


def _by_block(net: Network, tally: Tally) -> str:
    """Give the share by block, or its range by stage where there are many blocks."""
    places = np.flatnonzero(tally.tested)
    if places.size <= words.MOST_BLOCKS:
        told = "; ".join(
            f"{net.names[p]} {tally.holds[p]}/{tally.tested[p]} "
            f"[{tally.low[p]:.2f}, {tally.high[p]:.2f}]"
            for p in places
        )
        return (
            f"{net.label}: images on which Eq. 5 holds, by block, with exact intervals of the "
            f"share over images: {told}."
        )
    parts = []
    for stage in np.unique(net.layout.stage[places]):
        inside = places[net.layout.stage[places] == stage]
        name = words.stage(net, int(stage), tally.tested > 0)
        share = tally.share[inside]
        parts.append(
            f"{name} {share.min():.2f} to {share.max():.2f} in {_blocks(inside.size)} "
            f"(all: {int(tally.holds[inside].sum()):,} of {int(tally.tested[inside].sum()):,} "
            "Jacobians)"
        )
    return (
        f"{net.label}: share of images on which Eq. 5 holds, from block to block: "
        f"{'; '.join(parts)}; the shares of each block with exact intervals are in verdict.json."
    )


def _log_norms(group: Group) -> list[str]:
    """Compare what Eq. 5 says with the log norms of the same branches."""
    counted = [tallies(net) for net in group.networks]
    norms = [one[CONTRACTION] for one in counted]
    total, positive, open_ = (
        sum(int(getattr(tally, what).sum()) for tally in norms)
        for what in ("tested", "violated", "undecided")
    )
    if not total:
        return []
    unsure = f" ({open_:,} are undecided)" if open_ else ""
    eq5 = [one[EQ5] for one in counted if EQ5 in one]
    beside = ""
    if len(eq5) == len(counted):
        held, tested = (sum(int(getattr(t, w).sum()) for t in eq5) for w in ("holds", "tested"))
        beside = f", while Eq. 5 holds in {held:,} of {tested:,}"
    return [
        f"{group.label}: the log norm is positive beyond its error in {positive:,} of {total:,} "
        f"Jacobians of branches with an identity skip{unsure}, so that some perturbation grows at "
        f"once in these{beside}."
    ]


def _blocks(count: int) -> str:
    return f"{count} block{'s' if count != 1 else ''} with an identity skip"
