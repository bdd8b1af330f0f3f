"""The update rules by name: what each takes from `[train]`, and its state by parameter name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from resprobe.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from resprobe_models.recipe import TrainTable


class Rule(NamedTuple):
    """An update rule of torch.

    Attributes:
        name: of its class in `torch.optim`.
        defaults: of the keys of `[train]` that it takes beside `weight_decay`.
        decoupled: whether weight decay acts on the weights, not as a term of the gradient.
    """

    name: str
    defaults: Mapping[str, Any]
    decoupled: bool = False


_ADAM = {"betas": (0.9, 0.999), "eps": 1e-8}
# Those of torch whose step needs no closure and takes parameters of any shape.
RULES: Mapping[str, Rule] = {
    "sgd": Rule("SGD", {"momentum": 0.9, "nesterov": False}),
    "adam": Rule("Adam", _ADAM),
    "adamw": Rule("AdamW", _ADAM, decoupled=True),
    "nadam": Rule("NAdam", _ADAM),
    "radam": Rule("RAdam", _ADAM),
    "adamax": Rule("Adamax", _ADAM),
    "adagrad": Rule("Adagrad", {"eps": 1e-10}),
    "rmsprop": Rule("RMSprop", {"momentum": 0.0, "alpha": 0.99, "eps": 1e-8}),
}
# Of the rules' states, what counts steps: numbers on the host, of a dtype of their own.
_COUNTERS = ("step", "mu_product")
KEYS = tuple(dict.fromkeys(key for rule in RULES.values() for key in rule.defaults))


def resolved(optimizer: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the value of every key of `KEYS`: as given, the rule's own default, or None.

    Args:
        optimizer: a name of `RULES`.
        given: values by key, None where the recipe is silent.

    Raises:
        InputError: a key is given that the rule does not take, or the values do not go together.
    """
    defaults = RULES[optimizer].defaults
    for key, value in given.items():
        if value is not None and key not in defaults:
            raise InputError(
                f"train.{key} = {value}: {optimizer} takes no {key}, only "
                f"{', '.join(defaults)}; leave it out, or choose another train.optimizer."
            )
    values = {key: defaults.get(key) if given[key] is None else given[key] for key in KEYS}
    if values["nesterov"] and values["momentum"] == 0:
        raise InputError("train.nesterov = true: expected a train.momentum above 0.")
    if values["betas"] is not None and len(values["betas"]) != 2:
        raise InputError(f"train.betas = {list(values['betas'])}: expected two numbers.")
    return values


