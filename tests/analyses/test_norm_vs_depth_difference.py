"""Norms of two steps, step sizes or trainings of one architecture beside each other."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from depth_networks import build_network
from resprobe_analyses.norm_vs_depth import ANALYSIS, analyze
from resprobe_analyses.norm_vs_depth.differences import differences
from resprobe_analyses.norm_vs_depth.networks import read_networks


def at_step(step, seed=0, norm=1.0, depth=6):
    """A network as `analyze` gives it where checkpoints of its training were named."""
    name = f"net-seed{seed} step {step}"
    made = build_network(depth, seed, norm, step=step, label=name, target=None)
    return replace(made, group=f"{made.group} step {step}")


@pytest.fixture(scope="module")
def two_steps():
    """Each branch norm is twice what it was, but for the last block's, which is as it was."""
    after = [at_step(100, seed, lambda j: np.where(j < 5, 2.0, 1.0)) for seed in (0, 1)]
    return analyze([*after, at_step(50, 0), at_step(50, 1)])


def test_the_difference_is_a_factor_by_block(two_steps):
    data = two_steps.dataset.sel(contrast="net step 100 − net step 50")
    assert data["branch_norm_difference"].values == pytest.approx([2] * 5 + [1])
    assert data["input_norm_difference"].values == pytest.approx([2] * 5 + [1])
    # blocks 0 to 5 in three stages: 2 and 4 are transitions
    assert data["branch_norm_difference_mean"].item() == pytest.approx(2 ** (3 / 4))
    (norm, _) = two_steps.verdict["findings"]["differences"]
    assert norm["changed_blocks"] == ["stage0.0", "stage0.1", "stage1.0", "stage1.1", "stage2.0"]
    assert norm["paired_seeds"] == [0, 1]
    json.dumps(two_steps.verdict, allow_nan=False)


def test_each_step_has_its_own_curve_and_no_exponent_mixes_them(two_steps):
    assert list(two_steps.dataset["curve"].values) == [
        "d = 6, h = 1, step 100",
        "d = 6, h = 1, step 50",
    ]
    assert two_steps.dataset["curve_branch_norm"].values[:, 0] == pytest.approx([2, 1])
    assert list(two_steps.dataset["moment"].values) == ["step 100", "step 50"]
    titles = [axes.get_title() for axes in two_steps.figures["blocks"].axes[:2]]
    assert titles == [f"6 blocks, h = 1, step {step} (mean of 2 networks)" for step in (100, 50)]
    assert "difference" in two_steps.figures


def test_the_summary_says_the_difference_once(two_steps):
    lines = [line for line in two_steps.summary.splitlines() if " against " in line]
    assert len(lines) == 1  # ‖x‖ is in the figure and in the verdict
    assert lines[0].startswith("net step 100 against net step 50: ‖G‖ is 1.68")
    assert "5 of 6 blocks differ" in lines[0]
    assert "untrained" not in two_steps.summary


def test_two_step_sizes_of_one_depth_are_compared_and_two_depths_are_not():
    sizes = [build_network(6, norm=3.0), build_network(6, norm=1.0, h=0.5)]
    norm, _ = differences(read_networks(sizes))
    assert norm.quantity.name == "branch_norm"
    assert norm.change.value == pytest.approx(np.full(6, 3.0))
    assert differences(read_networks([build_network(6), build_network(9)])) == ()


def test_it_runs_unasked_on_two_groups_of_residual_networks():
    after, before = at_step(100), at_step(50)
    assert ANALYSIS.unasked([after, before])
    assert not ANALYSIS.unasked([before])
    assert not ANALYSIS.unasked([after, replace(build_network(6, plain=True), group="plain")])
