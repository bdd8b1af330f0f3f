"""What the mode of BatchNorm does to interlayer cushions, in plain sentences."""

from __future__ import annotations

import numpy as np

from resprobe_analyses.cushions.effects import MEDIAN
from resprobe_analyses.cushions.findings import blind_blocks
from resprobe_analyses.cushions.networks import unit_of
from resprobe_analyses.cushions.sentences import size
from resprobe_analyses.noise_stability.effects import Effect, GroupEffect, NetworkEffect
from resprobe_analyses.noise_stability.words import listed

NONE = "No block here has BatchNorm, so no interlayer cushion depends on its mode."
ARTEFACT = (
    "BatchNorm on a batch of one takes the scale of its input away, so that J x is 0 but for its ε "
    "and rounding: an artefact of the mode and no property of the network, which the 0.20 beside "
    "2.7e−07 that Yu & Tomasi 2019 print for a residual and a plain block likely are too"
)
SKIPS = (
    "a skip carries the scale of the input past BatchNorm, so that beside a plain network a "
    "residual one looks more stable in training mode than it is"
)


def modes(found: Effect) -> list[str]:
    """Say what of the interlayer cushions is an artefact of BatchNorm's mode."""
    known = [member.cushions.network.interlayer for member in found.members]
    inters = [inter for inter in known if inter is not None]
    if not inters:
        return []
    if not any(inter.batch_norm for inter in inters):
        return [NONE]
    parts: list[str] = []
    why: dict[str, None] = {}
    for group in found.groups:
        member = _with_batch_norm(group)
        if member is None:
            continue
        blind = blind_blocks(member.cushions)
        parts.append(_ranges(member, len(blind)))
        if blind:
            why[ARTEFACT] = None
        elif group.residual:
            why[SKIPS] = None
    told = f": {'; '.join(why)}" if why else ""
    return [
        f"Median interlayer cushions over one {unit_of(inters)}, BatchNorm in evaluation mode "
        f"and in training mode on a batch of one: {listed(parts)}{told}."
    ]


def _with_batch_norm(group: GroupEffect) -> NetworkEffect | None:
    for member in group.members:
        inter = member.cushions.network.interlayer
        if inter is not None and inter.batch_norm:
            return member
    return None


def _ranges(member: NetworkEffect, blind: int) -> str:
    spans = (member.cushions.interlayer[mode][:, 0, MEDIAN] for mode in ("eval", "train"))
    evaluation, training = (
        f"{size(float(np.nanmin(one)))} to {size(float(np.nanmax(one)))}" for one in spans
    )
    inter = member.cushions.network.interlayer
    blocks = 0 if inter is None else len(inter.blocks)
    near = f", near 0 in {blind} of {blocks}" if blind else ""
    return f"{evaluation} and {training}{near} in {member.network.label}"
