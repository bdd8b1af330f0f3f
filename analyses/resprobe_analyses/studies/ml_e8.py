"""ML-E8: what removing one block changes of the features right behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from resprobe_analyses.studies.evidence import Check, Evidence
from resprobe_analyses.studies.exact import ROUNDOFF, exact_scales, within
from resprobe_analyses.studies.exact_networks import (
    Kind,
    kinds_without_activation,
    random_batch,
    random_network,
)
from resprobe_analyses.studies.study import Study

if TYPE_CHECKING:
    from torch import Tensor, nn

    from resprobe.blocks.block import Block

STEP_SIZES = (1.0, 0.1)
SAMPLES = 4
# The sign of G in Y(t2') - Y(t2) = ±G that follows from Eqs. 6 and 7; Eq. 8 prints +1.
SIGN = -1
# Three roundings, each of a number below ‖Y(t2')‖ + ‖G‖ in every entry: the network's addition,
# the difference of the two features, its sum with G. One more for the terms of second order.
BOUND = 4 * ROUNDOFF


class Removal(NamedTuple):
    """One block removed from a network, in largest entries relative to max|Y(t2')| + max|G|.

    Attributes:
        corrected: of Y(t2') - Y(t2) - SIGN·G.
        printed: of Y(t2') - Y(t2) - G.
        logits: ‖change of the logits‖ over ‖logits‖.
        lesioned: whether a lesion by replay gives the logits of the network without the block, to
            the bit.
    """

    corrected: float
    printed: float
    logits: float
    lesioned: bool


def remove_each(network: nn.Module, batch: Tensor, sign: int = SIGN) -> list[Removal]:
    """Remove every block of a network in turn: its branch's parameters are set to zero.

    Args:
        network: in evaluation mode, in float64, without activation behind the sums, and with
            branches that are zero where their parameters are.
        batch: `(sample, …)`.
        sign: of G in what is called corrected.
    """
    import torch

    from resprobe.blocks.intervene import Runner

    runner = Runner(network, batch)
    removals = []
    with torch.no_grad():
        whole = runner.run(batch, branches=True, states=True)
        for block in runner.blocks:
            after, change = whole.block_output(block), whole.tensors(block)[2]
            with without_branch(network, block):
                removed = runner.run(batch, states=True, replays=False)
            squeezed = removed.block_output(block)
            difference, scale = squeezed - after, float(squeezed.abs().max() + change.abs().max())
            removals.append(
                Removal(
                    float((difference - sign * change).abs().max()) / scale,
                    float((difference - change).abs().max()) / scale,
                    float((removed.output - whole.output).norm() / whole.output.norm()),
                    torch.equal(whole.lesion(block), removed.output),
                )
            )
    return removals


@contextmanager
def without_branch(network: nn.Module, block: Block) -> Iterator[None]:
    """Set the parameters of a block's branch to zero, and back afterwards."""
    parameters = [network.get_parameter(name) for name in block.parameters]
    saved = [parameter.detach().clone() for parameter in parameters]
    for parameter in parameters:
        parameter.zero_()
    try:
        yield
    finally:
        for parameter, value in zip(parameters, saved, strict=True):
            parameter.copy_(value)


def measure(kinds: Sequence[Kind] | None = None, sign: int = SIGN) -> Evidence:
    """Remove every block of several random networks.

    Args:
        kinds: of the networks; None for the bundled ones.
        sign: of G in the difference; 1 as Eq. 8 prints it.
    """
    checks: list[Check] = []
    removals: list[Removal] = []
    for kind in kinds_without_activation() if kinds is None else kinds:
        for h in STEP_SIZES:
            network, batch = random_network(kind, h, seed=0), random_batch(kind, SAMPLES, seed=1)
            found = remove_each(network, batch, sign)
            removals += found
            checks += _checks(f"{kind.name}, h = {h:g}", found, sign)
    return Evidence(checks=tuple(checks), notes=_notes(removals))


def _checks(name: str, removals: Sequence[Removal], sign: int) -> list[Check]:
    equal = sum(removal.lesioned for removal in removals)
    return [
        within(
            f"{name}: Y(t2') - Y(t2) against {'-' if sign < 0 else '+'}G, relative",
            max((removal.corrected for removal in removals), default=float("nan")),
            BOUND,
            expected=f"equal, at each of {len(removals)} blocks",
        ),
        Check(
            f"{name}: lesion by replay",
            f"equal to the bit at {equal} of {len(removals)} blocks",
            "the logits of the network without the block",
            equal == len(removals) > 0,
        ),
    ]


def _notes(removals: Sequence[Removal]) -> tuple[str, ...]:
    effects = [removal.logits for removal in removals]
    printed = [removal.printed for removal in removals]
    return (
        "The bound is 4 units of roundoff: three additions round, each by at most one of the "
        "largest features, and the rest is for terms of second order.",
        f"With the sign that Eq. 8 prints, the two sides differ by {min(printed):.2g} to "
        f"{max(printed):.2g} of the largest features, twice the branch.",
        f"Behind the block the change goes on: the logits differ by {min(effects):.2g} to "
        f"{max(effects):.2g} of their norm over {len(removals)} removals. The weights are random, "
        "so these sizes say nothing of trained networks.",
    )


STUDY = Study(
    id="ML-E8",
    version=1,
    claim="Removing one block changes the features right behind it by the output G of its "
    "branch, no more and no less: Y(t2') - Y(t2) = -G.",
    source="Chang et al. (2018), Multi-level residual networks from dynamical systems view, "
    "Sec. 3.3, Eqs. 6 to 8",
    printed={"Eq. 8": "Y(t2') - Y(t2) = h·F(Y(t1))"},
    contradicted_by="A block whose removal changes the features behind it by anything else than "
    "-G, beyond rounding.",
    measure=measure,
    primary=None,
    scales=exact_scales("10 random networks in float64, every block of each removed", 0.2),
    errata=("Eq. 8 lacks a minus sign: Eq. 7 less Eq. 6 is -h·F(Y(t1)).",),
)
