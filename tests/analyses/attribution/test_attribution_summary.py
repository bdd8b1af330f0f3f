"""Sentences, verdict and dataset say the same, and no more than the numbers."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from attributed import METHODS, build, without_figures
from resprobe_analyses import wording
from resprobe_analyses.attribution import analyze, rankings
from resprobe_analyses.attribution.effects import effects
from resprobe_analyses.attribution.networks import read_groups
from resprobe_analyses.attribution.sentences import summary
from resprobe_analyses.attribution.sentences_costs import absent_line

STAGES = (7, 6)
BLOCKS = sum(STAGES)
HARM = np.concatenate([np.linspace(0.4, 0.02, 7), np.linspace(0.02, 0.35, 6)])
NOISE = np.random.default_rng(5).permutation(BLOCKS) / 10


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rankings, "DRAWS", 150)
        patch.setattr(rankings, "HALVES", 20)
        yield


def network(label="net", *, group="g", seed=0, harm=HARM, **given):
    return build(
        label,
        group=group,
        seed=seed,
        stages=STAGES,
        images=300,
        effects=dict(enumerate(harm)),
        ratio=harm + 0.01,
        weight_norm=1 - harm,
        influence=NOISE,
        **given,
    )


@pytest.fixture(scope="module")
def single():
    attributions = {"gradient_x_activation": HARM, "layer_conductance": -HARM}
    return without_figures([network(angles=HARM, attributions=attributions, noise=0.05)])


def test_the_summary_tells_which_predictor_to_trust(single):
    lines = single.summary.splitlines()
    data = single.dataset.sel(network="net", effect="error", ranked_within="stage")
    value = data["rank_correlation"].to_series()
    low, high = (
        data["rank_correlation_interval"].sel(bound=bound).to_series() for bound in ("low", "high")
    )
    best = str(value.idxmax())
    label = str(data["predictor_label"].sel(predictor=best).values)
    number = f"{wording.signed_number(value[best])} {wording.span(low[best], high[best])}"
    assert lines[0].startswith("net: rank correlation of predictors with the error increase")
    assert "over 12 blocks within 2 stages" in lines[0]
    assert f": {label} {number}, " in lines[0]
    assert "intervals, of the first 3, over 300 test images (" in lines[0]
    assert " measured on 50), this network; over blocks" in lines[0]
    blocks = data["rank_correlation_block_interval"].sel(predictor=best).values
    assert f"over blocks instead of images the first has {wording.span(*blocks)}" in lines[0]
    adjusted = data["random_p_holm"].to_series()
    better = {name for name in value.index if adjusted[name] < 0.05 and value[name] > 0}
    (rank,) = single.verdict["findings"]["networks"][0]["rankings"][:1]
    assert set(rank["better_than_random"]) == better
    assert {"branch_shortcut_ratio", "angular_distance"} <= better
    assert set(rank["against_the_lesion"]) >= {"weight_norm"}
    assert "better than a random ranking (permutation of blocks, Holm over" in lines[1]
    for name in better:
        assert str(data["predictor_label"].sel(predictor=name).values) in lines[1].split(";")[0]
    assert re.search(r"not told from a random ranking: .*block influence", lines[1])
    assert "the wrong way round, and not at random: " in lines[1]
    assert "the weight norm" in lines[1].split("the wrong way round")[1]
    assert lines[2].startswith(f"net: {label} ranks highest; worse than it ")
    assert "Holm over 28 pairs" in lines[2]
    assert single.verdict["outcome"] == "better than random"


def test_what_a_choice_costs_is_told_beside_chance_and_the_lesion(single):
    line = next(one for one in single.summary.splitlines() if "least harmful" in one)
    data = single.dataset.isel(group=0).sel(share=0.5)
    assert int(data["chosen_blocks"]) == 6
    assert line.startswith("net: of the 6 of 12 blocks that ")
    assert "(by chance 3)" in line
    best = single.verdict["findings"]["groups"][0]["rankings"][0]["best"][0]
    increase = data["chosen_increase"]
    for chooser in (best, "lesion on other images", "random"):
        told = wording.signed_number(float(increase.sel(chooser=chooser)), 3)
        assert told in line
    assert float(increase.sel(chooser=best)) < float(increase.sel(chooser="random"))
    hits = float(data["chosen_hits"].sel(chooser=best))
    assert f"{hits:.0f} are among the 6" in line


def test_reliability_and_costs_are_told(single):
    text = single.summary
    data = single.dataset.sel(network="net", effect="error", ranked_within="stage")
    told = wording.signed_number(float(data["lesion_reliability"]))
    assert f"would correlate by {told}" in text
    ceiling = wording.signed_number(float(data["lesion_reliability"]) ** 0.5)
    assert f"is expected at about {ceiling}" in text
    assert "layer conductance 123" in text
    assert "the lesions of all 13 single blocks about 7" in text
    assert len(text.splitlines()) <= 12


def test_the_dataset_can_be_written_and_the_verdict_is_json(single, tmp_path):
    path = tmp_path / "dataset.nc"
    single.dataset.to_netcdf(path, engine="h5netcdf")
    with xr.open_dataset(path, engine="h5netcdf") as read:
        assert read["rank_correlation"].dims == ("network", "effect", "ranked_within", "predictor")
        assert {"units", "long_name"} <= set(read["prediction"].attrs)
    assert json.loads(json.dumps(single.verdict)) == single.verdict


def test_what_is_absent_is_named_with_its_command():
    last = without_figures([network()]).summary.splitlines()[-1]
    assert last == (
        "Not measured: angular distance, attributions; `resprobe collect RUN "
        "--quantity +angular_distance --quantity +block_attribution` adds it."
    )


@pytest.mark.parametrize(
    ("dropped", "told"), [(False, "Not measured: "), (True, "Not told here: ")]
)
def test_what_several_blocks_cost_is_not_measured_unless_it_is(dropped, told):
    attributions = dict.fromkeys(METHODS, HARM)
    more = {"parameters": np.full(BLOCKS, 7)} if dropped else {}  # which is of `lesion-greedy`
    made = read_groups([network(angles=HARM, attributions=attributions, **more)])
    line = absent_line(effects(made), {})
    assert line.startswith(f"{told}what several blocks cost together")
    assert ("resprobe analyze lesion" in line, "+greedy_lesion" in line) == (dropped, not dropped)


def test_intervals_of_a_noisy_lesion_are_said_to_be_too_narrow():
    made = build(stages=(8,), images=200, every=0.1, ratio=np.arange(1, 9), weight_norm=range(8))
    (group,) = effects(read_groups([made]))
    for reliability, said in ((0.4, True), (0.6, False)):
        standings = {
            key: replace(one, reliability=reliability) for key, one in group.standings.items()
        }
        first = summary([replace(group, standings=standings)], []).splitlines()[0]
        assert (
            "somewhat too narrow, for the lesion agrees with itself by no more" in first
        ) == said


def test_too_few_blocks_are_said_to_be_too_few():
    made = build(stages=(3, 3), effects={0: 0.3, 1: 0.2, 2: 0.1, 4: 0.1, 5: 0.2})
    result = without_figures([made])
    assert result.verdict["outcome"] == "too few blocks"
    assert "are too few to tell any of 2 predictors from a random ranking" in result.summary
    assert re.search(r" \(over blocks \[.*\], images \[.*\]\)", result.summary.splitlines()[0])
    (rank,) = result.verdict["findings"]["networks"][0]["rankings"][:1]
    assert rank["worse_than_best"] == []
    assert "ranks highest" not in result.summary


def test_noise_is_no_better_than_random():
    made = build(
        stages=(8,),
        images=200,
        every=0.1,
        ratio=[0.3, 0.1, 0.4, 0.15, 0.9, 0.2, 0.6, 0.5],
        weight_norm=[3, 1, 4, 1.5, 9, 2, 6, 5],
    )
    result = without_figures([made])
    assert result.verdict["outcome"] == "no better than random"
    assert "no predictor ranks better than at random" in result.summary


def test_lesions_that_change_nothing_rank_nothing():
    result = analyze([build(stages=(5,))])
    assert "nothing to rank" in result.summary
    assert "ranks highest" not in result.summary
    assert result.figures


def test_an_uninterpretable_network_is_not_spoken_of():
    result = analyze([network(base_error=0.8)])
    assert result.verdict["outcome"] == "uninterpretable"
    assert result.verdict["uninterpretable"] == ["net"]
    first, *rest = result.summary.splitlines()
    assert first.startswith("net is uninterpretable: its test error 0.8")
    assert len(rest) == 1  # what was not measured
    assert result.figures == {}
    assert "rankings" not in result.verdict["findings"]["networks"][0]
    assert np.isfinite(result.dataset["rank_correlation"].values).any()


def test_few_seeds_are_averaged_without_an_interval_and_told_one_by_one():
    result = without_figures([network(f"net-seed{seed}", seed=seed) for seed in (0, 1)])
    first = result.summary.splitlines()[0]
    assert "mean over these 2 networks, no interval below 5 seeds" in first
    assert "[" not in first
    data = result.dataset.sel(effect="error", ranked_within="stage", predictor="block_influence")
    z = np.arctanh(data["rank_correlation"].values)
    assert float(data["group_rank_correlation"].item()) == pytest.approx(np.tanh(z.mean()))
    assert np.isnan(data["group_rank_correlation_interval"].values).all()
    second = result.summary.splitlines()[1]
    assert "better than a random ranking: ‖G‖/‖s‖ in 2 of 2; the wrong way round" in second
    assert "worse than the highest: block influence in 2 of 2, the weight norm in 2 of 2." in second


def test_from_five_seeds_on_intervals_are_over_seeds():
    result = without_figures([network(f"net-seed{seed}", seed=seed) for seed in range(5)])
    first, second, third = result.summary.splitlines()[:3]
    assert "mean over 5 seeds, intervals over seeds" in first
    assert "better than a random ranking (t test over seeds, Holm over 3 predictors)" in second
    assert "paired over the same seeds" in third
    data = result.dataset.sel(effect="error", ranked_within="stage")
    low, high = data["group_rank_correlation_interval"].values[0].T
    value = data["group_rank_correlation"].values[0]
    assert ((low < value) & (value < high)).all()


def test_two_groups_give_the_paired_difference_by_block():
    milder = network("after", group="after", harm=HARM / 4, attributions={})
    result = without_figures([milder, network("before", group="before", attributions={})])
    change = result.dataset["lesion_error_increase"].values
    found = result.dataset["lesion_error_increase_difference"].values[0]
    assert found == pytest.approx(change[0] - change[1])
    assert "after against before: the error increase by a lesion differs by −" in result.summary
    assert result.verdict["findings"]["differences"][0]["quantity"] == "lesion_error_increase"


def test_attributions_of_two_groups_are_compared_in_units_of_the_logit():
    given = {"gradient_x_activation": HARM}
    more = {"gradient_x_activation": HARM + 0.5}
    result = without_figures(
        [
            network("net", group="a", attributions=more, noise=0.01),
            network("other", group="b", attributions=given, noise=0.01),
        ]
    )
    found = result.dataset["gradient_x_activation_difference"].values[0]
    assert found == pytest.approx(np.full(BLOCKS, 0.5), abs=0.02)


def test_kinds_are_told_of_in_a_sentence():
    kinds = np.tile([0, 1], 6)
    harm = np.linspace(0.4, 0.02, 12)
    made = build(
        stages=(12,),
        images=300,
        effects=dict(enumerate(harm)),
        ratio=harm + kinds,
        parameters=100 + kinds,
    )
    result = without_figures([made])
    line = next(one for one in result.summary.splitlines() if "kind of branch" in one)
    assert "within stage and kind of branch (2 kinds" in line
    data = result.dataset["rank_correlation"].sel(
        network="net", effect="error", predictor="branch_shortcut_ratio"
    )
    assert float(data.sel(ranked_within="stage and kind")) > float(data.sel(ranked_within="stage"))
    told = wording.signed_number(float(data.sel(ranked_within="stage and kind")))
    assert f"‖G‖/‖s‖ {told}" in line


def test_the_order_of_inputs_changes_no_number():
    made = [network(f"net-seed{seed}", seed=seed) for seed in (0, 1)]
    first, second = without_figures(made).dataset, without_figures(made[::-1]).dataset
    assert np.allclose(
        first["group_rank_correlation"], second["group_rank_correlation"], equal_nan=True
    )
    xr.testing.assert_equal(
        first["rank_correlation"].sel(network="net-seed1"),
        second["rank_correlation"].sel(network="net-seed1"),
    )
