"""What the lesion figures draw: one series for each network or group."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from resprobe_analyses.estimates import Estimate
from resprobe_analyses.lesion.effects import GroupEffect

Floats = npt.NDArray[np.float64]

RATIO_LABEL = r"$\Vert G\Vert\,/\,\Vert s\Vert$ (mean over images)"


@dataclass(frozen=True)
class Series:
    """What is drawn for one network or for the mean of one group.

    Attributes:
        label: in the legend.
        baseline: test error of the whole network.
        increase: error increase by block.
        ratio: ‖G‖/‖s‖ by block.
        plain: whether there are no skips.
    """

    label: str
    baseline: float
    increase: Estimate
    ratio: Estimate
    plain: bool

    def error(self) -> tuple[Floats, Floats, Floats]:
        """Give error after the lesion and its bounds, each of shape (block,), within [0, 1].

        The bounds are those of the paired difference, moved to the baseline: where they leave out
        the baseline, the lesion changes the error.
        """
        bounds = (self.increase.value, self.increase.low, self.increase.high)
        value, low, high = (np.clip(self.baseline + bound, 0.0, 1.0) for bound in bounds)
        return value, low, high


def series_of(group: GroupEffect) -> list[Series]:
    """Give the series of one group: its mean, or each network where none can be interpreted."""
    plain = group.group.plain
    if group.increase is None or group.ratio is None or group.test_error is None:
        return [
            Series(
                f"{m.network.label} (uninterpretable)",
                float(m.test_error.value),
                m.increase,
                m.ratio,
                plain,
            )
            for m in group.members
        ]
    label, count = group.group.label, len(group.used)
    label = label if count == 1 else f"{label} (mean of {count} networks)"
    return [Series(label, float(group.test_error.value), group.increase, group.ratio, plain)]


def put_title(
    figure: Figure,
    what: str,
    groups: Sequence[GroupEffect],
    width: float,
    *,
    images: Sequence[int] = (),
) -> None:
    """Write what is drawn, of which networks and on how many images, above a figure.

    Args:
        figure: to write on.
        what: the first words.
        groups: whose labels are named.
        width: of the figure, in inches; the title is wrapped to it.
        images: how many were measured, where these are others than those of the single lesions.
    """
    counts = dict.fromkeys(images or [groups[0].group.networks[0].whole_wrong.size])
    named = ", ".join(group.group.label for group in groups)
    told = " / ".join(f"{count:,}" for count in counts)
    text = f"{what}: {named}; {told} test images"
    figure.suptitle(textwrap.fill(text, int(width * 11)))
