"""When the exponent counts as reproduced; fixed before anything is measured.

Eq. 5 of Chang et al. 2018 gives ‖G‖ = (T/d)·‖F‖: the exponent of γ against d would be −1.
"""

from __future__ import annotations

import numpy as np

from resprobe_analyses.estimates import Estimate
from resprobe_analyses.studies.criteria import NOT_ATTEMPTED, Band

CLAIMED = -1.0
BAND = Band(low=-1.25, high=-0.75, claimed=CLAIMED)
MINIMUM_DEPTHS = 5

RULE = (
    f"exponent of γ against the number of blocks, one slope per seed, {BAND.rule} and "
    f"{MINIMUM_DEPTHS} depths, all trained to the same training loss; with less {NOT_ATTEMPTED}"
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
    return str(BAND.outcome(exponent.low, exponent.high))
