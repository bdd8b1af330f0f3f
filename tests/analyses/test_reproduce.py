"""Studies are run, judged by their own rules and entered in a ledger that loses nothing."""

from __future__ import annotations

import fcntl
import json
from dataclasses import replace

import h5py
import invented_studies as invented
import numpy as np
import pytest
from resprobe_analyses.reproduce.plan import plan
from resprobe_analyses.reproduce.run import Means, reproduce
from resprobe_analyses.studies.criteria import (
    CONTRADICTED,
    FAILS,
    HOLDS,
    NOT_ATTEMPTED,
    REPRODUCED,
    UNDECIDED,
    Directional,
)
from resprobe_analyses.studies.evidence import Check, Evidence
from resprobe_analyses.studies.study import Setting
from scipy import stats

from resprobe.errors import InputError

HOLDING = (Check("sum", "2", "2", holds=True), Check("error", "1e-17", "0", True, 1e-17, 1e-15))
BROKEN = (Check("sum", "3", "2", holds=False), HOLDING[1])
FOLDER = "studies/X-TRAINED/small-digits"


@pytest.fixture
def trainer(invented_run):
    return invented.Trainer(invented_run)


@pytest.fixture
def make(tmp_path, trainer):
    """Reproduce registered studies into one folder; gives the rows by id and what was told."""
    told = []

    def made(*ids, scale="small", lacking=lambda planned: "", train=trainer):
        told.clear()
        done = reproduce(plan(ids, scale)[0], tmp_path / "out", Means(train, lacking, told.append))
        return {row["id"]: row for row in done.rows}

    made.told, made.out = told, tmp_path / "out"
    return made


def on_disk(make):
    rows = json.loads((make.out / "ledger.json").read_text(encoding="utf-8"))["rows"]
    return {row["id"]: row for row in rows}


def page(make):
    return (make.out / "ledger.md").read_text(encoding="utf-8")


def test_an_exact_study_holds_with_its_checks_figures_and_numbers_on_disk(offered, make):
    offered(invented.exact(HOLDING))
    row = make()["X-EXACT"]
    assert row["outcome"] == HOLDS
    assert [check["name"] for check in row["checks"]] == ["sum", "error"]
    assert row["figures"] == ["studies/X-EXACT/small-exact/study-line.png"]
    for written in (*row["figures"], row["evidence"], "studies/X-EXACT/small-exact/study.nc"):
        assert (make.out / written).stat().st_size
    assert on_disk(make) == {"X-EXACT": row}
    assert "**holds**" in page(make)


def test_an_exact_study_fails_with_the_check_that_does_not_hold(offered, make):
    offered(invented.exact(BROKEN))
    row = make()["X-EXACT"]
    assert row["outcome"] == FAILS
    assert "3 instead of 2" in row["reason"]
    assert "| sum | 2 | 3 |" in page(make)


def test_the_verdict_is_that_of_the_rule_on_the_seeds_values(offered, make):
    offered(invented.trained())
    row = make()["X-TRAINED"]
    values = np.array(list(invented.CLEAR.values()))
    half = stats.t.ppf(0.975, 4) * values.std(ddof=1) / np.sqrt(5)
    assert row["outcome"] == REPRODUCED, row["reason"]
    measured = row["measured"]
    assert measured["value"] == pytest.approx(values.mean(), rel=1e-14)
    bounds = values.mean() - half, values.mean() + half
    assert (measured["low"], measured["high"]) == pytest.approx(bounds, rel=1e-12)
    assert row["seeds"] == 5
    assert row["without_diverged"] is None


def test_everything_behind_a_trained_row_is_beside_it(offered, make):
    offered(invented.trained())
    row = make()["X-TRAINED"]
    folder = make.out / FOLDER
    names = {path.name for path in folder.iterdir()}
    wanted = {"evidence.json", "dataset.nc", "figure-norms.png", "figure-norms.svg", "summary.txt"}
    assert wanted <= names
    evidence = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    effect = evidence["contrasts"][0]
    assert effect["seeds"] == list(invented.CLEAR)
    assert effect["values"] == list(invented.CLEAR.values())
    assert [run["run"] for run in evidence["runs"]] == [
        f"sweeps/invented/runs/seed{seed}" for seed in invented.SEEDS
    ]
    assert row["budget"]["spent_core_minutes"] == pytest.approx(5)
    runs = {"planned": 5, "trained": 5, "diverged": 0, "failed": 0, "missing": 0}
    assert row["budget"]["runs"] == runs
    assert '"model.depth" = 8' in row["settings"]


