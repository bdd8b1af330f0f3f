"""What was found over several blocks, JSON-ready."""

from __future__ import annotations

from typing import Any

import numpy as np

from resprobe_analyses.estimates import correlation_json, estimate_json, number_json
from resprobe_analyses.lesion.curves import Curve, Curves, Shuffle, at


def curves_json(found: Curves) -> dict[str, Any]:
    """Give the lists `multi` and `shuffle` for the verdict, each empty where nothing is."""
    return {
        "multi": [_multi(curve) for curve in found.multi],
        "shuffle": [_shuffle(one) for one in found.shuffle],
    }


def _multi(curve: Curve) -> dict[str, Any]:
    return {
        "group": curve.group.group.label,
        "networks": list(curve.sweep.labels),
        "batch_norm": curve.sweep.batch_norm,
        "sets": curve.kind,
        "images": curve.sweep.images,
        "test_error": estimate_json(curve.test_error),
        "levels": [
            {
                "dropped": int(curve.sweep.level[level]),
                "trials": int(curve.trials[level]),
                "error_increase": estimate_json(at(curve.increase, level)),
                "range_over_trials": _range(curve, level),
                "sum_of_single_lesions": None
                if curve.single_sum is None
                else estimate_json(at(curve.single_sum, level)),
                "excess_over_sum": None
                if curve.excess is None
                else estimate_json(at(curve.excess, level)),
            }
            for level in map(int, np.flatnonzero(curve.trials))
        ],
    }


def _shuffle(one: Shuffle) -> dict[str, Any]:
    distance = correlation_json(one.distance)
    distance["over"] = "orders"
    distance["orders"] = distance.pop("blocks")
    del distance["stages"]
    return {
        "group": one.group.group.label,
        "networks": list(one.sweep.labels),
        "batch_norm": one.sweep.batch_norm,
        "images": one.sweep.images,
        "test_error": estimate_json(one.test_error),
        "rank_correlation_with_distance": distance,
        "one_swap_first_minus_last_stage": estimate_json(one.first_minus_last),
        "levels": [
            {
                "swaps": int(one.swaps[level]),
                "stage": None if one.stage[level] < 0 else int(one.stage[level]),
                "trials": int(one.trials[level]),
                "error_increase": estimate_json(at(one.increase, level)),
                "range_over_trials": _range(one, level),
            }
            for level in map(int, np.flatnonzero(one.trials))
        ],
    }


def _range(one: Curve | Shuffle, level: int) -> list[float | None]:
    return [number_json(one.lowest[level]), number_json(one.highest[level])]
