"""The folder of a collected checkpoint as an INPUT, and inputs that differ in their step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import resprobe as package
from resprobe.analyze import analyze as run_analyses
from resprobe.errors import InputError
from resprobe.inputs import describe_all
from resprobe.store.reader import collected_checkpoint

FIRST, LAST = "step-00000004", "step-00000008"
FAMILIES = ("norms", "lesion")


@pytest.fixture(scope="module")
def two_steps(collected, asked, resprobe, tmp_path_factory) -> Path:
    """The collected run with the checkpoint before its last measured too; not to be changed."""
    run = Path(shutil.copytree(collected, tmp_path_factory.mktemp("steps") / "run"))
    result = resprobe("collect", run, "--checkpoint", 4, *asked, "--quiet")
    assert result.exit_code == 0, result.stderr
    return run


@pytest.fixture
def steps(two_steps, tmp_path) -> Path:
    """A copy of that run, to be changed at will."""
    return Path(shutil.copytree(two_steps, tmp_path / "run"))


def at(run: Path, *names: str) -> list[Path]:
    return [run / "collected" / name for name in names]


def another_seed(run: Path, folder: Path, seed: int = 1) -> Path:
    """A copy that passes for a run of another seed."""
    other = Path(shutil.copytree(run, folder))
    recipe = other / "recipe.toml"
    text = recipe.read_text(encoding="utf-8")
    recipe.write_text(text.replace("\nseed = 0\n", f"\nseed = {seed}\n"), encoding="utf-8")
    return other


def described(*paths: Path):
    trees = [package.open(path) for path in paths]
    found = describe_all(paths, trees, FAMILIES)
    for tree in trees:
        tree.close()
    return found


def test_a_checkpoint_opens_like_a_lone_file_with_the_attributes_of_its_run(two_steps):
    (folder,) = at(two_steps, FIRST)
    tree, whole = package.open(folder), package.open(two_steps)
    assert sorted(tree.children) == sorted(whole[FIRST].children)
    xr.testing.assert_identical(tree["norms"].to_dataset(), whole[f"{FIRST}/norms"].to_dataset())
    assert tree.attrs["recipe"] == whole.attrs["recipe"]
    assert tree.attrs["group"] == whole.attrs["group"]
    assert tree.attrs["seed"] == 0
    assert tree.attrs["checkpoint_step"] == 4


def test_it_is_known_by_whatever_path_leads_to_it(two_steps, tmp_path, monkeypatch):
    (folder,) = at(two_steps, FIRST)
    assert collected_checkpoint(folder) == (two_steps, 4)
    link = tmp_path / "before"
    link.symlink_to(folder)
    assert collected_checkpoint(link) == (two_steps.resolve(), 4)
    monkeypatch.chdir(folder)
    assert collected_checkpoint(Path()) == (Path.cwd().parent.parent, 4)
    for other in (two_steps, two_steps / "collected", two_steps / "checkpoints"):
        assert collected_checkpoint(other) is None
    assert collected_checkpoint(tmp_path / "collected" / FIRST) is None


def test_two_steps_are_two_groups_and_the_later_comes_first(two_steps):
    for names in ((FIRST, LAST), (LAST, FIRST)):
        found = described(*at(two_steps, *names))
        assert [given.label for given in found] == ["run step 8", "run step 4"]
        assert [given.step for given in found] == [8, 4]
        assert found[0].group != found[1].group
        assert found[1].checkpoint["step"] == 4


def test_a_run_beside_its_earlier_checkpoint_is_analyzed_at_its_last(two_steps):
    found = described(*at(two_steps, FIRST), two_steps)
    assert [given.label for given in found] == ["run step 8", "run step 4"]


def test_seeds_of_one_step_are_pooled(two_steps, tmp_path):
    other = another_seed(two_steps, tmp_path / "run-seed1")
    found = described(*at(two_steps, FIRST, LAST), *at(other, FIRST, LAST))
    assert [given.label for given in found] == [
        "run step 8",
        "run-seed1 step 8",
        "run step 4",
        "run-seed1 step 4",
    ]
    assert [given.group == found[0].group for given in found] == [True, True, False, False]


def test_runs_that_ended_at_different_steps_stay_one_group(two_steps, tmp_path):
    short = another_seed(two_steps, tmp_path / "short")
    shutil.rmtree(short / "collected" / LAST)
    found = described(two_steps, short)
    assert [given.step for given in found] == [8, 4]
    assert found[0].group == found[1].group
    assert [given.label for given in found] == ["run", "short"]


def test_a_run_and_its_last_checkpoint_are_the_same_thing(two_steps, resprobe, tmp_path):
    (last,) = at(two_steps, LAST)
    for twice in ((two_steps, last), (last, last)):
        with pytest.raises(InputError, match="are the same checkpoint, step 8 of"):
            described(*twice)
    with pytest.raises(InputError, match="is given twice"):
        run_analyses(None, [last, last], None, collector=None, tell=None)
    result = resprobe("analyze", two_steps, *at(two_steps, LAST), "-o", tmp_path / "o")
    assert result.exit_code == 2
    assert "give one of them" in result.stderr
    assert "Traceback" not in result.stderr


def test_before_and_after_without_a_name_says_the_differences(two_steps, resprobe, tmp_path):
    out = tmp_path / "two"
    result = resprobe("analyze", *at(two_steps, FIRST, LAST), "-o", out)
    assert result.exit_code == 0, result.stderr
    assert (out / "norm-vs-depth" / "figure-difference.png").exists()
    assert "run step 8 against run step 4: ‖G‖ is" in result.stdout
    lesion = json.loads((out / "lesion" / "verdict.json").read_text(encoding="utf-8"))
    assert lesion["inputs"] == ["run step 8", "run step 4"]
    tree = package.open(two_steps)
    after, before = (
        tree[f"{name}/norms"]["branch_norm"].transpose("sample", "block").values.astype(float)
        for name in (LAST, FIRST)
    )
    with xr.open_dataset(out / "norm-vs-depth" / "dataset.nc", engine="h5netcdf") as data:
        found = data["branch_norm_difference"].sel(contrast="run step 8 − run step 4").values
    assert found == pytest.approx(np.exp(np.log(after / before).mean(axis=0)))


def test_one_checkpoint_is_written_beside_its_run(steps, resprobe):
    result = resprobe("analyze", "lesion", *at(steps, FIRST))
    assert result.exit_code == 0, result.stderr
    folder = steps / "analyses" / FIRST / "lesion"
    assert json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["inputs"] == [
        "run step 4"
    ]
    assert not any(path.suffix != ".h5" for path in (steps / "collected" / FIRST).iterdir())


def test_what_a_checkpoint_lacks_is_collected_at_its_step(steps, resprobe):
    folder, last = at(steps, FIRST, LAST)
    (folder / "lesion.h5").unlink()
    before = (last / "lesion.h5").stat().st_mtime_ns
    said = resprobe("analyze", folder).stdout
    assert (
        f"not measured: lesion needs lesion: run `resprobe collect {steps} --checkpoint 4`" in said
    )
    result = resprobe("analyze", "lesion", folder, last, "-o", steps / "two")
    assert result.exit_code == 0, result.stderr
    assert "collecting lesion_correct first" in result.stderr
    assert (folder / "lesion.h5").exists()
    assert (last / "lesion.h5").stat().st_mtime_ns == before


def test_a_checkpoint_of_which_nothing_was_collected_names_the_command(steps, resprobe):
    (folder,) = at(steps, FIRST)
    shutil.rmtree(folder)
    for words in (["lesion", folder], [folder]):
        result = resprobe("analyze", *words)
        assert result.exit_code == 2
        assert f"run `resprobe collect {steps} --checkpoint 4` first" in result.stderr


def test_other_commands_take_a_checkpoint(steps, resprobe, tmp_path):
    (folder,) = at(steps, FIRST)
    shown = json.loads(resprobe("inspect", folder, "--json").stdout)
    assert {group["group"] for group in shown["groups"]} == {"/influence", "/lesion", "/norms"}
    result = resprobe("check", folder)
    assert result.exit_code == 0
    assert "3 files checked" in result.stdout
    lone = tmp_path / "before.h5"
    assert resprobe("export", folder, "-o", lone).exit_code == 0
    assert resprobe("check", lone).exit_code == 0
    assert [given.label for given in described(lone, *at(steps, LAST))] == [
        "run step 8",
        "before step 4",
    ]


def test_a_checkpoint_measured_on_other_weights_is_a_violation(steps, resprobe):
    (folder,) = at(steps, FIRST)
    weights = steps / "checkpoints"
    shutil.copy(weights / f"{LAST}.safetensors", weights / f"{FIRST}.safetensors")
    result = resprobe("check", folder)
    assert result.exit_code == 1
    assert "other weights than those of step-00000004" in result.stdout


def test_files_of_one_name_are_told_apart_by_their_folders(trained, weights_of, resprobe, tmp_path):
    """Before and after fine-tuning: equal models, other weights, no recipe."""
    paths = []
    for name, step in (("before", FIRST), ("after", LAST)):
        words = weights_of(trained)
        place = words.index("--weights") + 1
        words[place] = trained / "checkpoints" / f"{step}.safetensors"
        paths.append(tmp_path / name / "net.h5")
        paths[-1].parent.mkdir()
        options = ["--quantity", "branch_norm", "--samples", 20]
        result = resprobe("collect", *words, *options, "-o", paths[-1], "--quiet")
        assert result.exit_code == 0, result.stderr
    result = resprobe("analyze", *reversed(paths), "-o", tmp_path / "o")
    assert result.exit_code == 0, result.stderr
    written = tmp_path / "o" / "norm-vs-depth" / "dataset.nc"
    with xr.open_dataset(written, engine="h5netcdf") as data:
        assert list(data["contrast"].values) == ["after/net − before/net"]
