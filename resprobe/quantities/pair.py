"""What two networks that are trained in lockstep differ by, step by step."""

from __future__ import annotations

from resprobe.quantities.quantity import Quantity

_SOURCE = "Yu & Tomasi 2019 (Identity connections in residual nets improve noise stability), Sec. 3"


def _of_pair(name: str, formula: str, meaning: str, *, units: str = "1") -> Quantity:
    return Quantity(
        name=name,
        family="pair",
        dims=("step",),
        units=units,
        dtype="float64",
        formula=formula,
        source=_SOURCE,
        meaning=meaning,
        cost="hook",
    )


OUTPUT_DISTANCE = _of_pair(
    "pair_output_distance",
    "max |f - f'| over the batch and the classes, before the update",
    "Largest difference of the logits of the two networks.",
)
OUTPUT_SCALE = _of_pair(
    "pair_output_scale",
    "max |f| over the batch and the classes, before the update",
    "Largest logit of the run's network.",
)
LOSS_DISTANCE = _of_pair(
    "pair_loss_distance",
    "loss - loss'",
    "Loss of the batch in the run less that in its partner.",
    units="nat",
)
GRADIENT_DISTANCE = _of_pair(
    "pair_gradient_distance",
    "max |∂loss/∂w - ∂loss'/∂w'| over all parameters, as the optimizer takes them",
    "Largest difference of the gradients of the two networks.",
)
GRADIENT_SCALE = _of_pair(
    "pair_gradient_scale",
    "max |∂loss/∂w| over all parameters, as the optimizer takes them",
    "Largest entry of the gradient of the run's network.",
)
WEIGHT_DISTANCE = _of_pair(
    "pair_weight_distance",
    "max |T(r) - p| over all parameters, after the update",
    "Largest difference of the weights of the two networks, both made plain.",
)
WEIGHT_SCALE = _of_pair(
    "pair_weight_scale",
    "max |p| over all parameters, or max |T(r)|, after the update",
    "Largest weight of the run's network, made plain.",
)