def test_a_row_says_by_what_its_runs_were_trained(offered, make, invented_run):
    offered(invented.trained())
    row = make()["X-TRAINED"]
    (measured,) = invented_run.glob("collected/*/norms.h5")
    with h5py.File(measured, "r") as file:
        assert row["runs_made_by"]["torch_version"] == [file.attrs["torch_version"]]
        assert row["runs_made_by"]["data_fingerprint"] == [file.attrs["data_fingerprint"]]
    assert row["runs_made_by"]["threads"] == [1]


def test_no_place_of_this_machine_is_in_what_is_kept(offered, make):
    offered(invented.exact(HOLDING), invented.trained())
    make(train=replace_ended(make, {4: "failed"}))
    kept = [*make.out.glob("ledger.*"), *make.out.glob("studies/*/*/evidence.json")]
    assert len(kept) == 4
    for path in kept:
        assert str(make.out.parent) not in path.read_text(encoding="utf-8")


def replace_ended(make, ended, values=invented.CLEAR):
    """A trainer of the same run whose runs end otherwise."""
    return replace(make.trainer, ended=ended, values=values, calls=[])


@pytest.fixture(autouse=True)
def known_trainer(make, trainer):
    make.trainer = trainer


def test_diverged_runs_are_counted_and_the_verdict_given_with_and_without(offered, make):
    offered(invented.trained(secondary=()))
    values = {seed: 1 + seed / 100 for seed in range(6)}
    sweep = replace(invented.SWEEP, seeds=tuple(values))
    settings = (Setting("digits", "digits", sweep),)
    offered(invented.trained(secondary=(), scales={"small": settings}))
    row = make(train=replace_ended(make, {5: "diverged"}, values))["X-TRAINED"]
    assert row["with_diverged"]["outcome"] == UNDECIDED
    assert row["without_diverged"]["outcome"] == REPRODUCED
    assert row["outcome"] == UNDECIDED
    assert row["budget"]["runs"]["diverged"] == 1
    assert row["complete"]
    assert "1 diverged" in page(make)
    assert f"n = 5, {REPRODUCED}" in page(make)


def test_failed_runs_are_said_and_tried_again_by_the_next_call(offered, make):
    offered(invented.trained())
    row = make(train=replace_ended(make, {2: "failed"}))["X-TRAINED"]
    assert row["budget"]["runs"]["failed"] == 1
    assert row["outcome"] == NOT_ATTEMPTED, "four seeds are too few"
    assert "1 failed" in page(make)
    again = make()["X-TRAINED"]
    assert len(make.trainer.calls) == 1
    assert again["outcome"] == REPRODUCED


def test_what_is_whole_is_kept_and_this_is_said(offered, make):
    offered(invented.trained(), invented.trained(id="X-OTHER"))
    first = make()
    second = make()
    assert second == first
    assert len(make.trainer.calls) == 2
    assert sum("kept" in line for line in make.told) == 2


def test_an_exact_study_is_checked_again_by_the_code_of_today(offered, make):
    offered(invented.exact(HOLDING))
    assert make()["X-EXACT"]["outcome"] == HOLDS
    offered(replace(invented.exact(BROKEN), version=2, history=("The sum is another one.",)))
    assert make()["X-EXACT"]["outcome"] == FAILS
    assert on_disk(make)["X-EXACT"]["version"] == 2


def test_what_some_runs_gave_is_not_lost_where_the_data_of_the_others_are_gone(offered, make):
    offered(invented.trained())
    first = make(train=replace_ended(make, {2: "failed"}))
    assert not first["X-TRAINED"]["complete"]
    second = make(lacking=lambda planned: "the data set is not at hand.")
    assert second == first == on_disk(make)
    assert any("is kept, for the data set is not at hand" in line for line in make.told)


def test_power_beforehand_is_that_of_before_the_runs(offered, make):
    """A pilot that is entered later neither adds a power nor takes the runs back."""
    offered(invented.trained())
    make(train=replace_ended(make, {2: "failed"}))
    offered(invented.trained(scales=invented.with_pilot(spread=3.0)))
    row = make()["X-TRAINED"]
    assert row["power"] is None
    assert row["outcome"] == REPRODUCED


