"""Norms, means and standard deviations of weights, gradients and updates of a recorded step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from resprobe.blocks.block import Blocks

_OF_PARAMETERS = ("parameter", "parameter_gradient", "parameter_update")


class ParameterStatistics:
    """What a row holds of every parameter, and of those of each block together.

    Args:
        parameters: all that is trained, by name, on one device.
        blocks: that own some of them.
        names: quantities that are wanted.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], blocks: Blocks, names: frozenset[str]
    ) -> None:
        self._names = names
        self._tensors = list(parameters.values())
        self._stacks = _Stacks(self._tensors)
        device = self._tensors[0].device
        self._numel = torch.tensor(
            [p.numel() for p in self._tensors], dtype=torch.float64, device=device
        )
        order = {name: place for place, name in enumerate(parameters)}
        membership = torch.zeros(len(blocks), len(parameters), dtype=torch.float64)
        for block in blocks:
            for name in block.parameters:
                if name in order:
                    membership[block.index, order[name]] = 1.0
        self._membership = membership.to(device)
        self._wants_updates = any("update" in name for name in names)
        self._previous: list[Tensor] = []

    @property
    def lacks_gradients(self) -> bool:
        """Whether gradients are wanted, and no parameter has one."""
        wanted = {"gradient_norm", *(f"parameter_gradient_{x}" for x in ("norm", "mean", "std"))}
        return bool(wanted & self._names) and all(p.grad is None for p in self._tensors)

    def keep(self) -> None:
        """Keep the weights that a step starts from, for its update."""
        if self._wants_updates:
            with torch.no_grad():
                self._previous = self._stacks.of(self._tensors)

    def row(self) -> dict[str, Tensor]:
        """Give norm, mean and standard deviation of weights, gradients and updates.

        Returns:
            By name, float64 `(parameter,)`, and `(block,)` for those of blocks; updates are NaN
            in a step whose weights were not kept.
        """
        values: dict[str, Tensor] = {}
        now: list[Tensor] | None = None
        for kind, block_name in zip(
            _OF_PARAMETERS, ("weight_norm", "gradient_norm", "update_norm"), strict=True
        ):
            statistics = {f"{kind}_norm", f"{kind}_mean", f"{kind}_std", block_name}
            if not statistics & self._names:
                continue
            present = torch.ones_like(self._numel)
            if kind == "parameter_gradient":
                norm, total, present = self._of_gradients()
            else:
                now = now or self._stacks.of(self._tensors)
                update = kind == "parameter_update"
                norm, total = self._stacks.norms(self._updates(now) if update else now)
            mean = total / self._numel
            squares = norm.square()
            values[f"{kind}_norm"] = norm
            values[f"{kind}_mean"] = mean
            values[f"{kind}_std"] = (squares / self._numel - mean.square()).clamp_(min=0).sqrt_()
            values[block_name] = self._by_owner(squares, present)
        return values

    def _updates(self, now: list[Tensor]) -> Sequence[Tensor]:
        before, self._previous = self._previous, []
        if not before:
            return [torch.full_like(stack, float("nan")) for stack in now]
        return torch._foreach_sub(now, before)

    def _by_owner(self, squares: Tensor, present: Tensor) -> Tensor:
        """Give the norm of each block's parameters that are present, NaN without any.

        A product with zero would spread one parameter's NaN to every block.
        """
        counted = squares.where(present > 0, 0.0)
        broken = (~counted.isfinite()).double()
        total = self._membership @ counted.where(broken == 0, 0.0)
        there = (self._membership @ present > 0) & (self._membership @ broken == 0)
        return total.sqrt_().where(there, float("nan"))

    def _of_gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give norm and sum of each gradient, NaN for a parameter that has none in this step.

        The third tensor is 1 for a parameter that has one, else 0.
        """
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._tensors]
        norm, total = self._stacks.norms(self._stacks.of(gradients))
        present = torch.ones_like(norm)
        for place, parameter in enumerate(self._tensors):
            if parameter.grad is None:
                norm[place] = total[place] = float("nan")
                present[place] = 0.0
        return norm, total, present


class _Stacks:
    """Norms and sums of many tensors in few operations.

    Small tensors of one shape are stacked and reduced together, because calling an operation
    costs more than reducing them; large ones are reduced by themselves.
    """

    SMALL = 1 << 16

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, tensor in enumerate(tensors):
            small = tensor.numel() <= self.SMALL
            key = (tensor.shape, tensor.dtype) if small else (place,)
            groups.setdefault(key, []).append(place)
        self._groups = list(groups.values())
        order = [place for group in self._groups for place in group]
        back = torch.empty(len(order), dtype=torch.int64)
        back[torch.tensor(order)] = torch.arange(len(order))
        self._back = back.to(tensors[0].device)

    def of(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Copy the tensors, one for each parameter, into stacks `(tensor, element)`."""
        return [
            torch.stack([tensors[place].detach() for place in group]).reshape(len(group), -1)
            for group in self._groups
        ]

    def norms(self, stacks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Give L2 norm and sum of each tensor, `(parameter,)` float64, in the given order."""
        norms = torch.cat(
            [torch.linalg.vector_norm(stack, dim=1, dtype=torch.float64) for stack in stacks]
        )
        sums = torch.cat([stack.sum(dim=1, dtype=torch.float64) for stack in stacks])
        return norms[self._back], sums[self._back]
