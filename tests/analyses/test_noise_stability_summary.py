"""What the analysis of noise stability says in words, and its outcome."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from noisy import (
    WEIGHT_NORMS,
    build_noisy,
    two_answering,
    two_noisy_groups,
)
from resprobe_analyses.noise_stability import analyze


@pytest.fixture(scope="module")
def single():
    return analyze([build_noisy()])


@pytest.fixture(scope="module")
def five():
    return analyze(two_noisy_groups(5, error_added=0.25))


@pytest.fixture(scope="module")
def stronger():
    """Residual networks that answer 1.5 times as much, but for the choice of norm."""
    residual = [build_noisy(f"res-{s}", group="r", seed=s, gain=0.03) for s in range(5)]
    plain = [build_noisy(f"plain-{s}", group="p", seed=s, residual=False) for s in range(5)]
    return analyze([*residual, *plain])


def test_what_depends_on_the_norm_is_said_and_why(stronger):
    assert stronger.verdict["outcome"] == "depends on what equal noise means"
    assert stronger.verdict["answers"]["kept"] == "more"
    assert stronger.verdict["answers"]["removed"] == "less"
    assert "more relative to ‖W‖_F with ID entries kept and less" in stronger.summary
    assert "3 of 5 layers say the same with both" in stronger.summary
    assert "0.10 times as large in res (median)" in stronger.summary


def test_the_papers_reading_of_equal_noise_counts_and_its_expectation_stands_beside_it():
    """Smaller weights: less at equal parts of the norm, and more at equal noise."""
    inputs = two_answering(lambda size: 3 * size, lambda size: size, larger=0.2)
    found = analyze(inputs)
    assert found.verdict["answers"] == {"equal": "more", "kept": "less", "removed": "less"}
    assert found.verdict["outcome"] == "depends on what equal noise means"
    told = found.summary.splitlines()
    assert "more at equal ‖ΔW‖_F, less relative to ‖W‖_F with ID entries kept" in told[0]
    assert told[1].startswith(
        "At equal ‖ΔW‖_F, the paper's words taken literally (it expects less)"
    )
    assert "change 3.00" in told[1]
    assert "expects less" not in "".join(told[2:])


@pytest.mark.parametrize(
    ("factor", "outcome"), [(0.5, "less in every reading"), (2.0, "more in every reading")]
)
def test_all_readings_together_are_an_outcome(factor, outcome):
    inputs = two_answering(lambda size: factor * size, lambda size: size)
    for given in inputs:  # without skips the norms agree
        noise = given.families["weight-noise"]
        noise[WEIGHT_NORMS[1]] = noise[WEIGHT_NORMS[0]]
    for given, own in zip(inputs, (factor, 1.0), strict=True):
        noise = given.families["weight-noise"]
        size = noise[WEIGHT_NORMS[0]].values[:, None, None] * noise["level"].values[:, None]
        noise["weight_noise_output_change"][:] = (own * size)[None, :, None]
    assert analyze(inputs).verdict["outcome"] == outcome


def test_readings_without_a_number_do_not_count():
    found = analyze(two_answering(lambda size: size, lambda size: size, larger=1e5))
    assert found.verdict["answers"]["equal"] is None
    assert found.verdict["answers"]["kept"] == "more"


def test_two_groups_are_told_of_in_a_dozen_lines(five):
    lines = five.summary.splitlines()
    assert len(lines) <= 13
    assert lines[0].startswith("Yu & Tomasi 2019 expect skips to make networks answer noise less")
    assert "test errors are 0.300 in res and 0.300 in plain" in lines[0]


def test_the_correlations_say_how_many_layers_they_are_over(single):
    assert "over its 5 layers" in single.summary
    assert "within stages" not in single.summary  # 2 layers rank nothing


def test_a_part_that_is_missing_is_left_out_and_the_command_said():
    found = analyze([build_noisy(families=("interlayer-cushion", "norms"))])
    assert set(found.figures) == {"response", "prediction"}
    network = found.verdict["findings"]["groups"][0]["networks"][0]
    assert network["bound"] is None
    assert set(network["not_measured"]) == {
        "input-noise", "activation-contraction", "interlayer-smoothness",
    }  # fmt: skip
    last = found.summary.splitlines()[-1]
    assert last.startswith("Not measured")
    assert (
        "--quantity +input_noise_output_change --quantity +activation_contraction "
        "--quantity +interlayer_smoothness" in last
    )
    assert "bound_value" not in found.dataset
    everything = analyze([build_noisy()]).summary
    assert "Not measured" not in everything


def test_without_batch_norm_no_mode_is_told_and_with_it_the_artefact_is():
    assert "No block here has BatchNorm" in analyze([build_noisy()]).summary
    plain = analyze([build_noisy(residual=False, batch_norm=True, blind=True)])
    assert "near 0 in 3 of 3" in plain.summary
    assert "an artefact of the mode and no property of the network" in plain.summary
    assert "0.20 beside 2.7e−07" in plain.summary
    network = plain.verdict["findings"]["groups"][0]["networks"][0]
    assert len(network["blind_in_training_mode"]) == 3
    skip = "a skip carries the scale of the input past BatchNorm"
    assert skip in analyze([build_noisy(batch_norm=True)]).summary
    seeing = analyze([build_noisy(residual=False, batch_norm=True)])
    assert "BatchNorm in evaluation mode" in seeing.summary
    assert skip not in seeing.summary
    assert "artefact" not in seeing.summary


def test_networks_that_have_not_learned_are_named_and_flagged():
    made = build_noisy("bad")
    noise = made.families["weight-noise"].copy(deep=True)
    noise["correct"][:] = np.arange(40) < 20
    bad = replace(made, families={**made.families, "weight-noise": noise})
    found = analyze([bad, build_noisy("good", seed=1)])
    assert found.dataset["interpretable"].values.tolist() == [0, 1]
    assert found.summary.startswith("bad (error 0.50) errs on more than half as many images as")
    assert "is not about trained ones only" in found.summary
    alone = analyze([bad]).summary
    assert "nothing below is about a trained network" in alone
    assert "adds most error" not in alone
    assert "than half" not in analyze([made]).summary
