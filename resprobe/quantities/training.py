"""What is recorded at the steps of a training run: gradients, updates, moments, loss."""

from __future__ import annotations

from resprobe.quantities.quantity import Quantity


def _at_steps(
    name: str, dims: tuple[str, ...], formula: str, meaning: str, *, units: str = "1"
) -> Quantity:
    return Quantity(
        name=name,
        family="step",
        dims=("step", *dims),
        units=units,
        dtype="float32",
        formula=formula,
        source="definition",
        meaning=meaning,
        cost="hook",
    )


BRANCH_GRADIENT_NORM = Quantity(
    name="branch_gradient_norm",
    family="step",
    dims=("sample", "block"),
    units="1",
    dtype="float32",
    formula="‖∂loss/∂G‖, of the loss as it is trained (a mean over the batch)",
    source="definition",
    meaning="L2 norm of the loss's gradient with respect to the branch, per sample.",
    cost="hook",
    while_training=True,
)
GRADIENT_NORM = _at_steps(
    "gradient_norm",
    ("block",),
    "√Σ‖∂loss/∂w‖² over the parameters of the branch",
    "L2 norm of the loss's gradient with respect to the branch's parameters.",
)
UPDATE_NORM = _at_steps(
    "update_norm",
    ("block",),
    "√Σ‖w after - w before the step‖² over the parameters of the branch",
    "L2 norm of what the optimizer's step changed in the branch's parameters.",
)
PARAMETER_NORM = _at_steps(
    "parameter_norm", ("parameter",), "‖w‖", "L2 norm of a parameter after the step."
)
PARAMETER_MEAN = _at_steps(
    "parameter_mean", ("parameter",), "mean(w)", "Mean of a parameter's entries after the step."
)
PARAMETER_STD = _at_steps(
    "parameter_std",
    ("parameter",),
    "√(mean(w²) - mean(w)²)",
    "Standard deviation of a parameter's entries after the step.",
)
PARAMETER_GRADIENT_NORM = _at_steps(
    "parameter_gradient_norm",
    ("parameter",),
    "‖∂loss/∂w‖",
    "L2 norm of a parameter's gradient, as the optimizer's step used it.",
)
PARAMETER_GRADIENT_MEAN = _at_steps(
    "parameter_gradient_mean", ("parameter",), "mean(∂loss/∂w)", "Mean of a gradient's entries."
)
PARAMETER_GRADIENT_STD = _at_steps(
    "parameter_gradient_std",
    ("parameter",),
    "√(mean(g²) - mean(g)²), g = ∂loss/∂w",
    "Standard deviation of a gradient's entries.",
)
PARAMETER_UPDATE_NORM = _at_steps(
    "parameter_update_norm",
    ("parameter",),
    "‖w after - w before the step‖",
    "L2 norm of what the optimizer's step changed in a parameter.",
)
PARAMETER_UPDATE_MEAN = _at_steps(
    "parameter_update_mean", ("parameter",), "mean(Δw)", "Mean of an update's entries."
)
PARAMETER_UPDATE_STD = _at_steps(
    "parameter_update_std",
    ("parameter",),
    "√(mean(Δw²) - mean(Δw)²)",
    "Standard deviation of an update's entries.",
)
LOSS = _at_steps("loss", (), "loss of the batch", "Training loss of the step's batch.", units="nat")
ACCURACY = _at_steps(
    "accuracy", (), "mean(argmax z = y) of the batch", "Training accuracy of the step's batch."
)
LEARNING_RATE = _at_steps(
    "learning_rate", (), "η", "Learning rate of the optimizer's first group in this step."
)