def test_power_beforehand_stays_what_it_was_with_a_later_pilot(offered, make):
    offered(invented.trained(scales=invented.with_pilot(spread=0.1)))
    first = make(train=replace_ended(make, {2: "failed"}))["X-TRAINED"]
    offered(invented.trained(scales=invented.with_pilot(spread=0.2)))
    second = make()["X-TRAINED"]
    assert second["complete"]
    assert second["power"] == first["power"]
    assert second["power"]["spread"] == 0.1


def test_a_row_without_a_verdict_shows_no_figures_of_an_earlier_one(offered, make):
    offered(invented.trained())
    assert make(train=replace_ended(make, {2: "failed"}))["X-TRAINED"]["figures"]
    offered(invented.trained(measure=lambda result, points: Evidence()))
    row = make()["X-TRAINED"]
    assert row["outcome"] == "not judged"
    assert row["figures"] == []


def test_studies_of_an_equal_sweep_share_its_runs(offered, make):
    offered(invented.trained(), invented.trained(id="X-OTHER"))
    rows = make()
    assert set(make.trainer.calls) == {make.out / "sweeps" / "invented"}
    assert rows["X-OTHER"]["budget"]["shared_with"] == ["X-TRAINED"]


def test_two_sweeps_of_one_name_are_refused(offered, make):
    other = Setting("digits", "digits", replace(invented.SWEEP, seeds=(7, 8)))
    offered(invented.trained(), invented.trained(id="X-OTHER", scales={"small": (other,)}))
    with pytest.raises(InputError, match="two sweeps 'invented' with different runs"):
        make("X-TRAINED")


def test_a_study_too_weak_to_decide_is_not_run(offered, make):
    offered(invented.trained(scales=invented.with_pilot(spread=3.0)))
    row = make()["X-TRAINED"]
    assert row["outcome"] == NOT_ATTEMPTED
    assert row["power"]["value"] < 0.5
    assert "before any run" in row["reason"]
    assert make.trainer.calls == []
    assert not (make.out / "studies").exists()


def test_a_study_that_can_decide_says_with_which_power(offered, make):
    offered(invented.trained(scales=invented.with_pilot(spread=0.1)))
    row = make()["X-TRAINED"]
    assert row["outcome"] == REPRODUCED
    assert row["power"]["value"] > 0.8
    assert row["power"]["pilot_seeds"] == 3
    assert "the chance of a decision was" in page(make)


def test_the_smallest_scale_is_run_whatever_it_can_decide(offered, make):
    offered(invented.trained(scales=invented.with_pilot(spread=3.0)))
    assert make(scale="smoke")["X-TRAINED"]["outcome"] == REPRODUCED
    assert len(make.trainer.calls) == 1


def test_without_its_data_a_row_is_not_run_and_the_others_go_on(offered, make):
    offered(invented.trained(), invented.exact(HOLDING))
    rows = make(lacking=lambda planned: "the data set is not at hand.")
    assert rows["X-TRAINED"]["outcome"] == "not run"
    assert rows["X-EXACT"]["outcome"] == HOLDS
    assert "The data set is not at hand." in page(make)
    assert make()["X-TRAINED"]["outcome"] == REPRODUCED


