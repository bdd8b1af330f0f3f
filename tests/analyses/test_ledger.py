"""The ledger as a file and as a page: nothing is lost in it, and it can be read alone."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import invented_studies as invented
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resprobe_analyses.reproduce import record, words
from resprobe_analyses.reproduce.document import document
from resprobe_analyses.reproduce.judging import judge, judge_secondary
from resprobe_analyses.reproduce.ledger import KEYS, Ledger, read_ledger
from resprobe_analyses.reproduce.markdown import cell, table
from resprobe_analyses.reproduce.plan import Planned
from resprobe_analyses.reproduce.power import power_before
from resprobe_analyses.reproduce.publish import publish
from resprobe_analyses.reproduce.values import plain
from resprobe_analyses.studies.criteria import NOT_ATTEMPTED, judge_checks
from resprobe_analyses.studies.evidence import Check, Evidence, Sample

from resprobe.errors import InputError

VERSIONS = {
    "git_commit": "0123456789abcdef",
    "git_dirty": 0,
    "resprobe_version": "1.2.3",
    "torch_version": "2.13",
}
CHECKS = (Check("sum", "2", "2", True), Check("size | of", "1e-17", "0", True, 1e-17, 1e-15))
CLEAR = tuple(invented.CLEAR.values())
LINK = re.compile(r"\]\(([^)]+)\)")


@pytest.fixture(autouse=True)
def nothing_else_is_registered(monkeypatch):
    monkeypatch.setattr("resprobe_analyses.reproduce.plan.registered", lambda: {})


def planned(study, scale="small"):
    return Planned(study, scale, study.scales[scale][0])


def exact_row(**changes):
    study = replace(invented.exact(CHECKS), **changes)
    row = record.new_row(planned(study), None, VERSIONS)
    evidence = study.measure()
    return plain({**row, **record.with_checks(evidence, judge_checks(evidence.checks))})


def sample(values, diverged=()):
    seeds = tuple(range(len(values)))
    flags = np.array([seed in diverged for seed in seeds])
    return Sample(seeds, np.array(values), flags)


def trained_row(values=CLEAR, diverged=(), scale="small", **changes):
    study = invented.trained(**{"scales": invented.with_pilot(0.1), **changes})
    row = record.new_row(planned(study), power_before(study, study.scales["small"][0]), VERSIONS)
    effect = sample(values, diverged)
    evidence = Evidence(samples={"effect": effect, "first": effect, "second": effect})
    primary = judge(study.primary, evidence)
    secondary = judge_secondary(study, evidence)
    found = record.with_samples(evidence, study.primary, primary, secondary, scale)
    return plain({**row, **found})


def cells(line):
    return len(re.findall(r"(?<!\\)\|", line)) - 1


def test_only_at_the_papers_scale_a_claim_is_reproduced_without_a_restriction():
    for scale, outcome in (("medium", "reproduced at small scale"), ("paper", "reproduced")):
        row = trained_row(diverged=(5,), values=(*CLEAR, 1.0), scale=scale)
        both = row["with_diverged"], row["without_diverged"]
        assert {item["outcome"] for item in (row, *both, *row["secondary"])} == {outcome}


def test_the_page_says_everything_that_a_row_holds():
    row = trained_row()
    text = document([row])
    held = (row["claim"], row["source"], row["rule"], row["contradicted_by"], row["settings"])
    for part in (*held, "The figure has no axis.", "0123456789ab", "torch 2.13", "Version** 1"):
        assert part.rstrip(".") in text
    assert "`effect` = **1.00 [0.80, 1.20]** over 5 seeds: reproduced at small scale." in text
    assert "was 1.00 with 5 seeds, if the truth were 0.5 (half of what is printed, 1)" in text
    assert "a standard deviation of 0.1 over 3 other seeds" in text
    assert text.count("| p (Holm) |") == 1


def test_an_undecided_row_says_how_many_seeds_would_decide_it():
    row = trained_row(values=(-1.0, 1.0, 0.9, -0.8, 0.3))
    low, high = row["needed"]
    assert 5 <= low < high
    assert (
        f"If the truth were 0.5 (half of what is printed, 1), {low} to {high} seeds would decide "
        "it in four of five cases."
    ) in document([row])


def test_a_row_with_diverged_runs_says_the_verdict_with_and_without_them():
    text = document([trained_row(values=(1.0, 1.1, 0.9, 1.05, 0.95, -1.0), diverged=(5,))])
    assert "With the seeds with diverged runs: " in text
    assert "Without the seeds with diverged runs: 1.000 [0.902, 1.098], n = 5" in text


def test_a_row_that_was_not_run_says_why_and_what_it_would_cost():
    study = invented.trained()
    row = record.new_row(planned(study), None, VERSIONS)
    text = document([plain({**row, "reason": "the data set is away"})])
    assert "The data set is away." in text
    assert "5 runs would be made, in 2.0 min of one core." in text
    assert "evidence.json" not in text


def test_history_and_version_are_said():
    row = exact_row(version=2, history=("the bound was of float32",))
    assert "**Version** 2 of the rule. The bound was of float32." in document([row])


def test_studies_follow_each_other_and_each_has_one_section():
    rows = [exact_row(), trained_row(id="X-A"), {**trained_row(id="X-A"), "data": "other"}]
    headings = [line for line in document(rows).splitlines() if line.startswith("## ")]
    assert headings == ["## X-EXACT", "## X-A"]


def test_the_verdicts_are_counted():
    rows = [exact_row(), trained_row(), {**trained_row(), "outcome": NOT_ATTEMPTED}]
    text = document(rows)
    assert f"3 rows: holds 1, reproduced at small scale 1, {NOT_ATTEMPTED} 1." in text


def test_runs_that_studies_share_are_counted_once():
    runs = {"planned": 6, "trained": 4, "diverged": 1, "failed": 1, "missing": 0}
    ran = {"evidence": "x", "budget": {**trained_row()["budget"], "runs": runs}}
    ran["budget"]["spent_core_minutes"] = 120.0
    rows = [{**trained_row(id=name), **ran} for name in ("X-A", "X-B")]
    other = {**trained_row(id="X-C"), **ran, "settings": "others"}
    ended = "trained runs, 1 that diverged and 1 that failed, in 2 h of one core."
    assert f"Behind them are 4 {ended}" in document(rows)
    ended = ended.replace("1 that", "2 that").replace("2 h", "4 h")
    assert f"Behind them are 8 {ended}" in document([*rows, other])


@given(st.lists(st.text(), min_size=3, max_size=3))
def test_no_text_breaks_a_table(texts):
    lines = table(("a", "b", "c"), [[cell(text) for text in texts]]).splitlines()
    assert len(lines) == 3
    assert {cells(line) for line in lines} == {3}


NUMBERS = st.floats() | st.integers(-(2**40), 2**40) | st.booleans() | st.none() | st.text()
FIELDS = st.dictionaries(st.text(), NUMBERS | st.lists(NUMBERS))


@settings(max_examples=40)  # each writes and syncs two files
@given(FIELDS)
def test_what_is_entered_is_read_again(tmp_path_factory, fields):
    folder = tmp_path_factory.getbasetemp() / "round"
    row = {**exact_row(), "more": fields}
    ledger = Ledger(folder)
    ledger.enter(row)
    ledger.write()
    (found,) = read_ledger(folder).rows.values()
    assert found == plain(row)
    for name, value in fields.items():
        if isinstance(value, float):
            assert found["more"][name] == (value if math.isfinite(value) else None)


@pytest.mark.parametrize("row", [exact_row, trained_row])
def test_a_row_has_the_keys_that_a_reader_expects(row):
    assert set(row()) == KEYS


def test_a_ledger_that_lacks_a_key_is_refused(tmp_path):
    Ledger(tmp_path, {("X", "small", "exact"): {**exact_row(), "id": "X"}}).write()
    text = (tmp_path / "ledger.json").read_text(encoding="utf-8")
    (tmp_path / "ledger.json").write_text(text.replace('"claim"', '"claims"'), encoding="utf-8")
    with pytest.raises(InputError, match="lacks keys"):
        read_ledger(tmp_path)


def test_a_row_takes_the_place_of_its_like_only(tmp_path):
    ledger = Ledger(tmp_path)
    for row in (exact_row(), trained_row(), {**trained_row(), "scale": "smoke"}, exact_row()):
        ledger.enter(row)
    assert list(ledger.rows) == [
        ("X-EXACT", "small", "exact"),
        ("X-TRAINED", "small", "digits"),
        ("X-TRAINED", "smoke", "digits"),
    ]


@pytest.fixture
def reproduced(tmp_path):
    """A folder as `reproduce` leaves it, with a figure."""
    row = {**exact_row(), "evidence": "studies/X-EXACT/small-exact/evidence.json"}
    row["figures"] = ["studies/X-EXACT/small-exact/study-line.png"]
    folder = tmp_path / "reproduced"
    (folder / row["folder"]).mkdir(parents=True)
    for name in ("evidence.json", "study-line.png", "study-line.svg", "study.nc", "study.json"):
        (folder / row["folder"] / name).write_text(name)
    ledger = Ledger(folder)
    ledger.enter(row)
    ledger.write()
    return folder


def links(page):
    found = LINK.findall(page.read_text(encoding="utf-8"))
    return [link for link in found if not link.startswith("#")]


def test_links_of_the_page_lead_to_files(reproduced):
    assert len(links(reproduced / "ledger.md")) == 2
    for link in links(reproduced / "ledger.md"):
        assert (reproduced / link).is_file()


def test_a_published_ledger_is_small_and_its_links_still_work(reproduced, tmp_path):
    target = tmp_path / "analyses"
    page = publish([reproduced], target)
    assert page == target / "LEDGER.md"
    for link in links(page):
        assert (target / link).is_file()
    kept = {path.name for path in target.rglob("*") if path.is_file()}
    assert kept == {"LEDGER.md", "ledger.json", "evidence.json", "study-line.png"}
    again = read_ledger(target / "ledger").rows
    assert again == read_ledger(reproduced).rows


def test_what_was_published_before_is_replaced(reproduced, tmp_path):
    target = tmp_path / "analyses"
    publish([reproduced], target)
    (target / "ledger" / "studies" / "OLD").mkdir()
    publish([reproduced], target)
    assert not (target / "ledger" / "studies" / "OLD").exists()


def test_what_was_published_before_outlives_a_failure(reproduced, tmp_path, monkeypatch):
    target = tmp_path / "analyses"
    publish([reproduced], target)
    before = read_ledger(target / "ledger").rows

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("shutil.copyfile", full)
        with pytest.raises(InputError, match=r"No space left.*give another -o"):
            publish([reproduced], target)
    assert read_ledger(target / "ledger").rows == before
    publish([reproduced], target)
    assert {path.name for path in target.iterdir()} == {"ledger", "LEDGER.md"}


def test_ledgers_of_several_scales_are_joined(reproduced, tmp_path):
    other = Ledger(tmp_path / "other")
    other.enter(trained_row())
    other.write()
    publish([reproduced, tmp_path / "other"], tmp_path / "analyses")
    assert len(read_ledger(tmp_path / "analyses" / "ledger").rows) == 2


@pytest.mark.parametrize("wrong", ["twice", "versions", "empty", "foreign"])
def test_what_can_not_be_one_ledger_is_refused_and_nothing_touched(reproduced, tmp_path, wrong):
    target, other = tmp_path / "analyses", Ledger(tmp_path / "other")
    sources = [reproduced, other.folder]
    if wrong == "twice":
        sources = [reproduced, reproduced]
    elif wrong == "versions":
        other.enter({**exact_row(), "scale": "smoke", "version": 2})
        other.write()
    elif wrong == "foreign":
        (target / "ledger").mkdir(parents=True)
        (target / "ledger" / "notes.txt").write_text("mine")
        sources = [reproduced]
    before = sorted(target.rglob("*"))
    with pytest.raises(InputError):
        publish(sources, target)
    assert sorted(target.rglob("*")) == before


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (-1.0234, -1.1043, -0.9425, "−1.023 [−1.104, −0.943]"),
        (0.0612, 0.01, 0.11, "0.061 [0.010, 0.110]"),
        (1234.5, 1000.0, 1469.0, "1234 [1000, 1469]"),
        (0.5, math.nan, math.nan, "0.500"),
        (-0.00001, -0.2, 0.2, "0.00 [−0.20, 0.20]"),
        (2.0, 1.0, math.inf, "2.00 [1.00, ∞]"),
        (math.nan, math.nan, math.nan, "–"),
        (None, None, None, "–"),
    ],
)
def test_numbers_show_two_digits_of_their_half_width_or_three_of_their_own(value, low, high, text):
    assert words.measured(value, low, high) == text


@given(
    st.floats(-1e6, 1e6, allow_subnormal=False),
    st.floats(1e-6, 1e3),
)
def test_a_written_interval_is_right_to_a_tenth_of_its_half_width(value, half):
    text = words.measured(value, value - half, value + half).replace("−", "-")
    written = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]
    for number, true in zip(written, (value, value - half, value + half), strict=True):
        assert abs(number - true) <= half / 10


def test_units_other_than_one_are_written():
    assert words.measured(0.5, 0.4, 0.6, "s") == "0.50 [0.40, 0.60] s"


@pytest.mark.parametrize(
    ("needed", "text"),
    [
        ((7, 30), "7 to 30 seeds"),
        ((9, 9), "9 seeds"),
        ((500, 10_000), "500 to 10,000 or more seeds"),
    ],
)
def test_seeds_that_would_decide(needed, text):
    assert words.needed_seeds(needed) == text


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="give another -o"):
        Ledger(Path(tmp_path / "file")).write()


def test_the_json_says_its_schema(tmp_path):
    Ledger(tmp_path).write()
    assert json.loads((tmp_path / "ledger.json").read_text()) == {"schema": 1, "rows": []}
