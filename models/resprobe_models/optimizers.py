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
    """

    name: str
    defaults: Mapping[str, Any]


_ADAM = {"betas": (0.9, 0.999), "eps": 1e-8}
# Those of torch whose step needs no closure and takes parameters of any shape.
RULES: Mapping[str, Rule] = {
    "sgd": Rule("SGD", {"momentum": 0.9, "nesterov": False}),
    "adam": Rule("Adam", _ADAM),
    "adamw": Rule("AdamW", _ADAM),
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
    """
    import torch

    rule = RULES[table.optimizer]
    made: torch.optim.Optimizer = getattr(torch.optim, rule.name)(
        model.parameters(),
        lr=rate,
        weight_decay=table.weight_decay,
        **{key: getattr(table, key) for key in rule.defaults},
    )
    return made


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
