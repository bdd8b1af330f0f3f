"""Errors of eigenvalues, decisions within them, exact intervals, runs of blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resprobe_analyses.reading import Layout
from resprobe_analyses.stability.conditions import (
    CONTRACTION,
    EQ5,
    EULER,
    HOLDS,
    UNDECIDED,
    UNTESTED,
    VIOLATED,
    decide,
    decisions,
    tallies,
)
from resprobe_analyses.stability.eigenvalues import abscissa_errors, eigenvalue_errors
from resprobe_analyses.stability.networks import read_groups
from resprobe_analyses.stability.proportion import exact_interval
from resprobe_analyses.stability.quality import quality
from resprobe_analyses.stability.runs import runs_of
from scipy import stats
from stability_data import RESIDUAL, build, changed, leaf


def network(given_input):
    (group,) = read_groups([given_input])
    return group.first


@pytest.mark.parametrize(
    ("value", "error", "converged", "expected"),
    [
        (-1.0, 0.5, True, HOLDS),
        (-0.5, 0.5, True, HOLDS),
        (-0.4, 0.5, True, UNDECIDED),
        (0.4, 0.5, True, UNDECIDED),
        (0.6, 0.5, True, VIOLATED),
        (0.0, 0.0, True, HOLDS),
        (-1.0, 0.5, False, UNDECIDED),
        (0.6, 0.5, False, VIOLATED),
        (0.6, np.nan, True, UNDECIDED),
        (-1.0, np.inf, True, UNDECIDED),
        (np.nan, 0.0, True, UNTESTED),
    ],
)
def test_a_condition_is_decided_only_beyond_the_error(value, error, converged, expected):
    found = decide(np.array([value]), np.array([error]), np.array([converged]))
    assert found.tolist() == [expected]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 12))
def test_exact_intervals_are_where_the_binomial_tails_reach_the_level(a, b, total):
    """Clopper and Pearson: at the lower bound P(X ≥ least) = 0.025, at the upper P(X ≤ most)."""
    least, most = sorted((a % (total + 1), b % (total + 1)))
    low, high = (float(bound) for bound in exact_interval(least, most, total))
    assert 0 <= low <= least / total <= most / total <= high <= 1
    if least:
        assert stats.binom.sf(least - 1, total, low) == pytest.approx(0.025, rel=1e-8)
    if most < total:
        assert stats.binom.cdf(most, total, high) == pytest.approx(0.025, rel=1e-8)


def test_exact_intervals_of_nothing_are_nothing_and_wrong_counts_are_refused():
    assert np.isnan(exact_interval(0, 0, 0)).all()
    with pytest.raises(ValueError, match="least <= most"):
        exact_interval(2, 1, 3)
    with pytest.raises(ValueError, match="level"):
        exact_interval(1, 1, 3, level=1)


def test_an_eigenvalue_lies_within_its_disc():
    """Perturb a matrix by E with ‖E‖ = r·‖J‖: eigenvalues move by at most κ·r·‖J‖, to first order.

    The exact eigenpairs of J + E have the residual ‖E v‖ ≤ r·‖J‖ as eigenpairs of J.
    """
    generator = np.random.default_rng(3)
    made = build(stages=(2,), images=2)
    size, worst = 1e-6, 0.0
    spectrum = network(made.input).spectrum
    errors = eigenvalue_errors(spectrum) / RESIDUAL * size
    for image in range(2):
        for block in range(2):
            matrix = made.branches[image][block]
            noise = generator.standard_normal(matrix.shape)
            noise *= size * np.linalg.norm(matrix, 2) / np.linalg.norm(noise, 2)
            moved = np.linalg.eigvals(matrix + noise)
            known = spectrum.eigenvalues[image, block, 0]
            distance = np.abs(known[:, None] - moved[None]).min(axis=1)
            worst = max(worst, float((distance / errors[image, block, 0]).max()))
    assert 0.01 < worst <= 1.001  # second order: about κ²·size


def test_the_error_of_the_abscissa_is_that_of_its_eigenvalue():
    made = build(stages=(2,), images=2)
    spectrum = network(made.input).spectrum
    error, told = abscissa_errors(spectrum)
    errors = eigenvalue_errors(spectrum)
    right = np.argmax(
        np.where(np.isfinite(spectrum.eigenvalues), spectrum.eigenvalues.real, -9), -1
    )
    expected = np.take_along_axis(errors, right[..., None], -1)[..., 0]
    assert error == pytest.approx(expected, rel=1e-12)
    assert told.all()


def test_an_unconverged_abscissa_decides_nothing():
    made = build(stages=(3,), images=4, shift=-2.0, gain=0.2)
    data = leaf(made, "spectrum")
    data["jacobian_spectral_abscissa_converged"][:, 0] = 0
    data["jacobian_eigenvalue_converged"][:, 0] = 0
    net = network(changed(made, "spectrum", data))
    found = tallies(net)
    assert found[EQ5].holds.tolist() == [0, 4, 4]
    assert found[EQ5].undecided.tolist() == [4, 0, 0]
    assert (found[EQ5].low[0], found[EQ5].high[0]) == (0, 1)
    assert found[EULER].undecided.tolist() == [4, 0, 0]
    assert found[CONTRACTION].holds.tolist() == [4, 4, 4]


def test_undecided_images_widen_the_interval_both_ways():
    made = build(stages=(1,), images=8, branches=[np.diag([-1.0, -2.0])])
    data = leaf(made, "spectrum")
    data["jacobian_eigenvalue_residual"][:3] = 1.0
    found = tallies(network(changed(made, "spectrum", data)))[EQ5]
    assert (found.holds.item(), found.undecided.item()) == (5, 3)
    assert found.share.item() == 5 / 8
    low, high = exact_interval(5, 8, 8)
    assert (found.low.item(), found.high.item()) == (low, high)


def test_imaginary_eigenvalues_are_undecided_and_a_zero_branch_holds():
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    found = tallies(network(build(stages=(2,), branches=[turn, np.zeros((2, 2))]).input))
    assert found[EQ5].undecided.tolist() == [16, 0]
    assert found[EQ5].holds.tolist() == [0, 16]
    # |1 ± i| = √2: forward Euler lets a rotation grow
    assert found[EULER].violated.tolist() == [16, 0]


def test_euler_holds_inside_the_circle_and_not_outside():
    matrices = [np.diag([a, a]) for a in (-0.5, -1.9, -2.1, 0.1)]
    found = decisions(network(build(stages=(4,), images=1, branches=matrices).input))
    assert found[EULER][0].tolist() == [HOLDS, HOLDS, VIOLATED, VIOLATED]
    assert found[EQ5][0].tolist() == [HOLDS, HOLDS, HOLDS, VIOLATED]


def test_what_did_not_converge_is_counted_and_said():
    made = build("u", stages=(3,), images=4)
    spectrum, jacobian = leaf(made, "spectrum"), leaf(made, "jacobian")
    spectrum["jacobian_eigenvalue_converged"][0, 0, 0, :2] = 0
    jacobian["jacobian_log_norm_converged"][1, 2, 0] = 0
    jacobian["jacobian_frobenius_norm_stderr"][:2, 0, 0] = (
        0.01 * jacobian["jacobian_frobenius_norm"][:2, 0, 0]
    )
    jacobian["jacobian_relative_error"][2, 1, 1] = 3e-4
    jacobian["jacobian_relative_error"][3, 1, 1] = np.nan
    both = replace(made, input=changed(made, "spectrum", spectrum))
    (group,) = read_groups([changed(both, "jacobian", jacobian)])
    found = quality(group)
    assert found.unconverged["eigenvalues"] == (2, 4 * 3 * 2 * 12)
    assert found.unconverged["log norms"] == (1, 24)
    assert found.unconverged["spectral norms"] == (0, 24)
    assert found.estimated == (2, 24)
    assert found.relative_stderr == pytest.approx(0.01)
    assert found.relative_error == 3e-4
    assert found.unchecked == 1


def layout(stage: list[int], transition: list[int]) -> Layout:
    array = np.array(stage, dtype=np.int64)
    return Layout(array, np.arange(array.size), np.zeros_like(array), np.array(transition, bool))


@pytest.mark.parametrize(
    ("stage", "transition", "expected"),
    [
        ([1, 1, 2, 2, 2], [0, 0, 1, 0, 0], [[0, 1], [3, 4]]),
        ([1, 2, 3], [1, 1, 1], []),
        ([1, 1, 1, 1], [1, 0, 0, 0], [[1, 2, 3]]),
        ([1, 1, 2, 2], [0, 0, 0, 0], [[0, 1], [2, 3]]),
        ([1, 1, 1], [0, 1, 0], [[0], [2]]),
    ],
)
def test_runs_are_within_stage_blocks_in_a_row(stage, transition, expected):
    found = runs_of(layout(stage, transition))
    assert [run.blocks.tolist() for run in found] == expected
    assert all(run.last == run.blocks[-1] for run in found)
