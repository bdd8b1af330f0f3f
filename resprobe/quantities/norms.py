"""Norms of a block's input, shortcut and branch for each sample, their ratio and cosine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resprobe.quantities.family import Tally, parameter_squares, sample_group
from resprobe.quantities.quantity import Quantity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.store.schema import Group

_MEASURED_BY = "resprobe.quantities.norms:Norms"


def _of_samples(name: str, formula: str, meaning: str, source: str) -> Quantity:
    return Quantity(
        name=name,
        family="norms",
        dims=("sample", "block"),
        units="1",
        dtype="float32",
        formula=formula,
        source=source,
        meaning=meaning,
        cost="hook",
        while_training=True,
        measured_by=_MEASURED_BY,
    )


INPUT_NORM = _of_samples(
    "input_norm", "‖x‖", "L2 norm of the block's input, per sample.", "definition"
)
SHORTCUT_NORM = _of_samples(
    "shortcut_norm",
    "‖s‖, s = skip(x)",
    "L2 norm of what the skip carries past the branch, per sample.",
    "definition",
)
BRANCH_NORM = _of_samples(
    "branch_norm",
    "‖G‖, G = h·F(x)",
    "L2 norm of what the branch adds to the skip, per sample.",
    "Chang et al. 2018 (Multi-level residual networks), Sec. 3.2, Eq. 5",
)
BRANCH_SHORTCUT_RATIO = _of_samples(
    "branch_shortcut_ratio",
    "‖G‖/‖s‖",
    "How much a block changes what its skip carries, per sample.",
    "Chang et al. 2018 (Multi-level residual networks), Sec. 3.3, Fig. 4",
)
BRANCH_SHORTCUT_COSINE = _of_samples(
    "branch_shortcut_cosine",
    "⟨G, s⟩/(‖G‖·‖s‖)",
    "Whether a block strengthens (1), turns (0) or takes back (-1) its skip, per sample.",
    "definition",
)
WEIGHT_NORM = Quantity(
    name="weight_norm",
    family="norms",
    dims=("block",),
    units="1",
    dtype="float64",
    formula="√Σ‖w‖² over the parameters of the branch",
    source="definition",
    meaning="Root of the sum of squares of the branch's parameters.",
    cost="hook",
    measured_by=_MEASURED_BY,
)


def block_norms(x: Tensor, s: Tensor, branch: Tensor) -> dict[str, Tensor]:
    """Give the norms of one block for each sample.

    Args:
        x: `(sample, …)`, the block's input.
        s: `(sample, …)`, its shortcut; the same tensor as `x` for an identity skip.
        branch: like `s`, G.

    Returns:
        Quantity name to `(sample,)` float64. Ratio and cosine are NaN where ‖s‖ (and for the
        cosine ‖G‖) is zero.
    """
    from resprobe.linalg.norms import inner, squared_norm

    s_squared, g_squared = squared_norm(s), squared_norm(branch)
    x_squared = s_squared if x is s else squared_norm(x)
    return from_sums(x_squared, s_squared, g_squared, inner(s, branch))


def from_sums(
    x_squared: Tensor, s_squared: Tensor, g_squared: Tensor, dot: Tensor
) -> dict[str, Tensor]:
    """Give the norms, ratio and cosine from ‖x‖², ‖s‖², ‖G‖² and ⟨G, s⟩.

    Args:
        x_squared: ‖x‖², float64 of any shape, such as `(block, sample)`.
        s_squared: ‖s‖², likewise.
        g_squared: ‖G‖², likewise.
        dot: ⟨G, s⟩, likewise.

    Returns:
        Quantity name to float64 of that shape.
    """
    s_norm, g_norm = s_squared.sqrt(), g_squared.sqrt()
    return {
        "input_norm": x_squared.sqrt(),
        "shortcut_norm": s_norm,
        "branch_norm": g_norm,
        "branch_shortcut_ratio": (g_norm / s_norm).where(s_norm > 0, float("nan")),
        "branch_shortcut_cosine": dot / (g_norm * s_norm),
    }


class Norms:
    """Measures the family `norms`: block norms, loss, margin and errors of the whole network."""

    sees_blocks = True
    sees_outputs = False
    needs_replays = False
    needs_states = False
    needs_functions = False
    reestimates = False
    counted = ("correct",)

    def __init__(self, model: nn.Module, blocks: Blocks, classes: Sequence[str]) -> None:
        self._model, self._blocks, self._classes = model, blocks, classes
        self._tally = Tally(classes)
        self._seen: list[dict[str, Tensor]] = []

    def group(self) -> Group:
        """Give the layout of `/norms`."""
        return sample_group("/norms", self._blocks, self._classes)

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take the norms of a block."""
        self._seen.append(block_norms(x, s, branch))

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give norms `(sample, block)` and loss, margin, correctness `(sample,)` of a batch."""
        import torch

        from resprobe.quantities.outputs import classification

        norms = {
            name: torch.stack([one[name] for one in self._seen], dim=1) for name in self._seen[0]
        }
        self._seen = []
        return {**norms, **classification(whole.output, labels)}

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take a batch into the errors."""
        self._tally.add(rows)

    def totals(self) -> dict[str, float | NDArray[np.float64]]:
        """Give test error, error by class and weight norm by block."""
        import numpy as np

        squares = parameter_squares(self._model)
        weight_norm = [
            np.sqrt(sum(squares[name] for name in block.parameters)) for block in self._blocks
        ]
        return {
            "test_error": self._tally.error(),
            "class_error": self._tally.class_error(),
            "weight_norm": np.asarray(weight_norm),
        }
