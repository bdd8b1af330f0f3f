"""How much each branch contributes to the logit of the true class.

Three methods, for each sample and block:

- `layer_conductance`: how much of the change of the logit along the straight path from a zero input
  to the sample flows through the branch. Zero is meant in the numbers that the network is given,
  after normalisation: an image of the mean colour.
- `integrated_gradients`: of all branches together, moved from zero to what they are at the sample,
  while the stem stays. The derivative with respect to a branch is taken with all other branches
  given, so it is what the branch does directly, through the skips that follow. The sum over blocks
  is f(x) - f(all branches dropped). (To move one branch alone would tell nothing new: by
  completeness it is what the logit loses where that branch is dropped, which the lesion measures.)
- `gradient_x_activation`: the branch times the gradient there, through everything that follows.

Of a network without biases whose layers are linear, the first and the third agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resprobe.quantities.family import sample_group
from resprobe.quantities.quantity import Quantity
from resprobe.store.schema import Coordinate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.store.schema import Group

METHODS = ("layer_conductance", "integrated_gradients", "gradient_x_activation")
# Of single images and blocks, beside the root mean square of the conductances, 20, 40 and 80 steps
# missed those of 800 by 3.2, 1.6 and 0.7 % on a ResNet-20 trained on CIFAR-10 and by 7.6, 2.9 and
# 1.2 % on a ResNet-44: its path bends at more ReLUs.
CONDUCTANCE_STEPS = 40
# Of the Gauss-Legendre rule; the two were missed by 0.05 and 0.03 %.
GRADIENT_STEPS = 16

_SOURCE = (
    "Dhamdhere, Sundararajan & Yan 2018 (How important is a neuron?); Sundararajan, Taly & "
    "Yan 2017 (Axiomatic attribution for deep networks), Eq. 1; Shrikumar et al. 2016 (Not just a "
    "black box), gradient x input"
)


def _quantity(
    name: str, dims: tuple[str, ...], formula: str, meaning: str, *, estimate: bool = False
) -> Quantity:
    return Quantity(
        name=name,
        family="attribution",
        dims=dims,
        units="1",
        dtype="float32",
        formula=formula,
        source=_SOURCE,
        meaning=meaning,
        cost="jvp",
        estimate=estimate,
        measured_by="resprobe.quantities.attribution:BlockAttribution",
        standard=False,
    )


BLOCK_ATTRIBUTION = _quantity(
    "block_attribution",
    ("sample", "block", "method"),
    "Σ over the elements of G of: ∫ ∂f/∂G·dG/dα dα along α·x (layer_conductance); "
    "G·∫ ∂f/∂G(α·all branches) dα (integrated_gradients); G·∂f/∂G (gradient_x_activation); "
    "f the logit of the true class",
    "What each branch contributes to the logit of the true class, by three methods; the error of "
    "this estimate is attribution_delta.",
    estimate=True,
)
ATTRIBUTION_DELTA = _quantity(
    "attribution_delta",
    ("sample", "method"),
    "layer_conductance: the same rule at the input, Σ over its elements, minus f(x) - f(0); "
    "integrated_gradients: Σ over blocks minus f(x) - f(all branches dropped); "
    "gradient_x_activation: NaN, it is an integral of nothing",
    "By how much a method misses its completeness, which the number of steps decides, in the units "
    "of the logit: the error that travels with the estimate block_attribution.",
)
TARGET_LOGIT = _quantity(
    "target_logit",
    ("sample",),
    "f(x)[y]",
    "The logit of the true class.",
)


class BlockAttribution:
    """Measures the family `attribution`; see `OfGradients` and `Costly`."""

    sees_blocks = False
    sees_outputs = False
    needs_replays = False
    needs_states = False
    needs_functions = False
    reestimates = False
    differentiates = True
    counted: tuple[str, ...] = ()
    samples_at_once = 16

    def __init__(self, model: nn.Module, blocks: Blocks, classes: Sequence[str]) -> None:
        del model
        self._blocks, self._classes, self._ids = blocks, classes, False

    @staticmethod
    def own_settings() -> dict[str, Any]:
        """Give the steps of the integrals; see `WithSettings`."""
        return {"conductance_steps": CONDUCTANCE_STEPS, "gradient_steps": GRADIENT_STEPS}

    def take_input(self, *, ids: bool) -> None:
        """Take whether the network is given whole numbers, between which there is no path."""
        self._ids = ids

    def group(self) -> Group:
        """Give the layout of `/attribution`."""
        group = sample_group("/attribution", self._blocks, self._classes)
        about = self._about()
        variables = tuple(
            replace(one, attributes={**one.attributes, **about})
            if one.name in (BLOCK_ATTRIBUTION.name, ATTRIBUTION_DELTA.name)
            else one
            for one in group.variables
        )
        method = Coordinate("method", ("method",), list(METHODS), {"long_name": "of attribution"})
        return replace(group, variables=variables, coordinates=(*group.coordinates, method))

    def _about(self) -> dict[str, Any]:
        """Give what is said of both variables that have methods."""
        if self._ids:
            return {
                "integrated_gradients_steps": GRADIENT_STEPS,
                "not_measured": "layer_conductance: the network is given whole numbers, such as "
                "token ids, between which there is no straight path",
            }
        return {
            "integrated_gradients_steps": GRADIENT_STEPS,
            "conductance_steps": CONDUCTANCE_STEPS,
            "conductance_baseline": "zero, in the numbers that the network is given (after "
            "normalisation)",
        }

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: the branches are computed again, with gradients."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def try_on(self, whole: Pass) -> float:
        """Run the example once more, with taps.

        Raises:
            InputError: the network is a plain one, or the logits are no function of its input.
        """
        taps = whole.taps()
        taps(taps.x)
        return 0.0

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give attributions `(sample, block, method)`, deltas and logits of a batch, float32."""
        import torch

        from resprobe.quantities import attribution_methods as methods

        taps = whole.taps()
        found = [
            methods.integrated_gradients(taps, labels, steps=GRADIENT_STEPS),
            methods.gradient_x_activation(taps, labels),
        ]
        if self._ids:
            blank = torch.full_like(found[0].blocks, torch.nan)
            found.insert(0, methods.Attribution(blank, blank[:, 0]))
        else:
            found.insert(0, methods.layer_conductance(taps, labels, steps=CONDUCTANCE_STEPS))
        return {
            BLOCK_ATTRIBUTION.name: torch.stack([one.blocks for one in found], 2).float(),
            ATTRIBUTION_DELTA.name: torch.stack([one.delta for one in found], 1).float(),
            TARGET_LOGIT.name: whole.output.gather(1, labels[:, None])[:, 0].float(),
        }

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take nothing: no total is made of the rows."""

    def totals(self) -> dict[str, Any]:
        """Give nothing."""
        return {}
