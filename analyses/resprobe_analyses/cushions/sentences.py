"""The findings in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.cushions.effects import MEDIAN, NORMS, Comparison, Effect, NetworkEffect
from resprobe_analyses.cushions.findings import blind_blocks
from resprobe_analyses.cushions.networks import Interlayer, several, unit_of
from resprobe_analyses.difference import difference_lines
from resprobe_analyses.statistics import MINIMUM_SEEDS

MOST_NETWORKS = 1  # of a group that are told one by one
MEANING = (
    "The larger a cushion, the less of a random disturbance of its input a layer or span passes on "
    "beside the signal (Arora et al. 2018); no value is good or bad in itself, so compare the same "
    "layer or span of two networks: `resprobe analyze cushions RUN OTHER`."
)


def summary(found: Effect) -> str:
    """Say what was found, one sentence a line, the most important first.

    Args:
        found: the effect of one group or two.

    Returns:
        The sentences; none is a judgement of a network, since all depend on the norms chosen.
    """
    lines = _side_by_side(found) if len(found.groups) == 2 else []
    lines += difference_lines(found.differences)
    for group, members in zip(found.groups, found.members, strict=True):
        for member in members[:MOST_NETWORKS]:
            lines += [_lowest(found, member), _id_entries(member), _by_weight(member)]
            lines += _interlayer(member)
        if len(members) > MOST_NETWORKS:
            lines.append(f"{group.label}: {_others(len(members) - MOST_NETWORKS)} in verdict.json.")
    return "\n".join([*lines, MEANING, *_absent(found)])


def _others(count: int) -> str:
    return f"the other {count} networks are" if count > 1 else "the other network is"


def size(value: float) -> str:
    """Write a positive number with two digits, as "0.0042" or "2.3e-06"."""
    return f"{value:.2g}".replace("-", "−") if np.isfinite(value) else "no number"


def _lowest(found: Effect, member: NetworkEffect) -> str:
    net, medians = member.network, member.medians("kept")
    if not np.isfinite(medians).any():
        return f"{net.label}: no layer has a cushion, because all inputs or weights are zero."
    low, high = int(np.nanargmin(medians)), int(np.nanargmax(medians))
    least = int(np.nanargmin(member.kept[:, 0]))
    return (
        f"{net.label}: over {wording.counted_images(found.images)}, this network, the median layer "
        f"cushion goes from {size(medians[low])} ({net.layers[low]}) to {size(medians[high])} "
        f"({net.layers[high]}) over {len(net.layers)} layers, and the lowest of a single image is "
        f"{size(member.kept[least, 0])} ({net.layers[least]}; the definition takes the lowest over "
        "the training set); A is the layer as a linear map, ID entries kept."
    )


def _id_entries(member: NetworkEffect) -> str:
    net = member.network
    ratio = member.medians("removed") / member.medians("kept")
    some = bool(net.with_skip.any())
    parts = []
    for layers, others in ((net.with_skip, False), (~net.with_skip, True)):
        own = ratio[layers & np.isfinite(ratio)]
        if own.size:
            bounds = dict.fromkeys([_factor(own.min()), _factor(own.max())])
            parts.append(f"{' to '.join(bounds)} in {_which(own.size, others, some)}")
    paper = " (Yu & Tomasi 2019 remove the 1s of the skips, and only these)" if some else ""
    return (
        f"{net.label}: with the ID entries removed from the norm of the layer the same cushions "
        f"are larger by a factor of {'; '.join(parts) or 'no number'}; that is a choice of "
        f"norm{paper} and no property of the network."
    )


def _which(count: int, others: bool, some: bool) -> str:
    """Name the layers of a factor: with their skip, the others, or all."""
    layers = f"layer{'s' if count != 1 else ''}"
    if not others:
        return f"the {count} {layers} whose skip counts as a part of the map"
    return f"the {count} other {layers}" if some else f"all {count} {layers}"


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 2 else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _by_weight(member: NetworkEffect) -> str:
    net, kept, other = member.network, member.medians("kept"), member.by_weight()
    if not np.isfinite(other).any():
        return f"{net.label}: no layer has a weight that is not zero."
    factors = net.by_weight[np.isfinite(net.by_weight)]
    low, now = int(np.nanargmin(kept)), int(np.nanargmin(other))
    lowest = (
        f"{net.layers[low]} stays the lowest"
        if low == now
        else f"then {net.layers[now]} is the lowest, not {net.layers[low]}"
    )
    return (
        f"{net.label}: with the norm of the weight in the place of that of the map, as Yu & Tomasi "
        f"2019 take it, all cushions of a layer are larger by one factor, "
        f"{_factor(factors.min())} to {_factor(factors.max())} from layer to layer, and {lowest}: "
        "compare one layer between networks, not layers with each other."
    )


def _interlayer(member: NetworkEffect) -> list[str]:
    net, inter = member.network, member.network.interlayer
    if inter is None:
        return []
    single = member.interlayer["eval"][:, 0, MEDIAN]
    images = len(inter.values["eval"])
    if not np.isfinite(single).any():
        return [f"{net.label}: no {inter.unit} has an interlayer cushion."]
    low, high = int(np.nanargmin(single)), int(np.nanargmax(single))
    lines = [
        f"{net.label}: over {wording.counted_images(images)}, this network"
        f"{', BatchNorm in evaluation mode' if inter.batch_norm else ''}, the median interlayer "
        f"cushion of single {inter.unit}s goes from {size(single[low])} ({inter.blocks[low]}) to "
        f"{size(single[high])} ({inter.blocks[high]}), where 1 is that of the identity and about "
        f"that of a random matrix{_longest(member)}; standard errors of the estimates are at most "
        f"{100 * member.relative_error:.2g} % of them{_open(inter)}."
    ]
    return [*lines, *_train_mode(member)]


def _longest(member: NetworkEffect) -> str:
    inter = member.network.interlayer
    spans = member.interlayer["eval"][:, :, MEDIAN]
    known = np.argwhere(np.isfinite(spans))
    first, length = max(known.tolist(), key=lambda place: (place[1], -place[0]))
    if inter is None or not length:
        return ""
    blocks = f"{inter.blocks[first]} to {inter.blocks[first + length]}"
    return f", and over the longest span ({blocks}) it is {size(spans[first, length])}"


def _open(inter: Interlayer) -> str:
    if not inter.open:
        return ""
    modes = "; both modes of BatchNorm" if inter.batch_norm else ""
    return (
        f", and {100 * inter.open:.1f} % of the estimates did not reach what was asked for "
        f"(1 %{modes})"
    )


def _train_mode(member: NetworkEffect) -> list[str]:
    net, inter = member.network, member.network.interlayer
    single = member.interlayer["train"][:, 0, MEDIAN]
    if inter is None or not np.isfinite(single).any():
        return []
    blind = blind_blocks(member)
    low, high = np.nanmin(single), np.nanmax(single)
    start = (
        f"{net.label}: with BatchNorm in training mode on a batch of one it goes from {size(low)} "
        f"to {size(high)}"
    )
    if not blind:
        return [f"{start}; training mode is shown for comparison with printed values only."]
    places = [inter.blocks.index(name) for name in blind]
    normal = member.interlayer["eval"][places, 0, MEDIAN]
    return [
        f"{start}; in {len(blind)} of {len(inter.blocks)} {inter.unit}s ({_some(blind)}) it is "
        "near 0 because BatchNorm takes the scale of its input away, so that J x is 0 but for its "
        f"ε and rounding (Euler's theorem): that is no property of these {inter.unit}s, whose "
        f"cushions in evaluation mode are "
        f"{size(float(normal.min()))} to {size(float(normal.max()))}."
    ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]}"


def _side_by_side(found: Effect) -> list[str]:
    first, second = (group.label for group in found.groups)
    if not found.layers:
        counts = [len(group.layers) for group in found.groups]
        return [
            f"{first} and {second} have layers that do not correspond ({counts[0]} and "
            f"{counts[1]}), so they are not compared layer by layer."
        ]
    lines = [
        f"{first} beside {second}, layer cushions with ID entries {norm}: "
        f"{_compared(found.layers[norm], first, second, 'layers')}"
        for norm in NORMS
    ]
    signs = [found.layers[norm].signs for norm in NORMS]
    changed = int((signs[0] != signs[1]).sum())
    total = len(signs[0])
    lines.append(
        f"{first} beside {second}: which group is seen to lie above changes with the choice of "
        f"norm in {changed} of {total} layers"
        + (
            ", so what is said of these layers rests on the norm."
            if changed
            else "; with either norm it is the same."
        )
    )
    inters = [m.network.interlayer for m in found.all_members if m.network.interlayer]
    units = several(unit_of(inters))
    for mode, one in found.spans.items():
        words = {"eval": "evaluation mode", "train": "training mode on a batch of one"}[mode]
        told = f", BatchNorm in {words}" if any(inter.batch_norm for inter in inters) else ""
        lines.append(
            f"{first} beside {second}, interlayer cushions of single {units}{told}: "
            f"{_compared(one, first, second, units)}"
        )
    if "train" in found.spans and any(map(blind_blocks, found.all_members)):
        lines[-1] += (
            f" There it compares how blind BatchNorm makes {units} to the scale of their input, "
            "which a skip undoes, and no more."
        )
    return lines


def _compared(one: Comparison, first: str, second: str, items: str) -> str:
    signs, total = one.signs, len(one.signs)
    above, below = int((signs > 0).sum()), int((signs < 0).sum())
    known = one.mean.value[np.isfinite(one.mean.value)]
    if not known.size:
        return "no number."
    bounds = " to ".join(wording.signed_number(float(b)) for b in (known.min(), known.max()))
    return (
        f"{first} has the larger ones in {above} of {total} {items} and the smaller in {below}"
        f"{_basis(one)}; Cliff's δ over images goes from {bounds} (+1: every image of {first} "
        f"above every one of {second})."
    )


def _basis(one: Comparison) -> str:
    """Say when a layer counts as above or below."""
    pairs = one.mean.networks
    if pairs == 1:
        return " (by the sign of δ, one network each: nothing is said of other trainings)"
    if not one.paired:
        return (
            f" (those in which all {pairs} pairs of networks agree; they share no seed, so there "
            "is no interval)"
        )
    if pairs < MINIMUM_SEEDS:
        return f" (those in which all {pairs} seeds agree; fewer than {MINIMUM_SEEDS}: no interval)"
    return (
        f" (those whose 95 % interval over {pairs} seeds, each taken alone, leaves out 0, and "
        "those in which all seeds agree exactly)"
    )


def _absent(found: Effect) -> list[str]:
    lacking = [m.network.label for m in found.all_members if m.network.interlayer is None]
    if not lacking:
        return []
    return [
        f"Interlayer cushions were not measured at this checkpoint of {', '.join(lacking)}; "
        "`resprobe collect` with --quantity +interlayer_cushion adds them."
    ]