def make_optimizer(table: TrainTable, rate: float, model: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer of a recipe over all parameters of a model.

    Args:
        table: `[train]`, resolved.
        rate: learning rate of the first step.
        model: on its device.

    Raises:
        InputError: weight decay is to pull toward the identity, and the network has no ID entries.
    """
    import torch

    rule = RULES[table.optimizer]
    decay = table.weight_decay * table.wd_scale
    made: torch.optim.Optimizer = getattr(torch.optim, rule.name)(
        model.parameters(),
        lr=rate,
        weight_decay=decay,
        **{key: getattr(table, key) for key in rule.defaults},
    )
    if table.decay_toward == "identity":
        entries = id_entries(model, "train.decay_toward = identity")
        if decay:
            weights = dict(model.named_parameters())
            identity = {weights[name]: mask.to(weights[name]) for name, mask in entries.items()}
            _TowardIdentity(made, identity, decay, decoupled=rule.decoupled)
    return made


def id_entries(model: nn.Module, key: str) -> dict[str, Tensor]:
    """Give the ID entries that a network names: a bool mask by name of the weight.

    Args:
        model: that has the method `id_entries`.
        key: of the recipe, with its value, that asks for them.

    Raises:
        InputError: it has not, or names what is no parameter of the mask's shape.
    """
    named = getattr(model, "id_entries", None)
    if not callable(named):
        raise InputError(
            f"{key} needs the ID entries of the network, which it does not name (it has no method "
            "id_entries); take one that does, such as simplified-resnet."
        )
    found: dict[str, Tensor] = named()
    shapes = {name: weight.shape for name, weight in model.named_parameters()}
    for name, mask in found.items():
        if shapes.get(name) != mask.shape:
            raise InputError(
                f"{key}: the network's id_entries names {name} with a mask of shape "
                f"{tuple(mask.shape)}, which is no parameter of that shape; repair the network."
            )
    return found


class _TowardIdentity:
    """Makes a rule's weight decay pull to ρ, which is 1 at the ID entries and 0 elsewhere.

    The rule adds d·p to the gradient, or, decoupled, takes η·d·p from the weights p. To put p - ρ
    in the place of p, the gradient is less by d·ρ for the time of the step, and afterwards the one
    that the loss gave; or the weights are more by η·d·ρ after the step. A parameter without a
    gradient does not decay.

    Source: Yu and Tomasi (2019), Sec. 3: the penalty of a plain network is that of T⁻¹(p).

    Args:
        optimizer: gets hooks on its step.
        identity: weight to ρ, of its shape and dtype.
        decay: d.
        decoupled: which of the two it is.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        identity: Mapping[nn.Parameter, Tensor],
        decay: float,
        *,
        decoupled: bool,
    ) -> None:
        self._identity, self._decay = identity, decay
        self._gradients: list[tuple[nn.Parameter, Tensor]] = []
        if decoupled:
            optimizer.register_step_post_hook(self._move_weights)
        else:
            optimizer.register_step_pre_hook(self._lend_gradients)
            optimizer.register_step_post_hook(self._give_back)

    def _lend_gradients(self, *_: Any) -> None:
        self._gradients = [
            (weight, weight.grad) for weight in self._identity if weight.grad is not None
        ]
        for weight, gradient in self._gradients:
            weight.grad = gradient.sub(self._identity[weight], alpha=self._decay)

    def _give_back(self, *_: Any) -> None:
        for weight, gradient in self._gradients:
            weight.grad = gradient
        self._gradients = []

    def _move_weights(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        import torch

        rate = optimizer.param_groups[0]["lr"]
        with torch.no_grad():
            for weight, entries in self._identity.items():
                if weight.grad is not None:
                    weight.add_(entries, alpha=rate * self._decay)


def state_by_name(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Give the optimizer's tensors as `KEY.PARAMETER`, such as `momentum_buffer.stem.weight`."""
    import torch

    return {
        f"{key}.{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, torch.Tensor)
    }


def load_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, stored: Mapping[str, Tensor]
) -> None:
    """Put back what `state_by_name` gave.

    Args:
        path: of the file, for messages.
        model: whose parameters the optimizer holds.
        optimizer: gets the state; unchanged if it is refused.
        stored: by `KEY.PARAMETER`.

    Raises:
        InputError: a tensor belongs to no parameter or has another shape, or one is missing.
    """
    import torch

    parameters = dict(model.named_parameters())
    places = {name: place for place, name in enumerate(parameters)}
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in stored.items():
        key, _, parameter = name.partition(".")
        if parameter not in parameters or value.shape not in ((), parameters[parameter].shape):
            raise InputError(
                f"{path} holds the optimizer's {name} of shape {tuple(value.shape)}, which fits no "
                "parameter of the model. Give the recipe that it was trained with."
            )
        state.setdefault(places[parameter], {})[key] = value
    keys = {key for own in state.values() for key in own}
    missing = [
        f"{key}.{name}"
        for name, place in places.items()
        for key in sorted(keys - state.get(place, dict.fromkeys(keys, None)).keys())
    ]
    if missing:
        raise InputError(f"{path} lacks the optimizer's {missing[0]}: the checkpoint is damaged.")
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for name, tensor in parameters.items():
        own = optimizer.state.get(tensor, {})
        for key, value in own.items():
            if value.shape == tensor.shape and key not in _COUNTERS:
                # In the memory format of the parameter, as the optimizer made it.
                own[key] = torch.empty_like(tensor.detach()).copy_(value)
            else:  # a counter, which torch would cast to the parameter's dtype
                own[key] = stored[f"{key}.{name}"].clone()
