"""How the responses of two groups to noise of the weights differ, in plain sentences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resprobe_analyses.difference import difference_lines
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.noise_stability.effects import Effect, GroupEffect, NetworkEffect
from resprobe_analyses.noise_stability.equal_noise import EqualNoise
from resprobe_analyses.noise_stability.findings import (
    DEPENDS,
    EQUAL,
    answers,
    layers_apart,
    outcome,
)
from resprobe_analyses.noise_stability.known import over_trainings
from resprobe_analyses.noise_stability.networks import NORMS
from resprobe_analyses.noise_stability.predictions import LOWEST
from resprobe_analyses.noise_stability.responses import ResponseContrast
from resprobe_analyses.noise_stability.words import (
    at,
    basis,
    counted,
    listed,
    percent,
    ratio,
    signed,
)

FAVOURS = "which favours the larger weights"


def side_by_side(found: Effect) -> list[str]:
    """Say how the responses to noise of the weights differ; nothing of one group."""
    contrast = found.contrast
    if contrast is None:
        return []
    first, second = (group.label for group in found.groups)
    if contrast.weight is None or contrast.equal is None:
        counts = [len(group.members[0].network.layers) for group in found.groups]
        return [
            f"{first} and {second} have layers that do not correspond ({counts[0]} and "
            f"{counts[1]}), so they are not compared layer by layer."
        ]
    lines = [_claim(found, contrast.weight), _at_equal_noise(found, contrast.equal)]
    lines += [_relative(found, contrast.weight), _error(found, contrast.weight)]
    # their means over layers are those above
    by_layer = [replace(one, mean=None) for one in found.differences]
    return [*lines, *difference_lines(by_layer), *_draws(found)]


def _draws(found: Effect) -> list[str]:
    """Say where two groups of one architecture may have had noise of other directions."""
    if not found.differences:
        return []
    first, second = found.groups
    counts = [group.members[0].network.weight.trials for group in found.groups]
    if counts[0] != counts[1]:
        return [
            f"{first.label} has {counts[0]} draws of noise and {second.label} {counts[1]}, so the "
            "draws are not the same ones; collect both with the same --trials."
        ]
    return [
        f"{first.label} and {second.label} had noise of the same directions if both were collected "
        "with one --trial-seed, which files do not tell; with other directions they differ by the "
        "draws too, which an interval over images does not hold."
    ]


def _claim(found: Effect, one: ResponseContrast) -> str:
    """Say what holds whichever way the noise is made equal, and which group errs less."""
    first, second = (group.label for group in found.groups)
    told = answers(found)
    known = [reading for reading, answer in told.items() if answer is not None]
    readings = (
        "with every reading of equal noise" if EQUAL in known else "with both norms of the weight"
    )
    noise = "noise in the weight of one layer"
    result = outcome(found)
    if result == DEPENDS:
        each = listed([f"{told[reading]} {_where(reading)}" for reading in known])
        says = (
            f"whether {first} answers {noise} less than {second} depends on what equal noise "
            f"means: {each}"
        )
    elif result == "undecided":
        says = f"{first} and {second} are not told apart by how they answer {noise}, {readings}"
    else:
        says = f"{first} answers {noise} {result.split()[0]} than {second} {readings}"
    errors = [_test_error(group) for group in found.groups]
    paper = (
        "Yu & Tomasi 2019 expect skips to make networks answer noise less, and by that err less; "
        "here "
        if _residual_beside_plain(found)
        else ""
    )
    over = basis(at(one.over_layers, 0, LOWEST), found.images, "pair")
    return (
        f"{paper}{says}; test errors are {errors[0]:.3f} in {first} and {errors[1]:.3f} in "
        f"{second}{_whose_error(found)} (intervals here and below: {over})."
    )


def _whose_error(found: Effect) -> str:
    """Say whether the group that answers less errs less; nothing where none answers less."""
    told = answers(found)
    sides = {
        group.label: answer for group, answer in zip(found.groups, ("less", "more"), strict=True)
    }
    calm = [label for label, answer in sides.items() if answer in told.values()]
    if not calm:
        return ""
    difference = _error_difference(found)
    interval = np.isfinite(difference.low)
    apart = difference.direction if interval else np.sign(round(float(difference.value), 3))
    if not apart:
        return f", which {'are not told apart over the seeds' if interval else 'do not differ'}"
    better = list(sides)[0 if apart < 0 else 1]
    if len(calm) == len(sides):
        return f": {better} errs less, and whether it answers less depends on the reading"
    if better == calm[0]:
        return f": {better}, which answers less{_in_part(told)}, errs less too"
    return f": {calm[0]}, which answers less{_in_part(told)}, does not err less but more"


def _in_part(told: dict[str, str | None]) -> str:
    """Say in which readings one group answers less, where others do not tell the two apart."""
    apart = [reading for reading, answer in told.items() if answer in ("less", "more")]
    known = [reading for reading, answer in told.items() if answer is not None]
    return "" if len(apart) == len(known) else f" {listed([_where(one) for one in apart])} only"


def _error_difference(found: Effect) -> Estimate:
    """Average the test error of the first group minus that of the second, pair by pair."""
    assert found.contrast is not None
    errors = {member.network.label: _error_of(member) for member in found.members}
    pairs = np.array([errors[one] - errors[two] for one, two in found.contrast.labels])
    return over_trainings(pairs, seeds=found.contrast.paired)


def _where(reading: str) -> str:
    return "at equal ‖ΔW‖_F" if reading == EQUAL else f"relative to ‖W‖_F with ID entries {reading}"


def _test_error(group: GroupEffect) -> float:
    """Give the mean error on all test images, on the images at hand where that is not known."""
    return float(np.mean([_error_of(member) for member in group.members]))


def _error_of(member: NetworkEffect) -> float:
    known = member.metric("test_error")
    return known if np.isfinite(known) else member.network.error


def _residual_beside_plain(found: Effect) -> bool:
    first, second = found.groups
    return first.residual and not second.residual


def _at_equal_noise(found: Effect, one: EqualNoise) -> str:
    first, second = (group.label for group in found.groups)
    pairs, layers = one.pairs.shape
    expected = (
        ", the paper's words taken literally (it expects less)"
        if _residual_beside_plain(found)
        else ""
    )
    start = f"At equal ‖ΔW‖_F{expected},"
    if not one.compared:
        return (
            f"{start} nothing is compared, for in none of {counted(layers, 'layer')} do the sizes "
            "of the noise overlap; collect with more levels."
        )
    which = counted(layers, "layer")
    if one.compared < layers:
        which = f"{one.compared} of {which}"
    short = int(((one.counts > 0) & (one.counts < pairs)).sum())
    some = f", {short} of them in only some of {pairs} pairs" if short else ""
    less, more = (int(signs.sum()) for signs in (one.log_ratio.high < 0, one.log_ratio.low > 0))
    behind = one.over_layers.networks
    of = f" in {behind} of {pairs} pairs" if behind < pairs else ""
    return (
        f"{start} the logits of {first} change {ratio(one.over_layers)} times as much as those of "
        f"{second}{of}, averaged over {which}{some} (less in {less}, more in {more}), {FAVOURS}: "
        f"those of {first} have {_weights(found)} times the norm."
    )


def _weights(found: Effect) -> str:
    """Give the ratio of the norms of the weights, ID entries kept, geometric mean over layers."""
    means = []
    for group in found.groups:
        norms = np.stack([member.network.weight_norm[:, 0] for member in group.members])
        means.append(np.log(norms[norms > 0]).mean())
    return f"{np.exp(means[0] - means[1]):.2f}"


def _relative(found: Effect, one: ResponseContrast) -> str:
    """Say how the responses compare at equal parts of the norm, and what the norm alone does."""
    first, second = found.groups
    level = found.members[0].network.weight.level[LOWEST]
    signs = layers_apart(one)
    parts = []
    for place, norm in enumerate(NORMS):
        less, more = int((signs[:, place] < 0).sum()), int((signs[:, place] > 0).sum())
        parts.append(
            f"{ratio(at(one.over_layers, place, LOWEST))} times with ID entries {norm} (less in "
            f"{counted(less, 'layer')}, more in {more})"
        )
    both = int((signs[:, 0] == signs[:, 1]).sum())
    sizes = [told for group in (first, second) if (told := _noise_ratio(group))]
    why = (
        f"; removing them alone makes the noise of layers with a skip {listed(sizes)} (median)"
        if sizes
        else "; no skip counts as a part of a layer here"
    )
    return (
        f"At {percent(level)} of ‖W‖_F the logits of {first.label} change {listed(parts)}; {both} "
        f"of {counted(len(signs), 'layer')} {'says' if both == 1 else 'say'} the same with both"
        f"{why}."
    )


def _noise_ratio(group: GroupEffect) -> str:
    known = np.concatenate(
        [m.network.noise_ratio[m.cushions.network.with_skip] for m in group.members]
    )
    known = known[np.isfinite(known)]
    return f"{np.median(known):.2f} times as large in {group.label}" if known.size else ""


def _error(found: Effect, one: ResponseContrast) -> str:
    level = found.members[0].network.weight.level[-1]
    parts = [
        f"{signed(at(one.error_added, place, -1), 3)} ({norm})" for place, norm in enumerate(NORMS)
    ]
    first, second = (group.label for group in found.groups)
    return (
        f"At {percent(level)} of ‖W‖_F the error that the noise adds in {first} differs from that "
        f"in {second} by {listed(parts)}, averaged over layers."
    )
