"""What a fingerprint of a study changes with, and that no rule changes without a new version."""

from __future__ import annotations

import json
from dataclasses import replace

import invented_studies as invented
import pytest
import study_versions
from resprobe_analyses.reproduce.fingerprint import canonical, row_fingerprint, study_fingerprint
from resprobe_analyses.studies.criteria import Band, Directional
from resprobe_analyses.studies.study import Pilot, Setting
from resprobe_analyses.sweeps.specification import Arm, Collection

STUDY = invented.trained()
PRIMARY = STUDY.primary


def with_sweep(**changes):
    sweep = replace(invented.SWEEP, **changes)
    return replace(STUDY, scales={**STUDY.scales, "small": (Setting("digits", "x", sweep),)})


CHANGED = {
    "side": replace(STUDY, primary=replace(PRIMARY, criterion=Directional(-1))),
    "another rule": replace(STUDY, primary=replace(PRIMARY, criterion=Band(-1, 1, 0))),
    "band": replace(STUDY, primary=replace(PRIMARY, criterion=Band(-1, 1.5, 0))),
    "reference": replace(STUDY, primary=replace(PRIMARY, reference=0.25)),
    "contrast": replace(STUDY, primary=replace(PRIMARY, meaning="Something else.")),
    "primary and secondary": replace(STUDY, primary=STUDY.secondary[0], secondary=(PRIMARY,)),
    "fewer secondary": replace(STUDY, secondary=STUDY.secondary[:1]),
    "analysis": replace(STUDY, analysis="lesion"),
    "seeds": with_sweep(seeds=(0, 1, 2, 3, 4, 5)),
    "setting": with_sweep(settings={"model.depth": 14, "train.epochs": 0}),
    "setting's type": with_sweep(settings={"model.depth": 8.0, "train.epochs": 0}),
    "recipe": with_sweep(arms=(Arm("only", "resnet-56-digits"),)),
    "arm": with_sweep(arms=(Arm("only", "resnet-20-digits", {"model.h": 0.5}),)),
    "collection": with_sweep(collections=(Collection(("branch_norm",)),)),
    "data": replace(STUDY, scales={"small": (Setting("other", "x", invented.SWEEP),)}),
}
PROMISE_UNCHANGED = {
    "claim in other words": replace(STUDY, claim="It is above zero."),
    "errata": replace(STUDY, errata=()),
    "pilots": replace(STUDY, scales=invented.with_pilot(0.1)),
    "another pilot": replace(
        STUDY,
        scales={
            name: (replace(setting, pilots={"effect": Pilot(3, 3)}, core_minutes=9.0, meaning=""),)
            for name, (setting,) in STUDY.scales.items()
        },
    ),
    "order of keys": with_sweep(settings={"train.epochs": 0, "model.depth": 8}),
}


@pytest.mark.parametrize("name", CHANGED)
def test_everything_that_a_verdict_rests_on_changes_the_fingerprint(name):
    others = {study_fingerprint(STUDY)} | {
        study_fingerprint(study) for other, study in CHANGED.items() if other != name
    }
    assert study_fingerprint(CHANGED[name]) not in others


@pytest.mark.parametrize("name", PROMISE_UNCHANGED)
def test_words_pilots_and_costs_do_not_change_it(name):
    assert study_fingerprint(PROMISE_UNCHANGED[name]) == study_fingerprint(STUDY)


def test_a_setting_has_a_fingerprint_of_its_own():
    (setting,) = STUDY.scales["small"]
    longer = replace(setting, sweep=replace(invented.SWEEP, seeds=(0, 1)))
    both = replace(STUDY, scales={"small": (setting, replace(longer, data="longer"))})
    assert row_fingerprint(both, setting) == row_fingerprint(STUDY, setting)
    assert row_fingerprint(both, longer) != row_fingerprint(both, setting)


def test_a_recipe_of_another_content_is_another_sweep(tmp_path):
    def study(rate):
        (tmp_path / "own.toml").write_text(f"[schedule]\nlearning_rate = {rate}\n")
        return with_sweep(arms=(Arm("only", str(tmp_path / "own.toml")),))

    assert study_fingerprint(study(0.1)) != study_fingerprint(study(0.2))


def test_what_is_no_plain_value_can_not_hide_in_a_fingerprint():
    with pytest.raises(TypeError, match="object"):
        canonical({"key": object()})


def test_infinities_are_told_apart():
    inf = float("inf")
    assert len({str(canonical(x)) for x in (inf, -inf, float("nan"), 0.0, -0.0)}) == 5


def test_no_bundled_study_changed_without_a_new_version():
    recorded = json.loads(study_versions.FILE.read_text(encoding="utf-8"))
    assert study_versions.declared() == recorded, (
        "a study's rule, contrasts or sweeps changed: raise its version if the ledger holds a row "
        "of it, then run `python tests/analyses/study_versions.py`"
    )


def test_every_version_but_the_first_says_what_changed():
    for study in study_versions.registered().values():
        assert len(study.history) == study.version - 1, study.id


def test_the_record_is_not_renewed_over_rows_of_the_same_version():
    before = {"X": {"version": 1, "fingerprint": "a"}, "Y": {"version": 1, "fingerprint": "a"}}
    present = {"X": {"version": 1, "fingerprint": "b"}, "Y": {"version": 2, "fingerprint": "b"}}
    asked = study_versions.changed_after_a_run
    assert asked(before, present, {("X", 1), ("Y", 1)}) == ["X"]
    assert asked(before, present, set()) == []
    assert asked({}, present, {("X", 1)}) == []
