"""Jacobians of two networks of one architecture, block by block, beside dense matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text
from resprobe_analyses.difference import differences_figures
from resprobe_analyses.stability.differences import differences
from resprobe_analyses.stability.networks import read_groups
from resprobe_analyses.stability.sentences_groups import contrast_lines
from resprobe_analyses.stability.stages import compare
from scipy import stats
from stability_data import build, changed, log_norm, without_figures

STAGES = (2, 2)
TRANSITION = 2  # position of the block that is not square
SMALL = {"stages": STAGES, "images": 6, "size": 6}


def abscissa(matrix):
    return float(np.linalg.eigvals(matrix).real.max())


def spectral_norm(matrix):
    return float(np.linalg.norm(matrix, 2))


@pytest.fixture(scope="module")
def pair():
    """Two checkpoints of one training, the later first."""
    later = build("net step 20", group="late", gain=0.4, shift=-0.5, step=20, **SMALL)
    return [later, build("net step 9", group="early", gain=0.6, step=9, **SMALL)]


@pytest.fixture(scope="module")
def found(pair):
    inputs = [made.input for made in pair]
    drawn = differences_figures(differences(read_groups(inputs)))
    return replace(without_figures(inputs), figures=drawn)


def numbers(made, of, block):
    return np.array([of(row[block]) for row in made.branches])


@pytest.mark.parametrize(
    ("name", "of", "ratio"),
    [
        ("log_norm", log_norm, False),
        ("spectral_norm", spectral_norm, True),
        ("spectral_abscissa", abscissa, False),
    ],
)
def test_blocks_are_compared_over_images(pair, found, name, of, ratio):
    data = found.dataset.isel(compared_groups=0)
    assert data["compared_groups"].item() == "net step 20 − net step 9"
    assert data["compared_block"].values.tolist() == [
        "stage1.0",
        "stage1.1",
        "stage2.0",
        "stage2.1",
    ]
    for block in range(sum(STAGES)):
        told = [
            data[f"jacobian_{name}_difference{bound}"].values[block]
            for bound in ("", "_low", "_high")
        ]
        if block == TRANSITION and not ratio:
            assert np.isnan(told).all()
            continue
        one, two = (numbers(made, of, block) for made in pair)
        by_image = np.log(one / two) if ratio else one - two
        low, high = stats.ttest_1samp(by_image, 0.0).confidence_interval(0.95)
        expected = np.array([by_image.mean(), low, high])
        assert told == pytest.approx(np.exp(expected) if ratio else expected, rel=1e-7, abs=1e-9)


def test_both_contrasts_have_one_direction(found):
    """Of the second stage one block keeps its shape, so its difference is that of the stage."""
    data = found.dataset
    (place,) = np.flatnonzero(
        (data["contrast_measure"].values == "log_norm") & (data["contrast_stage"].values == 2)
    )
    by_stage = data["difference"].values[place]
    by_block = data["jacobian_log_norm_difference"].values[0, 3]
    assert by_stage == pytest.approx(by_block, rel=1e-10)
    assert (data["contrast_group"].values[place], data["contrast_base"].values[place]) == (
        "net step 20",
        "net step 9",
    )


def test_what_was_there_keeps_its_names(found):
    assert found.dataset["block"].dims == ("network", "position")
    assert found.dataset["contrast_stage"].dims == ("contrast",)


def test_the_sentences_name_blocks_and_do_not_repeat_the_means_of_stages(found):
    lines = [line for line in found.summary.splitlines() if line.startswith("net step 20 against")]
    told = ("the log norm of the branch", "the σ_max of the branch", "the max Re λ of the branch")
    assert len(lines) == len(told)
    for line, what in zip(lines, told, strict=True):
        assert f"against net step 9: {what}" in line
        assert "on average" not in line
    data = found.dataset.isel(compared_groups=0)
    hits = data["compared_block"].values[data["jacobian_spectral_norm_difference_p_holm"] < 0.05]
    assert hits.size
    assert all(f"{name} " in lines[1] for name in hits)
    named = [one["quantity"] for one in found.verdict["findings"]["differences"]]
    assert named == ["jacobian_log_norm", "jacobian_spectral_norm", "jacobian_spectral_abscissa"]
    written = [text.get_text() for text in found.figures["difference"].findobj(Text)]
    assert "net step 20 against net step 9" in written
    assert len(found.figures["difference"].axes) == len(told)


def test_eigenvalues_are_compared_where_both_have_them(pair):
    bare = changed(pair[1], "spectrum", None)
    groups = read_groups([pair[0].input, bare])
    names = [one.quantity.name for one in differences(groups)]
    assert names == ["jacobian_log_norm", "jacobian_spectral_norm"]


@pytest.mark.parametrize("other", [{"plain": True}, {"stages": (3, 2)}])
def test_a_plain_network_and_other_blocks_have_no_difference(pair, other):
    options = {**SMALL, **other}
    inputs = [pair[0].input, build("other", group="other", **options).input]
    made = without_figures(inputs)
    assert made.verdict["findings"]["differences"] == []
    assert made.verdict["findings"]["contrasts"]
    assert "compared_groups" not in made.dataset.dims


def test_every_two_groups_of_one_architecture_are_compared(pair):
    inputs = [made.input for made in pair]
    inputs.insert(1, build("deep", group="deep", **{**SMALL, "stages": (3, 2)}).input)
    inputs.append(build("h", group="h", gain=0.1, **SMALL).input)
    groups = read_groups(inputs)
    found = differences(groups)
    pairs = list(dict.fromkeys((one.first, one.second) for one in found))
    later, early, deep, h = "net step 20", "net step 9", "deep", "h"
    assert pairs == [(later, early), (later, h), (early, h)]
    by_stage = compare(groups)
    pairs = list(dict.fromkeys((one.group, one.base) for one in by_stage))
    assert pairs == [
        (later, deep),
        (later, early),
        (later, h),
        (deep, early),
        (deep, h),
        (early, h),
    ]
    lines = contrast_lines(by_stage, found)
    assert len(lines) == 3 * 4 + 1 + 3 * 3
    assert lines[12] == "3 further comparisons of two groups by stage are in verdict.json."


def test_a_factor_that_is_one_number_on_every_image_is_told_as_it_is():
    """Matrices of half the size: no spread over images, and no p-value made of rounding."""
    one = build("a", group="a", **SMALL)
    half = build("b", group="b", gain=0.3, **SMALL)
    (norm,) = [
        found
        for found in differences(read_groups([one.input, half.input]))
        if found.quantity.name == "jacobian_spectral_norm"
    ]
    np.testing.assert_allclose(norm.change.value, 2.0, rtol=1e-12)
    np.testing.assert_allclose(norm.change.low, 2.0, rtol=1e-6)
    np.testing.assert_allclose(norm.change.high, 2.0, rtol=1e-6)
