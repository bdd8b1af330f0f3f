"""What each predictor costs beside the lesions, in forward passes of the network for one image."""

from __future__ import annotations

from resprobe_analyses.attribution.networks import Network


def predictor_passes(network: Network) -> dict[str, float]:
    """Give the passes of each predictor by name, a backward pass counted as two.

    One pass serves all blocks, and all predictors of `norms`, `influence` and `angular-distance`
    at once. The weights take none.
    """
    return {one.predictor.name: one.passes for one in network.predictors}


def lesion_passes(network: Network) -> float:
    """Give the passes of the lesions of all single blocks, where blocks cost alike.

    The network runs once, and after each lesion what follows that block runs again: of B blocks
    (B − 1)/2 passes more.
    """
    return 1 + (network.layout.stage.size - 1) / 2
