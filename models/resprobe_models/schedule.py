"""Learning rates as plain functions of the step, computed on the host without waiting for it."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from resprobe.errors import InputError

if TYPE_CHECKING:
    from resprobe_models.recipe import ScheduleTable

_EPOCHS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*epochs?\s*")


def learning_rates(
    schedule: ScheduleTable, total_steps: int, steps_per_epoch: int
) -> Callable[[int], float]:
    """Give the function from the step (counted from 0) to the learning rate used in it.

    - `constant`: always `learning_rate`.
    - `step`: times `factor` from each milestone on.
    - `cosine`: `minimum + ½(learning_rate - minimum)(1 + cos(π·T_cur/T))` (Loshchilov and Hutter,
      2017; Chang et al., 2018, Eq. 9), T_cur steps done of the T in the cycle; each milestone
      starts a cycle.

    Over the first `warmup` steps the rate of each form is multiplied by `(step + 1) / warmup`
    (Goyal et al., 2017, Sec. 2.2).

    Args:
        schedule: the recipe's table.
        total_steps: of the run; cycles end there at the latest.
        steps_per_epoch: turns milestones in epochs into steps.

    Raises:
        InputError: the milestones do not ascend.
    """
    form = _form(schedule, total_steps, steps_per_epoch)
    warmup = _step_of(schedule.warmup, total_steps, steps_per_epoch)
    if warmup == 0:
        return form
    return lambda step: form(step) * min(1.0, (step + 1) / warmup)


def _form(
    schedule: ScheduleTable, total_steps: int, steps_per_epoch: int
) -> Callable[[int], float]:
    milestones = milestone_steps(schedule.milestones, total_steps, steps_per_epoch)
    if schedule.name == "constant":
        return lambda _: schedule.learning_rate
    if schedule.name == "step":
        return lambda step: (
            schedule.learning_rate
            * schedule.factor ** sum(step >= milestone for milestone in milestones)
        )
    edges = sorted({0, *(edge for edge in milestones if edge < total_steps), max(total_steps, 1)})

    def cosine(step: int) -> float:
        cycle = max(index for index, edge in enumerate(edges[:-1]) if step >= edge)
        done = (step - edges[cycle]) / (edges[cycle + 1] - edges[cycle])
        return schedule.minimum + 0.5 * (schedule.learning_rate - schedule.minimum) * (
            1 + math.cos(math.pi * done)
        )

    return cosine


def milestone_steps(
    milestones: Sequence[float | str], total_steps: int, steps_per_epoch: int
) -> list[int]:
    """Turn milestones (fractions of the run, or `"80 epochs"`) into steps.

    Raises:
        InputError: they do not ascend.
    """
    steps = [_step_of(milestone, total_steps, steps_per_epoch) for milestone in milestones]
    if any(later < earlier for earlier, later in itertools.pairwise(steps)):
        raise InputError(
            f"schedule.milestones {list(milestones)} fall on the steps {steps} of {total_steps}: "
            "give them in ascending order."
        )
    return steps


def _step_of(time: float | str, total_steps: int, steps_per_epoch: int) -> int:
    """Turn a fraction of the run, or `"80 epochs"`, into a step."""
    if isinstance(time, str):
        return round((epochs_of(time) or 0.0) * steps_per_epoch)
    return round(time * total_steps)


def epochs_of(milestone: str) -> float | None:
    """Give the number in `"80 epochs"`, None for any other text."""
    match = _EPOCHS.fullmatch(milestone)
    return float(match[1]) if match else None