def test_a_kill_loses_only_the_study_under_way(offered, make):
    offered(invented.exact(HOLDING), invented.trained())

    def killed(sweep, folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("X-EXACT", "X-TRAINED", train=killed)
    assert set(on_disk(make)) == {"X-EXACT"}
    make("X-EXACT", "X-TRAINED")
    assert set(on_disk(make)) == {"X-EXACT", "X-TRAINED"}


def test_runs_of_an_older_version_are_not_judged_by_a_newer_rule(offered, make):
    offered(invented.trained())
    make()
    before = on_disk(make)
    offered(invented.trained(version=2, primary=invented.contrast("effect", Directional(-1))))
    with pytest.raises(InputError, match=r"begun under version 1 of X-TRAINED.*give another -o"):
        make()
    assert on_disk(make) == before


def test_a_rule_that_changed_without_a_new_version_is_refused(offered, make):
    offered(invented.trained())
    make()
    offered(invented.trained(primary=invented.contrast("effect", Directional(-1))))
    with pytest.raises(InputError, match="another rule, contrast or sweep"):
        make()


def test_the_rule_counts_from_when_shared_runs_began(offered, make):
    other = invented.trained(id="X-OTHER")
    offered(invented.trained(), other)
    make("X-TRAINED")
    offered(replace(other, primary=invented.contrast("effect", Directional(-1))))
    with pytest.raises(InputError, match="X-OTHER"):
        make("X-OTHER")


def test_a_study_that_comes_after_the_runs_says_so(offered, make):
    offered(invented.trained())
    make()
    offered(invented.trained(id="X-LATE"))
    row = make("X-LATE")["X-LATE"]
    assert "its runs were there before this rule" in row["notes"][-1]


def test_a_contradicted_claim_is_said_to_be(offered, make):
    offered(invented.trained(primary=invented.contrast("effect", Directional(-1))))
    assert make()["X-TRAINED"]["outcome"] == CONTRADICTED


def test_secondary_contrasts_are_adjusted_for_their_number(offered, make):
    offered(invented.trained())
    row = make()["X-TRAINED"]
    first, second = row["secondary"]
    values = np.array(list(invented.CLEAR.values()))
    p_first = stats.ttest_1samp(values, 0).pvalue
    p_second = stats.ttest_1samp(values - 0.78, 0).pvalue
    assert p_first * 2 < 0.05 < p_second * 2
    assert p_second < 0.05, "alone it would decide"
    assert first["p_adjusted"] == pytest.approx(2 * p_first)
    assert second["p_adjusted"] == pytest.approx(p_second)


def test_secondary_contrasts_too_stand_with_and_without_diverged_runs(offered, make):
    values = {seed: 1 + seed / 100 for seed in range(6)}
    sweep = replace(invented.SWEEP, seeds=tuple(values))
    settings = (Setting("digits", "digits", sweep),)
    offered(invented.trained(scales={"small": settings}))
    row = make(train=replace_ended(make, {}, values))["X-TRAINED"]
    assert row["secondary"][0]["outcome"] == REPRODUCED
    offered(invented.trained(id="X-OTHER", scales={"small": settings}))
    row = make("X-OTHER", train=replace_ended(make, {5: "diverged"}, values))["X-OTHER"]
    assert row["secondary"][0]["outcome"] == UNDECIDED
    assert "with the seed whose runs diverged" in row["secondary"][0]["reason"]


def test_a_decision_that_adjustment_takes_back_is_undecided(offered, make):
    extra = tuple(invented.contrast(name) for name in ("second", "third"))
    measure = invented.measure

    def also_third(result, points):
        found = measure(result, points)
        return replace(found, samples={**found.samples, "third": found.samples["second"]})

    offered(invented.trained(secondary=extra, measure=also_third))
    for item in make()["X-TRAINED"]["secondary"]:
        assert item["p_value"] < 0.05 < item["p_adjusted"]
        assert item["outcome"] == UNDECIDED
        assert "adjusted for the number" in item["reason"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"measure": lambda result, points: Evidence()}, "no contrast 'effect'"),
        ({"analysis": "refusing"}, "not what is analyzed"),
    ],
)
def test_what_can_not_be_judged_is_said_and_done_again(offered, make, changes, reason):
    offered(invented.trained(**changes), invented.exact(HOLDING))
    rows = make()
    assert rows["X-TRAINED"]["outcome"] == "not judged"
    assert reason in rows["X-TRAINED"]["reason"]
    assert rows["X-EXACT"]["outcome"] == HOLDS
    make()
    assert len(make.trainer.calls) == 2


def test_if_every_run_diverged_nothing_is_judged(offered, make):
    offered(invented.trained())
    row = make(train=replace_ended(make, dict.fromkeys(invented.SEEDS, "diverged")))["X-TRAINED"]
    assert row["outcome"] == "not judged"
    assert row["budget"]["runs"]["diverged"] == 5


@pytest.mark.parametrize(
    "text", ["", "{", '{"schema": 1, "rows": [{}]}', '{"schema": 99, "rows": []}']
)
def test_a_damaged_ledger_is_refused_and_left(offered, make, text):
    offered(invented.exact(HOLDING))
    make.out.mkdir()
    (make.out / "ledger.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="give another -o"):
        make()
    assert (make.out / "ledger.json").read_text(encoding="utf-8") == text


def test_a_second_process_is_kept_out(offered, make):
    offered(invented.exact(HOLDING))
    make.out.mkdir()
    with (make.out / ".lock").open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="the ledger"):
            make()
    assert make()["X-EXACT"]["outcome"] == HOLDS
