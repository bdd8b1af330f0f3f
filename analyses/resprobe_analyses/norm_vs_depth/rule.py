"""When the exponent counts as reproduced; fixed before anything is measured.

Eq. 5 of Chang et al. 2018 gives ‖G‖ = (T/d)·‖F‖: the exponent of γ against d would be −1.
"""

from __future__ import annotations

import numpy as np

from resprobe_analyses.estimates import Estimate

CLAIMED = -1.0
LOWEST, HIGHEST = -1.25, -0.75
MINIMUM_DEPTHS = 5

REPRODUCED = "reproduced at small scale"
CONTRADICTED = "contradicted"
UNDECIDED = "undecided"
NOT_ATTEMPTED = "not attempted at this scale"

RULE = (
    f"exponent of γ against the number of blocks, one slope per seed, 95 % Student t interval over "
    f"seeds: {REPRODUCED} if the interval lies inside [{LOWEST}, {HIGHEST}]; {CONTRADICTED} if it "
    f"leaves out {CLAIMED:g} and lies outside [{LOWEST}, {HIGHEST}]; else {UNDECIDED}. It takes at "
    f"least {MINIMUM_DEPTHS} depths and 5 seeds, all trained to the same training loss; else "
    f"{NOT_ATTEMPTED}"
)


def outcome(exponent: Estimate | None, failures: tuple[str, ...]) -> str:
    """Apply the rule.

    Args:
        exponent: over seeds; None where there is none.
        failures: conditions that do not hold.

    Returns:
        One of the four outcomes. An interval that overlaps an edge of the band decides nothing.
    """
    if exponent is None or failures or not np.isfinite(exponent.low):
        return NOT_ATTEMPTED
    low, high = float(exponent.low), float(exponent.high)
    if low >= LOWEST and high <= HIGHEST:
        return REPRODUCED
    if high < LOWEST or low > HIGHEST:
        return CONTRADICTED
    return UNDECIDED
