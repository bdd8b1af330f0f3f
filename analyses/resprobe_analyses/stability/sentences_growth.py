"""What is said of norms, Lyapunov exponents, and of both over training."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from resprobe_analyses import wording
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.stability import words
from resprobe_analyses.stability.families import BLOCK, BRANCH
from resprobe_analyses.stability.records import Group, Network
from resprobe_analyses.stability.runs import measured_runs, run_of_stage
from resprobe_analyses.stability.spread import cells, spread_of
from resprobe_analyses.stability.stages import stage_estimate, stages_of
from resprobe_analyses.stability.training import fixed_samples

Floats = npt.NDArray[np.float64]

SHOWN = (
    ("spectral_abscissa", BRANCH, "max Re λ of the branch", True),
    ("log_norm", BRANCH, "log norm of the branch", True),
    ("spectral_norm", BRANCH, "σ_max of the branch", False),
    ("spectral_norm", BLOCK, "σ_max of the whole block", False),
)


def shown(net: Network) -> list[tuple[str, int, str, bool]]:
    """Give what is told of a network; the branch of a plain unit is all of it."""
    if not net.plain:
        return list(SHOWN)
    return [
        (name, part, what.replace("branch", "unit"), signed)
        for name, part, what, signed in SHOWN
        if part == BRANCH
    ]


def norm_lines(group: Group) -> list[str]:
    """Give the range of each norm over the blocks of each stage, transitions apart."""
    layout = group.first.layout
    lines = []
    for name, part, what, signed in shown(group.first):
        middle = medians(group, name, part)
        if middle is None:
            continue
        known = np.isfinite(middle)
        parts = [
            f"{words.stage(group.first, int(stage), chosen)} "
            f"{words.span(middle[chosen], signed=signed)}"
            for stage in np.unique(layout.stage)
            if (chosen := known & layout.within & (layout.stage == stage)).any()
        ]
        apart = known & layout.transition
        if apart.any():
            parts.append(f"transitions {words.span(middle[apart], signed=signed)}")
        if not parts:
            lines.append(
                f"{group.label}: no {what} is known, in no {words.unit(group, 1)} and on no image."
            )
            continue
        lines.append(
            f"{group.label}: {what}, median over {_images(group, name)}, from "
            f"{words.unit(group, 1)} to {words.unit(group, 1)}: {'; '.join(parts)}."
        )
    return lines


def medians(group: Group, name: str, part: int) -> Floats | None:
    """Give the median over images (of all networks) by block, None where not collected."""
    found = [cells(net, name) for net in group.networks]
    known = [one for one in found if one is not None]
    return spread_of(known).middle[:, part] if known else None


def _images(group: Group, name: str) -> str:
    one = cells(group.first, name)
    count = group.first.classes.size if one is None else one.shape[0]
    who = "" if len(group.networks) == 1 else f" of {wording.these(len(group.networks))}"
    return f"{wording.counted_images(int(count))}{who}"


def lyapunov_lines(group: Group) -> list[str]:
    """Give the leading exponent of each stage and what its sign means."""
    first = group.first
    if any(net.lyapunov is None for net in group.networks) or first.lyapunov is None:
        return []
    images = first.lyapunov.exponents.shape[0]
    parts, random, bounds, signs = [], [], [], set()
    for stage in stages_of(first):
        run = run_of_stage(first, stage)
        if run is None:
            continue
        one = stage_estimate(group, "lyapunov_exponent", stage)
        beside = stage_estimate(group, "perturbation_growth", stage)
        bound = stage_estimate(group, "growth_bound", stage)
        inside = np.isin(np.arange(len(first.names)), run.blocks)
        name = words.stage(first, stage, inside)
        total = float(np.exp(one.value * run.blocks.size))
        parts.append(
            f"{name} {words.estimate(one)} over {run.blocks.size} "
            f"{words.unit(group, run.blocks.size)} (a factor of {total:.3g} in all)"
        )
        random.append(f"{name} {words.estimate(beside)}")
        bounds.append(f"{name} {words.estimate(bound)}")
        signs.add(_sign(one))
    if not parts:
        return [
            f"{group.label}: no Lyapunov exponent is known, since no {words.unit(group, 1)} keeps "
            "its shape or none is finite."
        ]
    told = words.over(
        stage_estimate(group, "lyapunov_exponent", measured_runs(first)[0].stage), images
    )
    return [
        f"{group.label}: leading finite-time Lyapunov exponent per {words.unit(group, 1)}, from "
        f"the first to the last {words.unit(group, 1)} of one shape ({told}): "
        f"{'; '.join(parts)}{_meaning(signs)}.",
        f"{group.label}: growth of a small random perturbation over the same "
        f"{words.unit(group, 2)}, in the same measure: {'; '.join(random)}.",
        f"{group.label}: mean ln σ_max of the same {words.unit(group, 2)}, which bounds the "
        f"exponents: {'; '.join(bounds)}.",
    ]


def _sign(one: Estimate) -> str:
    """Tell growth from decay along the direction that is stretched most."""
    lowest = one.low if np.isfinite(one.low) else one.value
    highest = one.high if np.isfinite(one.high) else one.value
    if lowest > 0:
        return "grows"
    return "shrinks" if highest < 0 else "open"


def _meaning(signs: set[str]) -> str:
    if signs == {"grows"}:
        return "; some nearby states part in every stage"
    if signs == {"shrinks"}:
        return "; nearby states draw together in every stage"
    if signs == {"open"}:
        return "; whether any nearby states part is open in every stage"
    return "; the stages differ in this, or it is open"


def training_lines(group: Group) -> list[str]:
    """Say where each quantity began and ended, by stage."""
    lines = []
    for net in group.networks[: words.MOST_NETWORKS]:
        if net.training is None:
            continue
        steps, layout = net.training.steps, net.layout
        for name, part, what, signed in shown(net):
            table = net.training.medians[name][:, :, part]
            parts = []
            for stage in stages_of(net):
                inside = layout.within & (layout.stage == stage)
                rows = table[:, inside]
                known = np.isfinite(rows).any(axis=1)
                if not known.any():
                    continue
                ends = [float(np.nanmedian(rows[known][place])) for place in (0, -1)]
                parts.append(
                    f"{words.stage(net, stage, inside)} "
                    f"{words.value(ends[0], signed=signed)} to "
                    f"{words.value(ends[1], signed=signed)}"
                )
            if parts:
                lines.append(
                    f"{net.label}: {what} from step {steps[0]:,} to step {steps[-1]:,} (median "
                    f"over {fixed_samples(net.training.samples)} and the "
                    f"{words.unit(group, 2)} of a stage): {'; '.join(parts)}."
                )
    return lines
