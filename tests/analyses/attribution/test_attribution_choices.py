"""What it costs to trust a predictor: closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from attributed import network_of, staircase
from resprobe_analyses.attribution.choices import choices


def test_a_right_predictor_chooses_as_the_lesion_and_a_wrong_one_the_opposite():
    change = staircase(100, 8)
    harm = change.mean(axis=0)
    quarter, half = choices(network_of(change, {"right": harm, "wrong": -harm}, (4, 4)))
    assert [(one.count, one.among, one.random_hits) for one in (quarter, half)] == [
        (2, 8, 0.5),
        (4, 8, 2.0),
    ]
    assert quarter.hits == {"right": 2, "wrong": 0}
    assert half.hits == {"right": 4, "wrong": 0}
    assert quarter.changes["right"].mean() == pytest.approx((0.01 + 0.02) / 2)
    assert half.changes["wrong"].mean() == pytest.approx((0.05 + 0.06 + 0.07 + 0.08) / 4)
    assert half.random.mean() == pytest.approx(harm.mean())


def test_blocks_are_chosen_whatever_their_stage():
    change = staircase(100, 8)
    stage_first = np.array([4, 3, 2, 1, 0, 0.1, 0.2, 0.3])
    quarter, _ = choices(network_of(change, {"p": stage_first}, (4, 4)))
    assert quarter.changes["p"].mean() == pytest.approx(change[:, [4, 5]].mean())


def test_the_lesion_chooses_on_other_images_than_it_is_measured_on():
    """Pure noise: on the images that chose them, blocks look harmless; on others they are not."""
    generator = np.random.default_rng(4)
    best, own = [], []
    for _ in range(40):
        change = (generator.random((60, 12)) < 0.2).astype(np.float64)
        quarter, _ = choices(network_of(change, {"p": np.arange(12.0)}, (12,)))
        best.append(quarter.best.mean())
        own.append(np.sort(change.mean(axis=0))[:3].mean())
    assert np.mean(best) == pytest.approx(0.2, abs=0.015)
    assert np.mean(own) < 0.15


def test_among_equal_errors_the_loss_decides():
    change = np.zeros((20, 4))
    loss = np.tile([4.0, 3.0, 2.0, 1.0], (20, 1))
    net = network_of(change, {"p": np.array([4.0, 3.0, 2.0, 1.0])}, (4,), loss=loss)
    _, half = choices(net)
    assert half.hits == {"p": 2}


def test_three_blocks_are_no_choice():
    assert choices(network_of(staircase(10, 3), {"p": np.arange(3.0)}, (3,))) == ()
