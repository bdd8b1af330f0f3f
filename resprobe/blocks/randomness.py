"""The states of torch's random generators that a model may draw from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def random_states(model: nn.Module) -> list[Tensor]:
    """Give the states of torch's random generators that a model may draw from."""
    return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, _accelerators(model))]


def _accelerators(model: nn.Module) -> list[torch.device]:
    if not torch.cuda.is_available():
        return []
    return sorted({p.device for p in model.parameters() if p.is_cuda}, key=str)


def set_random_states(model: nn.Module, states: Sequence[Tensor]) -> None:
    """Put back what `random_states` gave; nothing if there are none."""
    if not states:
        return
    torch.set_rng_state(states[0])
    for device, state in zip(_accelerators(model), states[1:], strict=True):
        torch.cuda.set_rng_state(state, device)
