"""What the exact studies measured, once for all tests of a process."""

import importlib
from functools import cache

from resprobe_analyses.studies import ENTRIES

EXACT = (
    "ML-E8",
    "ML-T2",
    "ML-T5",
    "RA-E21",
    "YT-E1",
    "YT-E2",
    "YT-H",
    "YT-T3",
    "ZH-E4",
    "ZH-F1",
)


def study(name):
    module, _, attribute = ENTRIES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def measured(name):
    return study(name).measure()


def failed(evidence):
    """Names of the checks that do not hold."""
    return [check.name for check in evidence.checks if not check.holds]
