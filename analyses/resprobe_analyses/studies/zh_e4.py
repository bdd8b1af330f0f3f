"""ZH-E4: the residual network as Euler's method, block by block and unrolled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from resprobe_analyses.studies.evidence import Check, Evidence
from resprobe_analyses.studies.exact import ROUNDOFF, exact_scales, within
from resprobe_analyses.studies.exact_networks import (
    Kind,
    kind_with_activation,
    kinds_without_activation,
    random_batch,
    random_network,
)
from resprobe_analyses.studies.study import Study

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass

STEP_SIZES = (1.0, 0.5, 0.1, 3.0)
SAMPLES = 4


class Distances(NamedTuple):
    """How far a network is from Eqs. 1 to 4, in largest entries relative to those of the terms.

    Attributes:
        step: of y_n - (x_n + h·F(x_n)), the largest over the blocks.
        steps: how many blocks.
        unrolled: of x_N - (x_n + h·ΣF(x_i)), the largest over the runs of blocks of one shape
            without activation behind the sum.
        terms: blocks in the longest such run.
    """

    step: float
    steps: int
    unrolled: float
    terms: int


def distances(kind: Kind, h: float) -> Distances:
    """Compare a network with step size h with F from the one of the same weights and h = 1.

    F is evaluated as a function, cut out of a recorded pass of the network with h = 1, at the
    features x_n of the network with step size h.
    """
    import torch

    from resprobe.blocks.intervene import Runner

    batch = random_batch(kind, SAMPLES, seed=1)
    step, unrolled, terms, steps = 0.0, 0.0, 0, 0
    with torch.no_grad():
        one = Runner(random_network(kind, 1.0, seed=0), batch).run(
            batch, functions=True, replays=False
        )
        passed = Runner(random_network(kind, h, seed=0), batch).run(batch, states=True)
        for run in _runs(passed.blocks):
            changes = torch.stack([_branch(one, passed, block) for block in run])
            for place, block in enumerate(run):
                step = max(step, _apart(passed, block, block, h, changes[place : place + 1]))
            steps += len(run)
            if run[0].activation == "pre":
                unrolled = max(unrolled, _apart(passed, run[0], run[-1], h, changes))
                terms = max(terms, len(run))
    return Distances(step, steps, unrolled, terms)


def _branch(one: Pass, passed: Pass, block: Block) -> Tensor:
    return one.path(block, part="branch")(passed.input(block))


def _apart(passed: Pass, first: Block, last: Block, h: float, changes: Tensor) -> float:
    """Give the largest entry of the sum at `last` less x_n + h·ΣF, relative to |x_n| + h·Σ|F|."""
    x = passed.input(first)
    scale = (x.abs() + abs(h) * changes.abs().sum(0)).max()
    return float((passed.total(last) - (x + h * changes.sum(0))).abs().max() / scale)


def _runs(blocks: Blocks) -> list[list[Block]]:
    """Give the runs of neighbouring blocks that keep the shape, each as long as it goes."""
    runs: list[list[Block]] = []
    going_on = False
    for block in blocks:
        if not block.transition:
            if going_on and block.follows:
                runs[-1].append(block)
            else:
                runs.append([block])
        going_on = not block.transition
    return runs


def measure(kinds: Sequence[Kind] | None = None) -> Evidence:
    """Compare several random networks with Eqs. 1, 3 and 4 at several step sizes.

    Args:
        kinds: of the networks; None for the bundled ones.
    """
    checks: list[Check] = []
    if kinds is None:
        kinds = (*kinds_without_activation(), kind_with_activation())
    for kind in kinds:
        for h in STEP_SIZES:
            checks += _checks(f"{kind.name}, h = {h:g}", distances(kind, h))
    return Evidence(
        checks=tuple(checks),
        notes=(
            "A step rounds its product and its sum on either side, so 4 units of roundoff bound "
            "it; a sum of D branches rounds D products and D sums, so 2·(D + 1) of either side's "
            "bound it.",
            "Eq. 4 assumes that I is the identity: it is checked on networks without activation "
            "behind the sum, within each stage, because blocks that change the shape add a padded "
            "or projected x_n instead of x_n. Of these blocks neither equation is checked.",
        ),
    )


def _checks(name: str, found: Distances) -> list[Check]:
    # where no block is found there is no distance, and nothing holds
    checks = [
        within(
            f"{name}: y_n against x_n + h·F(x_n), relative",
            found.step if found.steps else float("nan"),
            4 * ROUNDOFF,
            expected=f"equal at each of {found.steps} blocks",
        )
    ]
    if found.terms:
        checks.append(
            within(
                f"{name}: x_N against x_n + h·ΣF(x_i), relative",
                found.unrolled,
                2 * 2 * (found.terms + 1) * ROUNDOFF,
                expected=f"equal over runs of up to {found.terms} blocks",
            )
        )
    return checks


STUDY = Study(
    id="ZH-E4",
    version=1,
    claim="A residual network with step size h takes steps x_n + h·F(x_n), the original network "
    "is the one with h = 1, and unrolled over blocks its features are x_n + h·ΣF(x_i).",
    source="Zhang et al. (2019), Towards robust ResNet, Eqs. 1, 3 and 4",
    printed={"Eq. 3": "y_n = x_n + h·F(x_n)", "Eq. 4": "x_N = x_n + h·ΣF(x_i)"},
    contradicted_by="A block or a run of blocks of one shape whose output differs from the "
    "formula by more than rounding, such as one whose step size also multiplies the skip.",
    measure=measure,
    primary=None,
    scales=exact_scales("6 kinds of random networks in float64 at 4 step sizes", 0.2),
)
