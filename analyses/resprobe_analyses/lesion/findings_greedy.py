"""What can be dropped within a stated loss of accuracy, JSON-ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resprobe_analyses.estimates import estimate_json, number_json
from resprobe_analyses.lesion.greedy import ALLOWED_LOSSES, Advice, Greedy, recurrence


def greedy_json(found: Sequence[Greedy]) -> dict[str, Any]:
    """Give the lists `greedy`, by network, and `greedy_recurrence`, by group of several."""
    groups = list(dict.fromkeys(one.group for one in found))
    several = [group for group in groups if sum(one.group == group for one in found) > 1]
    return {
        "greedy": [_network(one) for one in found],
        "greedy_recurrence": [_recurrence(found, group) for group in several],
    }


def _network(one: Greedy) -> dict[str, Any]:
    return {
        "network": one.label,
        "group": one.group,
        "validation_images": one.validation_images,
        "test_images": one.test_images,
        "validation_error": number_json(one.validation_error[0]),
        "test_error": number_json(one.test_error[0]),
        "parameters": one.model_parameters,
        "flops": one.model_flops,
        "order": list(one.names),
        "advice": [_advice(one, advice) for advice in one.advice],
    }


def _advice(one: Greedy, advice: Advice) -> dict[str, Any]:
    drops = advice.drops
    return {
        "allowed_loss": advice.allowed,
        "blocks": list(one.names[:drops]),
        "validation_error_increase": number_json(one.validation_increase[drops]),
        "test_error_increase": estimate_json(advice.test_increase),
        "promise": advice.promise,
        "parameters_saved": int(one.parameters[drops]),
        "parameters_saved_share": one.parameters[drops] / one.model_parameters,
        "flops_saved": int(one.flops[drops]),
        "flops_saved_share": one.flops[drops] / one.model_flops,
        "among_least_harmful_alone": advice.least_harmful,
    }


def _recurrence(found: Sequence[Greedy], group: str) -> dict[str, Any]:
    own = [one for one in found if one.group == group]
    names, counts = own[0].network.network.names, recurrence(found, group)
    return {
        "group": group,
        "networks": [one.label for one in own],
        "advice": [
            {
                "allowed_loss": allowed,
                "times_dropped": {
                    name: int(count) for name, count in zip(names, row, strict=True) if count
                },
            }
            for allowed, row in zip(ALLOWED_LOSSES, counts, strict=True)
        ],
    }
