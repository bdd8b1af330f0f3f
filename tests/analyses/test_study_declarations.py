"""What the trained studies declare: sweeps that can be run, seeds of their own, deciding rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from resprobe_analyses.studies.images import PILOT_SEEDS
from resprobe_analyses.studies.study import SCALES
from resprobe_analyses.sweeps.points import points_of

from resprobe import registry

TRAINED = ("ML-F3", "ML-F4", "ML-F7", "ML-L1", "ML-L2")
SMALL_MINUTES = 16  # of one core: at most 8 minutes of two a study


@pytest.fixture(scope="module", params=TRAINED)
def study(request):
    return registry.load("studies", request.param)


def settings_of(study, scale=None):
    scales = study.scales if scale is None else {scale: study.scales[scale]}
    return [setting for settings in scales.values() for setting in settings]


def test_every_scale_names_recipes_and_keys_that_exist(study):
    """The points are resolved as before a run; unknown keys and equal points are refused."""
    assert tuple(study.scales) == SCALES
    for setting in settings_of(study):
        combinations = np.prod([len(values) for values in setting.sweep.grid.values()])
        expected = len(setting.sweep.arms) * combinations * len(setting.sweep.seeds)
        assert len(points_of(setting.sweep, None)) == expected


def test_small_runs_on_digits_and_on_cifar_within_its_time(study):
    settings = settings_of(study, "small")
    assert {setting.data for setting in settings} == {"digits", "cifar10-16"}
    assert all(setting.core_minutes > 0 for setting in settings)
    for setting in settings:
        assert len(setting.sweep.seeds) >= 5


def test_pilots_of_every_contrast_have_seeds_of_their_own(study):
    names = {contrast.name for contrast in (study.primary, *study.secondary)}
    for setting in settings_of(study, "small"):
        # one that was withdrawn is named in the history
        withdrawn = setting.data != "digits" and any("withdrawn" in line for line in study.history)
        assert set(setting.pilots) == (set() if withdrawn else names)
    for setting in settings_of(study):
        assert not set(setting.sweep.seeds) & set(PILOT_SEEDS)


def test_references_have_reasons_and_can_be_decided_with_little_spread(study):
    for contrast in (study.primary, *study.secondary):
        assert contrast.reference_reason
        assert contrast.criterion.power(contrast.reference, 1e-3, 5) > 0.99


def test_by_the_pilots_half_the_printed_exponent_would_contradict():
    study = registry.load("studies", "ML-F3")
    rule, half = study.primary.criterion, study.primary.reference
    assert half == rule.claimed / 2
    assert half > rule.high  # so that a decision against it is `contradicted`
    for setting in settings_of(study, "small"):
        spread, seeds = setting.pilots[study.primary.name].spread, len(setting.sweep.seeds)
        assert rule.power(half, spread, seeds) >= 0.8


def test_by_the_pilots_every_study_can_decide_on_some_data(study):
    """Below one half it is not attempted."""
    rule, reference, name = study.primary.criterion, study.primary.reference, study.primary.name
    powers = [
        rule.power(reference, setting.pilots[name].spread, len(setting.sweep.seeds))
        for setting in settings_of(study, "small")
        if name in setting.pilots
    ]
    assert max(powers) >= 0.5


def test_lesion_studies_share_their_runs():
    by_study = [
        [setting.sweep for setting in settings_of(registry.load("studies", name))]
        for name in ("ML-F4", "ML-L1", "ML-L2")
    ]
    assert by_study[0] == by_study[1] == by_study[2]


def test_sweeps_of_different_studies_have_different_names():
    sweeps = {}
    for name, scale in itertools.product(("ML-F3", "ML-F7", "ML-L1"), SCALES):
        for setting in settings_of(registry.load("studies", name), scale):
            assert sweeps.setdefault(setting.sweep.name, setting.sweep) == setting.sweep
    assert len(sweeps) == 3 * 5


def test_the_group_takes_less_than_three_quarters_of_an_hour_of_two_cores():
    minutes = {
        setting.sweep.name: setting.core_minutes
        for name in TRAINED
        for setting in settings_of(registry.load("studies", name), "small")
    }
    assert sum(minutes.values()) / 2 < 45
