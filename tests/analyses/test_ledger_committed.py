"""The ledger that the repository keeps: its page, its JSON and its files belong together."""

from __future__ import annotations

import json
import re
from pathlib import Path

from resprobe_analyses.reproduce.document import document
from resprobe_analyses.reproduce.fingerprint import row_fingerprint
from resprobe_analyses.reproduce.ledger import in_order, read_ledger
from resprobe_analyses.reproduce.plan import registered
from resprobe_analyses.reproduce.publish import FOLDER, PAGE

ANALYSES = Path(__file__).resolve().parents[2] / "analyses"


def rows():
    return in_order(read_ledger(ANALYSES / FOLDER).rows.values())


def test_the_page_is_what_the_json_gives():
    assert (ANALYSES / PAGE).read_text(encoding="utf-8") == document(rows(), f"{FOLDER}/")


def test_every_link_of_the_page_leads_to_a_file():
    links = re.findall(r"\]\(([^)#]+)\)", (ANALYSES / PAGE).read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ANALYSES / link).is_file()] == []


def test_every_bundled_study_has_a_row_at_the_small_scale():
    there = {(row["id"], row["data"]) for row in rows() if row["scale"] == "small"}
    declared = {
        (study.id, setting.data)
        for study in registered().values()
        for setting in study.scales["small"]
    }
    assert there == declared


def test_no_row_was_judged_by_another_rule_than_its_version_says():
    studies = registered()
    for row in rows():
        study = studies[row["id"]]
        assert row["version"] <= study.version
        if row["version"] == study.version:
            (setting,) = [s for s in study.scales[row["scale"]] if s.data == row["data"]]
            assert row["fingerprint"] == row_fingerprint(study, setting), row["id"]


def test_the_numbers_of_a_row_follow_from_its_evidence():
    """Every verdict is judged again from the values by seed that are kept beside it."""
    import numpy as np
    from resprobe_analyses.studies.criteria import with_and_without
    from resprobe_analyses.studies.evidence import Sample

    judged = [row for row in rows() if row["with_diverged"] is not None]
    for row in judged:
        study = registered()[row["id"]]
        if row["version"] != study.version:
            continue
        path = ANALYSES / FOLDER / row["evidence"]
        told = json.loads(path.read_text(encoding="utf-8"))["contrasts"][0]
        values = [np.nan if value is None else value for value in told["values"]]
        sample = Sample(tuple(told["seeds"]), np.array(values), np.array(told["diverged"], bool))
        again = with_and_without(study.primary.criterion, sample, study.primary.reference).verdict
        assert again.outcome == row["outcome"]
        assert again.seeds == row["seeds"]
        if row["measured"]["value"] is not None:
            assert abs(again.value - row["measured"]["value"]) <= 1e-12 * abs(again.value)
