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
from resprobe_analyses.noise_stability.words import counted


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


def erring(label, wrong, **options):
    """A network that errs on so many of its 40 images, of which chance gets 4 right."""
    made = build_noisy(label, **options)
    noise = made.families["weight-noise"].copy(deep=True)
    noise["correct"][:] = np.arange(40) >= wrong
    return replace(made, families={**made.families, "weight-noise": noise})


def test_networks_that_have_learnt_little_are_named_and_flagged():
    bad = erring("bad", 20)
    found = analyze([bad, build_noisy("good", seed=1)])
    assert found.dataset["interpretable"].values.tolist() == [0, 1]
    start = "bad (error 0.50) has learnt little (chance 0.90, on 40 test images): "
    assert found.summary.startswith(start + "what is said below of a group with such")
    alone = analyze([bad]).summary
    assert alone.startswith(start + "what follows is of a hardly trained network.")
    assert "adds most error" not in alone
    fine = analyze([build_noisy("bad")]).summary
    assert "learnt little" not in fine
    assert "at chance" not in fine


def test_a_network_at_chance_is_said_to_be_no_trained_one():
    found = analyze([erring("bad", 36)]).summary
    start = "bad is at chance (error 0.90): nothing below is about a trained network."
    assert found.splitlines()[0] == start
    assert "learnt little" not in found


def test_a_network_is_at_chance_where_the_interval_of_its_error_reaches_it():
    """Of 40 images, 31 wrong have [0.615, 0.892] and 32 [0.644, 0.909], Clopper-Pearson."""
    below, within = (analyze([erring("bad", wrong)]).summary for wrong in (31, 32))
    assert "has learnt little" in below
    assert "at chance" in within.splitlines()[0]


def test_several_networks_of_a_group_are_told_of_by_their_range():
    residual = [erring(f"r{s}", 20 + s, group="res", seed=s) for s in range(3)]
    plain = [erring("p0", 36, group="plain", seed=0, residual=False)]
    plain += [build_noisy(f"p{s}", group="plain", seed=s, residual=False) for s in (1, 2)]
    first, second = analyze([*residual, *plain]).summary.splitlines()[:2]
    assert first.startswith("p0 is at chance (error 0.90): what is said below of a group with")
    assert second.startswith("r (3 networks, errors 0.50 to 0.55) have learnt little")


@pytest.mark.parametrize(
    ("errors", "says"),
    [
        ((0.4, 0.2), "res, which answers less, does not err less but more"),
        ((0.2, 0.4), "res, which answers less, errs less too"),
        ((0.3, 0.3), "which do not differ"),
    ],
)
def test_whether_the_group_that_answers_less_errs_less_is_said(errors, says):
    inputs = two_answering(lambda size: 0.1 * size, lambda size: size)
    for given, error in zip(inputs, errors, strict=True):
        given.checkpoint["metrics"]["test_error"] = error
    found = analyze(inputs)
    assert found.verdict["outcome"] == "less in every reading"
    assert says in found.summary.splitlines()[0]


def test_errors_that_the_seeds_do_not_tell_apart_are_not_ranked():
    inputs = two_noisy_groups(5)
    for given in inputs[:5]:
        given.checkpoint["metrics"]["test_error"] += 0.1 * (given.seed - 1.9)
    first = analyze(inputs).summary.splitlines()[0]
    assert "which are not told apart over the seeds" in first


def test_where_the_readings_disagree_errors_are_no_evidence_for_one():
    inputs = two_answering(lambda size: 3 * size, lambda size: size, larger=0.2)
    inputs[0].checkpoint["metrics"]["test_error"] = 0.1
    first = analyze(inputs).summary.splitlines()[0]
    assert "res errs less, and whether it answers less depends on the reading" in first


def test_one_layer_is_no_layers():
    assert [counted(n, "layer") for n in (0, 1, 2)] == ["0 layers", "1 layer", "2 layers"]
