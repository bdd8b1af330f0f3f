"""What the analysis reads: families, their variables and dimensions."""

from __future__ import annotations

from resprobe_analyses.cushions.networks import FAMILY as LAYER_CUSHION
from resprobe_analyses.cushions.networks import INTERLAYER
from resprobe_analyses.cushions.networks import NEEDED as CUSHIONS_NEEDED

NAME = "noise-stability"
WEIGHT_NOISE, INPUT_NOISE = "weight-noise", "input-noise"
CONTRACTION, SMOOTHNESS, NORMS = "activation-contraction", "interlayer-smoothness", "norms"

WEIGHT = ("sample", "layer", "norm", "level", "trial")
INPUT = ("sample", "level", "trial")

NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    LAYER_CUSHION: CUSHIONS_NEEDED,
    WEIGHT_NOISE: {
        "weight_noise_output_change": WEIGHT,
        "weight_noise_correct": WEIGHT,
        "correct": ("sample",),
        "output_norm": ("sample",),
        "layer_weight_norm": ("layer",),
        "layer_weight_norm_id_removed": ("layer",),
    },
}
# What the families that are read where they are must hold.
BESIDE: dict[str, dict[str, tuple[str, ...]]] = {
    INPUT_NOISE: {
        "input_noise_output_change": INPUT,
        "input_noise_correct": INPUT,
        "correct": ("sample",),
    },
    CONTRACTION: {"activation_contraction": ("sample", "layer")},
    SMOOTHNESS: {"interlayer_smoothness": ("sample", "block", "length", "trial")},
    NORMS: {"margin": ("sample",)},
}
# The quantity that makes `resprobe collect` measure a family, and what the family is for.
ADDS = {
    INPUT_NOISE: ("input_noise_output_change", "the response to noise of the input"),
    INTERLAYER: ("interlayer_cushion", "interlayer cushions, and with them the bound"),
    CONTRACTION: ("activation_contraction", "activation contraction, and with it the bound"),
    SMOOTHNESS: ("interlayer_smoothness", "whether the condition of the bound holds"),
    NORMS: ("branch_norm", "margins, and with them the bound"),
}
