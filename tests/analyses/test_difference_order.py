"""The first group of a difference is the one that was given first, in every analysis."""

from __future__ import annotations

import itertools

import pytest
from cushioned import build_cushions
from depth_networks import build_network
from equivalent_networks import build_single
from lesioned import build_input
from noisy import build_noisy
from resprobe_analyses.attribution import differences as attribution
from resprobe_analyses.attribution import rankings
from resprobe_analyses.attribution.effects import effects as attribution_effects
from resprobe_analyses.attribution.networks import read_groups as attribution_groups
from resprobe_analyses.cushions import effects as cushions
from resprobe_analyses.cushions.networks import read_groups as cushion_groups
from resprobe_analyses.equivalence import effects as equivalence
from resprobe_analyses.equivalence.networks import read_groups as equivalence_groups
from resprobe_analyses.lesion.contrasts import differences as lesion_differences
from resprobe_analyses.lesion.effects import effects as lesion_effects
from resprobe_analyses.lesion.networks import read_groups as lesion_groups
from resprobe_analyses.noise_stability import effects as noise_stability
from resprobe_analyses.norm_vs_depth import differences as norm_vs_depth
from resprobe_analyses.norm_vs_depth.networks import read_networks
from resprobe_analyses.spans import differences as spans
from resprobe_analyses.spans.effects import effect as span_effect
from resprobe_analyses.spans.networks import read_groups as span_groups
from resprobe_analyses.stability import differences as stability
from resprobe_analyses.stability.networks import read_groups as stability_groups
from spanned_lesions import build_spans
from stability_data import build as build_jacobians

# neither the names nor the step sizes nor the last steps are in order
SIZES = {"h01": 0.1, "h1": 1.0, "h05": 0.5}
STEPS = {"h01": 42, "h1": 200, "h05": 100}


def lesioned(name):
    return build_input(name, group=name, stages=(2, 2), images=60)


CASES = {
    "norm-vs-depth": (
        lambda name: build_network(4, label=name, h=SIZES[name]),
        lambda inputs: norm_vs_depth.differences(read_networks(inputs)),
    ),
    "lesion": (
        lesioned,
        lambda inputs: lesion_differences(lesion_effects(lesion_groups(inputs))),
    ),
    "attribution": (
        lesioned,
        lambda inputs: attribution.differences(attribution_effects(attribution_groups(inputs))),
    ),
    "stability": (
        lambda name: build_jacobians(name, group=name, stages=(1, 1), images=3, size=3).input,
        lambda inputs: stability.differences(stability_groups(inputs)),
    ),
    "equivalence": (
        lambda name: build_single(
            name, weights=(STEPS[name],), epochs=0, learning_rate=SIZES[name]
        ),
        lambda inputs: equivalence.effect(equivalence_groups(inputs)).differences,
    ),
    "spans": (
        lambda name: build_spans(name, group=name, stages=(3,), images=40),
        lambda inputs: spans.differences([span_effect(one) for one in span_groups(inputs)]),
    ),
    "cushions": (
        lambda name: build_cushions(name, group=name),
        lambda inputs: cushions.effect(cushion_groups(inputs)).differences,
    ),
    "noise-stability": (
        lambda name: build_noisy(name, group=name, families=("norms",)),
        lambda inputs: noise_stability.effect(inputs).differences,
    ),
}
TWO_GROUPS = ("spans", "cushions", "noise-stability")  # at most


@pytest.mark.parametrize("analysis", CASES)
def test_every_two_groups_are_compared_in_the_order_in_which_they_are_given(analysis, monkeypatch):
    monkeypatch.setattr(rankings, "DRAWS", 20)
    monkeypatch.setattr(rankings, "HALVES", 4)
    build, differences = CASES[analysis]
    names = list(SIZES)[: 2 if analysis in TWO_GROUPS else 3]
    made = {name: build(name) for name in names}
    for order in (names, names[::-1]):
        found = differences([made[name] for name in order])
        labels = {one.label for one in found}
        assert labels == {f"{a} − {b}" for a, b in itertools.combinations(order, 2)}
