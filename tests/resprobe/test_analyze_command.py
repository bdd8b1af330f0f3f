"""The contract of `resprobe analyze`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import xarray as xr

FIRST, LAST = "step-00000004", "step-00000008"


def written(folder: Path) -> None:
    """Assert that a folder holds everything that an analysis writes."""
    names = {path.name for path in folder.iterdir()}
    assert {"dataset.nc", "verdict.json", "summary.txt"} <= names
    drawn = {name.removesuffix(".svg") for name in names if name.startswith("figure-")}
    for name in {Path(name).stem for name in drawn}:
        assert f"{name}.png" in names
        assert f"{name}.svg" in names
    assert json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["analysis"]
    with xr.open_dataset(folder / "dataset.nc", engine="h5netcdf") as dataset:
        dataset.load()
        assert dataset.variables
    assert (folder / "summary.txt").read_text(encoding="utf-8").strip()


def other_seed(measured: Path, folder: Path) -> Path:
    """A copy that passes for a run of another seed."""
    other = Path(shutil.copytree(measured, folder / "other"))
    text = (other / "recipe.toml").read_text(encoding="utf-8")
    assert "\nseed = 0\n" in text
    (other / "recipe.toml").write_text(
        text.replace("\nseed = 0\n", "\nseed = 1\n"), encoding="utf-8"
    )
    return other


def test_one_run_is_analyzed_into_its_own_directory(measured, resprobe):
    result = resprobe("analyze", "lesion", measured)
    assert result.exit_code == 0, result.stderr
    folder = measured / "analyses" / "lesion"
    written(folder)
    assert str(folder) in result.stdout
    assert (folder / "summary.txt").read_text(encoding="utf-8").strip() in result.stdout


def test_without_a_name_every_analysis_is_run_and_what_is_missing_is_said_last(measured, resprobe):
    result = resprobe("analyze", measured)
    assert result.exit_code == 0, result.stderr
    written(measured / "analyses" / "lesion")
    assert result.stdout.splitlines()[-1].startswith("not measured: ")


def test_where_nothing_can_be_analyzed_nothing_is_collected_and_the_command_is_named(
    run, resprobe, tree_hash
):
    before = tree_hash(run)
    result = resprobe("analyze", run)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert f"{run} holds only what was recorded in training, which no analysis reads" in line
    assert line.endswith(f"or run `resprobe collect {run}`.")
    assert tree_hash(run) == before


def test_a_family_that_no_analysis_reads_alone_is_told_with_the_command(measured, resprobe):
    (measured / "collected" / LAST / "norms.h5").unlink()
    result = resprobe("analyze", measured)
    assert result.exit_code == 2
    assert f"nothing of {measured} can be analyzed yet: " in result.stderr
    assert result.stderr.strip().endswith(f": run `resprobe collect {measured}`.")


def test_a_file_of_an_earlier_checkpoint_names_its_step(measured, resprobe):
    early = Path(shutil.copytree(measured / "collected" / LAST, measured / "collected" / FIRST))
    (early / "lesion.h5").unlink()
    result = resprobe("analyze", "lesion", early / "norms.h5")
    assert result.exit_code == 2
    command = f"run `resprobe collect {measured} --checkpoint 4`, then `resprobe analyze {early}`."
    assert command in result.stderr


def test_a_named_analysis_of_a_run_collects_what_it_lacks(measured, resprobe):
    shutil.rmtree(measured / "collected")
    result = resprobe("analyze", "lesion", measured)
    assert result.exit_code == 0, result.stderr
    assert "lacks what" in result.stderr
    assert (measured / "collected" / LAST / "lesion.h5").exists()
    written(measured / "analyses" / "lesion")


def test_what_is_there_is_not_collected_again(measured, resprobe):
    (measured / "collected" / LAST / "lesion.h5").unlink()
    before = (measured / "collected" / LAST / "norms.h5").stat().st_mtime_ns
    result = resprobe("analyze", "lesion", measured, "--quiet")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert (measured / "collected" / LAST / "norms.h5").stat().st_mtime_ns == before


def test_a_lone_file_that_lacks_data_names_the_command(measured, resprobe, tmp_path):
    lone = tmp_path / "norms.h5"
    shutil.copy(measured / "collected" / LAST / "norms.h5", lone)
    result = resprobe("analyze", "lesion", lone)
    assert result.exit_code == 2
    assert "lacks lesion" in result.stderr
    assert "--quantity +lesion_" in result.stderr
    assert f"-o {lone}" in result.stderr


def test_a_lone_file_is_analyzed_beside_itself(trained, resprobe, weights_of, tmp_path):
    lone = tmp_path / "net.h5"
    words = [*weights_of(trained), "--samples", 50, "-o", lone, "--quiet"]
    assert resprobe("collect", *words).exit_code == 0
    assert resprobe("analyze", "lesion", lone).exit_code == 0
    written(tmp_path / "net.analyses" / "lesion")


def test_several_inputs_are_written_to_the_output_or_to_the_name(
    measured, resprobe, tmp_path, monkeypatch
):
    other = other_seed(measured, tmp_path)
    assert resprobe("analyze", "lesion", measured, other, "-o", tmp_path / "out").exit_code == 0
    written(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    assert resprobe("analyze", "lesion", measured, other).exit_code == 0
    written(tmp_path / "lesion")


def test_several_inputs_without_a_name_are_written_by_analysis(measured, resprobe, tmp_path):
    other = other_seed(measured, tmp_path)
    result = resprobe("analyze", measured, other, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    written(tmp_path / "out" / "lesion")


def test_json_is_one_document_on_stdout(measured, resprobe):
    result = resprobe("analyze", measured, "--json")
    document = json.loads(result.stdout)
    (lesion,) = document["analyses"]
    assert lesion["path"] == str(measured / "analyses" / "lesion")
    assert lesion["verdict"]["analysis"] == "lesion"
    assert lesion["summary"]
    told = {sentence.split()[0]: sentence for sentence in document["not_measured"]}
    for name, families in (
        ("cushions", "layer-cushion"),
        ("noise-stability", "layer-cushion and weight-noise"),
        ("stability", "jacobian"),
        ("spans", "lesion-span"),
    ):
        assert told[name].startswith(f"{name} needs {families}: run `resprobe collect")


def test_a_second_analysis_leaves_no_figure_of_the_first(measured, resprobe):
    folder = measured / "analyses" / "lesion"
    assert resprobe("analyze", "lesion", measured).exit_code == 0
    (folder / "figure-old.svg").touch()
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    assert resprobe("analyze", "lesion", measured).exit_code == 0
    assert not (folder / "figure-old.svg").exists()
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_path_named_as_an_analysis_is_taken_as_a_path_when_written_so(
    measured, resprobe, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    measured.rename(tmp_path / "lesion")
    assert resprobe("analyze", "lesion").exit_code == 2
    assert resprobe("analyze", "lesion", "./lesion").exit_code == 0
    assert resprobe("analyze", "./lesion").exit_code == 0


def test_an_unknown_first_word_lists_analyses_and_near_names(measured, resprobe):
    result = resprobe("analyze", "leson", measured)
    assert result.exit_code == 2
    assert "did you mean lesion" in result.stderr
    assert "no such path exists" in result.stderr


def test_a_place_that_can_not_be_written_is_bad_input(measured, resprobe):
    blocked = measured / "analyses"
    blocked.write_text("a file in the way", encoding="utf-8")
    result = resprobe("analyze", "lesion", measured)
    assert result.exit_code == 2
    assert "can't be written" in result.stderr


def test_an_analysis_changes_nothing_that_was_recorded(measured, resprobe, tree_hash):
    folders = ("collected", "checkpoints")
    before = [tree_hash(measured / name) for name in folders]
    recorded = (measured / "training.h5").read_bytes()
    assert resprobe("analyze", measured).exit_code == 0
    assert [tree_hash(measured / name) for name in folders] == before
    assert (measured / "training.h5").read_bytes() == recorded


def test_a_file_of_a_run_names_the_run(measured, resprobe, tmp_path):
    (measured / "collected" / LAST / "lesion.h5").unlink()
    for name in ("training.h5", f"collected/{LAST}/norms.h5"):
        result = resprobe("analyze", "lesion", measured / name)
        assert result.exit_code == 2
        words = f"run `resprobe collect {measured}`, then `resprobe analyze {measured}`"
        assert words in result.stderr
        assert "--model" not in result.stderr
    assert resprobe("export", measured, "-o", tmp_path / "all.h5").exit_code == 0
    result = resprobe("analyze", "lesion", tmp_path / "all.h5")
    assert "the run that it was exported from" in result.stderr


def test_the_results_of_another_analysis_are_not_replaced(measured, resprobe, tmp_path):
    out = tmp_path / "out"
    assert resprobe("analyze", "lesion", measured, "-o", out).exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    result = resprobe("analyze", "norm-vs-depth", measured, "-o", out)
    assert result.exit_code == 2
    assert f"{out} holds what lesion gave; give norm-vs-depth another -o." in result.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
