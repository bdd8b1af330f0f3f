"""The contract of `resprobe reproduce`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import invented_studies as invented
import pytest
from click.testing import CliRunner
from resprobe_analyses.reproduce.data_at_hand import DataAtHand
from resprobe_analyses.reproduce.plan import Planned
from resprobe_analyses.studies.evidence import Check
from resprobe_analyses.studies.study import SCALES, Setting
from resprobe_analyses.sweeps import state
from resprobe_analyses.sweeps.points import points_of

from resprobe import registry
from resprobe.cli.main import resprobe_command

HOLDING = (Check("sum", "2", "2", holds=True),)


def resprobe(*arguments):
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(resprobe_command, words, prog_name="resprobe")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(result, *parts):
    assert result.exit_code == 2
    for part in parts:
        assert part in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_list_shows_every_study_with_its_cost_and_imports_no_torch():
    code = (
        "import sys; from resprobe.cli.main import resprobe_command as command\n"
        "command.main(['reproduce', '--list', '--json'], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert [study["id"] for study in listed] == sorted(registry.entries("studies"))
    for study in listed:
        assert study["claim"]
        assert {"smoke", "small"} <= set(study["scales"]) <= set(SCALES)
        for settings in study["scales"].values():
            for setting in settings:
                assert setting["core_minutes"] > 0
                assert (setting["runs"] == 0) == study["exact"]


def test_the_list_for_people_names_id_claim_cost_and_power(offered):
    offered(invented.exact(HOLDING), invented.trained(scales=invented.with_pilot(0.1)))
    text = resprobe("reproduce", "--list").stdout
    assert "X-EXACT (exact, version 1): One and one are two.\n  Nobody (2018), Table 1\n" in text
    assert "digits: 2.0 min of one core, 5 runs with 5 seeds, power 1.00" in text
    assert "X-EXACT" not in resprobe("reproduce", "--list", "X-TRAINED").stdout


def test_studies_are_listed_by_their_claims(offered):
    offered(invented.exact(HOLDING))
    assert "X-EXACT  One and one are two." in resprobe("list", "studies").stdout
    (row,) = json.loads(resprobe("list", "studies", "--json").stdout)
    assert row["name"] == "X-EXACT"
    assert row["scales"] == ["smoke", "small"]


def test_an_exact_study_ends_in_a_ledger_and_says_where(offered, tmp_path):
    offered(invented.exact(HOLDING))
    result = resprobe("reproduce", "X-EXACT", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "X-EXACT (small): 1 of 1 check, holds" in result.stdout
    assert str(tmp_path / "out" / "ledger.md") in result.stdout
    page = (tmp_path / "out" / "ledger.md").read_text(encoding="utf-8")
    assert "*p (Holm)*" in page.partition("| study |")[0], "the opening explains every column"


def test_a_claim_that_fails_is_no_failure_of_the_command(offered, tmp_path):
    offered(invented.exact((Check("sum", "3", "2", holds=False),)))
    result = resprobe("reproduce", "-o", tmp_path / "out", "--json", "--quiet")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert [row["outcome"] for row in json.loads(result.stdout)["rows"]] == ["fails"]


def test_a_failed_run_is_a_failure_after_the_ledger_is_written(
    offered, tmp_path, invented_run, monkeypatch
):
    offered(invented.trained(), invented.trained(id="X-OTHER"))
    trainer = invented.Trainer(invented_run, ended={4: "failed"})
    monkeypatch.setattr(
        "resprobe_analyses.sweeps.run.run_sweep", lambda sweep, out, **_: trainer(sweep, out)
    )
    result = resprobe("reproduce", "-o", tmp_path / "out", "--quiet")
    assert result.exit_code == 1
    assert "1 run failed" in result.stderr, "the two rows share it"
    assert (tmp_path / "out" / "ledger.md").exists()


def test_an_unknown_study_is_refused_with_near_names(offered, tmp_path):
    offered(invented.exact(HOLDING))
    refused(resprobe("reproduce", "X-EXAC", "-o", tmp_path / "o"), "'X-EXAC'", "mean X-EXACT?")
    refused(resprobe("reproduce", "--list", "X-EXAC"), "mean X-EXACT?")
    assert not (tmp_path / "o").exists()


def test_an_unknown_scale_is_refused_with_near_names(offered, tmp_path):
    offered(invented.exact(HOLDING))
    refused(resprobe("reproduce", "--scale", "smal", "-o", tmp_path / "o"), "mean small?")


def test_a_scale_that_nobody_declares_is_refused(offered, tmp_path):
    offered(invented.exact(HOLDING))
    result = resprobe("reproduce", "X-EXACT", "--scale", "paper", "-o", tmp_path / "o")
    refused(result, "declares the scale paper", "--list")


def test_a_study_without_the_scale_is_left_out_and_this_is_said(offered, tmp_path):
    study = invented.exact(HOLDING)
    own = {"large": study.scales["small"]}
    offered(study, replace(invented.exact(HOLDING), id="X-LARGE", scales=own))
    result = resprobe("reproduce", "--scale", "large", "-o", tmp_path / "o")
    assert result.exit_code == 0
    assert "X-EXACT declares no scale large and is left out" in result.stderr
    assert "X-LARGE (large)" in result.stdout


def test_a_file_in_the_place_of_the_folder_is_refused(offered, tmp_path):
    offered(invented.exact(HOLDING))
    (tmp_path / "file").write_text("mine")
    result = resprobe("reproduce", "-o", tmp_path / "file", "--quiet")
    refused(result, "(it is a file)", "another -o")
    assert "Errno" not in result.stderr
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "broken",
    [
        "a text",
        replace(invented.exact(HOLDING), id="X-OTHER"),
        replace(invented.exact(HOLDING), scales={"a/b": ()}),
        replace(invented.exact(HOLDING), scales={"small": (Setting("../up", "outside"),)}),
    ],
    ids=["no study", "another id", "scale with a slash", "data outside"],
)
def test_what_a_package_offers_wrongly_is_refused_by_name(offered, tmp_path, monkeypatch, broken):
    offered(invented.exact(HOLDING))
    monkeypatch.setattr(invented, "X-EXACT", broken)
    result = resprobe("reproduce", "-o", tmp_path / "o")
    refused(result, "X-EXACT", "repair or uninstall its package")


def planned(**settings):
    sweep = replace(invented.SWEEP, settings={**invented.SWEEP.settings, **settings})
    study = invented.trained(scales={"small": (Setting("images", "x", sweep),)})
    return Planned(study, "small", study.scales["small"][0])


def test_data_that_come_along_are_at_hand(offered, tmp_path):
    offered(invented.trained())
    assert DataAtHand(tmp_path, None).lacking(planned()) == ""


def test_data_that_are_away_are_said_in_one_sentence_with_the_command(offered, tmp_path):
    offered(invented.trained())
    (tmp_path / "data").mkdir()
    said = DataAtHand(tmp_path, tmp_path / "data").lacking(planned(**{"data.name": "cifar10"}))
    assert said.startswith("the data set cifar10 is not at hand: ")
    assert "resprobe reproduce X-TRAINED --scale small --data-dir FOLDER" in said


def test_runs_that_have_ended_need_no_data(offered, tmp_path):
    offered(invented.trained())
    row = planned(**{"data.name": "cifar10"})
    folder = row.sweep_folder(tmp_path)
    (folder / "points").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    at_hand = DataAtHand(tmp_path, tmp_path / "data")
    for point in points_of(row.setting.sweep, tmp_path / "data"):
        assert at_hand.lacking(row)
        state.write_state(folder, point.name, state.State(ended="diverged"))
    assert at_hand.lacking(row) == ""


@pytest.mark.slow
def test_a_bundled_study_is_trained_measured_and_judged(tmp_path):
    result = resprobe("reproduce", "ML-F4", "--scale", "smoke", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads(result.stdout)["rows"]
    assert row["complete"]
    assert row["budget"]["runs"]["trained"] == row["budget"]["runs"]["planned"]
    again = resprobe("reproduce", "ML-F4", "--scale", "smoke", "-o", tmp_path / "out", "--json")
    assert len(json.loads(again.stdout)["kept"]) == 1


@pytest.mark.slow
def test_killed_while_it_trains_it_goes_on_and_repeats_nothing(tmp_path):
    words = ["reproduce", "ML-T2", "ML-F7", "--scale", "smoke", "-o", str(tmp_path / "out")]
    code = "from resprobe.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True
    ) as process:
        assert any("[1 of 6]" in line for line in process.stderr)
        process.kill()
    ledger = json.loads((tmp_path / "out" / "ledger.json").read_text(encoding="utf-8"))
    assert [row["id"] for row in ledger["rows"]] == ["ML-T2"]
    (sweep,) = (tmp_path / "out" / "sweeps").iterdir()
    result = resprobe(*words, "--json")
    assert result.exit_code == 0, result.stderr
    _, trained = json.loads(result.stdout)["rows"]
    assert trained["budget"]["runs"]["trained"] == trained["budget"]["runs"]["planned"] == 6
    attempts = [json.loads(path.read_text())["attempts"] for path in sweep.glob("points/*.json")]
    assert sorted(set(attempts)) in ([1], [1, 2])
    assert sum(count - 1 for count in attempts) <= 2, "only what was under way is begun again"
