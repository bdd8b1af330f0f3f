"""How the responses of two groups to noise of the weights differ, in plain sentences."""

from __future__ import annotations

import numpy as np

from resprobe_analyses.noise_stability.effects import Effect
from resprobe_analyses.noise_stability.equal_noise import EqualNoise
from resprobe_analyses.noise_stability.findings import directions, layers_apart
from resprobe_analyses.noise_stability.networks import NORMS
from resprobe_analyses.noise_stability.predictions import LOWEST, Between
from resprobe_analyses.noise_stability.responses import ResponseContrast
from resprobe_analyses.noise_stability.words import at, basis, percent, ratio, signed


def side_by_side(found: Effect) -> list[str]:
    """Say how the responses to noise of the weights differ; nothing of one group."""
    contrast = found.contrast
    if contrast is None:
        return []
    first, second = (group.label for group in found.groups)
    if contrast.weight is None or contrast.equal is None or contrast.between is None:
        counts = [len(group.members[0].network.layers) for group in found.groups]
        return [
            f"{first} and {second} have layers that do not correspond ({counts[0]} and "
            f"{counts[1]}), so they are not compared layer by layer."
        ]
    lines = [_at_equal_noise(found, contrast.equal)]
    lines += [_ratios(found, contrast.weight, place) for place in range(len(NORMS))]
    lines += [_of_norms(found, contrast.weight), _between(found, contrast.between)]
    return lines


def _at_equal_noise(found: Effect, one: EqualNoise) -> str:
    first, second = (group.label for group in found.groups)
    start = f"{first} beside {second}, noise of equal ‖ΔW‖_F in the weight of one layer"
    layers = one.pairs.shape[1]
    if not np.isfinite(one.over_layers.value):
        return (
            f"{start}: not compared, for in none of {layers} layers do the sizes of the noise "
            "overlap; collect with more levels."
        )
    less, more = (int(signs.sum()) for signs in (one.log_ratio.high < 0, one.log_ratio.low > 0))
    which = (
        f"{layers} layers"
        if one.compared == layers
        else f"those of {layers} layers that have a size in common ({one.compared} in every pair)"
    )
    return (
        f"{start}: the logits of {first} change {ratio(one.over_layers)} times as much, averaged "
        f"over {which} ({basis(one.over_layers, found.images, 'pair')}); less in "
        f"{less} layers and more in {more}, each interval taken alone; interpolated at the middle "
        "of the sizes that both were measured at. That is the same amount of noise, taken "
        "literally, and it favours whichever network has the larger weights."
    )


def _ratios(found: Effect, one: ResponseContrast, place: int) -> str:
    first, second = (group.label for group in found.groups)
    levels = found.members[0].network.weight.level
    signs = layers_apart(one)[:, place]
    over, added = at(one.over_layers, place, LOWEST), at(one.error_added, place, -1)
    return (
        f"{first} beside {second}, noise in the weight of one layer, of {percent(levels[LOWEST])} "
        f"of its norm with ID entries {NORMS[place]}: the logits of {first} change {ratio(over)} "
        f"times as much, averaged over {len(signs)} layers ({basis(over, found.images, 'pair')}); "
        f"less in {int((signs < 0).sum())} layers and more in {int((signs > 0).sum())}, each "
        f"interval taken alone; at {percent(levels[-1])} the error that the noise adds differs by "
        f"{signed(added, 3)}."
    )


def _of_norms(found: Effect, one: ResponseContrast) -> str:
    """Say what holds with both norms, and why the rest does not."""
    first, second = found.groups
    signs, (kept, removed) = layers_apart(one), directions(one)
    words = {-1: "answers less", 1: "answers more", 0: "is not told apart"}
    both = int((signs[:, 0] == signs[:, 1]).sum())
    if kept == removed:
        start = (
            f"With both norms {first.label} {words[kept]} "
            f"{'than' if kept else 'from'} {second.label}, over all layers"
        )
    else:
        start = (
            f"Over all layers the answer depends on the norm: with ID entries kept {first.label} "
            f"{words[kept]}, removed it {words[removed]}"
        )
    sizes = []
    for group in (first, second):
        with_skip = [m.cushions.network.with_skip for m in group.members]
        ratios = [
            m.network.noise_ratio[own] for m, own in zip(group.members, with_skip, strict=True)
        ]
        known = np.concatenate(ratios)
        known = known[np.isfinite(known)]
        if known.size:
            sizes.append(f"{np.median(known):.2f} times in {group.label}")
    why = (
        "; the choice alone makes the noise of layers whose skip counts as a part of them smaller, "
        f"{' and '.join(sizes)} (median)"
        if sizes
        else "; no skip counts as a part of a layer here, so the norms are nearly the same"
    )
    expected = (
        " (Yu & Tomasi 2019 expect it to answer less)"
        if first.residual and not second.residual
        else ""
    )
    return f"{start}{expected}, and {both} of {len(signs)} layers say the same with both{why}."


def _between(found: Effect, one: Between) -> str:
    first, second = (group.label for group in found.groups)
    parts = [
        f"{int(one.agree[place])} of {int(one.known[place])} layers with ID entries {norm} (rank "
        f"correlation of the two ratios over layers {signed(one.correlation[norm])}"
        f"{_over(one.correlation[norm].over, one.correlation[norm].networks)})"
        for place, norm in enumerate(NORMS)
    ]
    return (
        f"{first} beside {second}: the group with the larger cushion has the smaller response in "
        f"{' and in '.join(parts)}; a guess would be right in half of them."
    )


def _over(over: str, networks: int) -> str:
    return f", over {networks} seeds" if over == "seeds" and networks > 1 else ""
