"""The contract of `resprobe collect RUN`."""

from __future__ import annotations

import json

import numpy as np
import pytest

import resprobe as package
from resprobe import checkpoints

LAST = "step-00000008"
# What the preset `standard` measures.
FAMILIES = {"norms", "influence", "layer-cushion", "lesion", "jacobian"}


def family(run, name, step=LAST):
    tree = package.open(run / "collected" / step / f"{name}.h5")
    data = tree[name].to_dataset().load()
    data.attrs["root"] = tree.attrs
    tree.close()
    return data


def test_the_families_of_the_preset_are_measured_of_the_last_checkpoint_by_default(run, resprobe):
    result = resprobe("collect", run, "--json", "--quiet")
    done = json.loads(result.stdout)["collected"]
    assert {item["family"] for item in done} == FAMILIES
    files = {path.relative_to(run).as_posix() for path in run.rglob("*.h5")}
    assert files == {"training.h5", *(f"collected/{LAST}/{name}.h5" for name in FAMILIES)}
    assert not list(run.rglob("*.partial"))
    again = json.loads(resprobe("collect", run, "--json", "--quiet").stdout)["collected"]
    assert [item["kept"] for item in again] == [True] * len(FAMILIES)


def test_the_test_error_is_the_trainers(collected):
    info = checkpoints.read_info(collected, 8)
    for name in ("norms", "lesion"):
        assert float(family(collected, name)["test_error"]) == info["metrics"]["test_error"]
    recorded = package.open(collected)["training/epoch"]["test_error"].values[-1]
    assert recorded == info["metrics"]["test_error"]


def test_totals_follow_from_the_rows(collected):
    norms, lesion = family(collected, "norms"), family(collected, "lesion")
    assert float(norms["test_error"]) == 1 - norms["correct"].mean()
    by_class = 1 - norms["correct"].astype(float).groupby(norms["label"]).mean()
    np.testing.assert_allclose(norms["class_error"].values, by_class.values, rtol=1e-12)
    np.testing.assert_array_equal(norms["margin"] > 0, norms["correct"] == 1)
    dropped = 1 - lesion["lesion_correct"].astype(float).mean("sample")
    np.testing.assert_allclose(lesion["lesion_error"].values, dropped.values, rtol=1e-12)
    np.testing.assert_array_equal(norms["correct"], lesion["correct"])


def test_provenance_says_where_the_numbers_come_from(collected):
    root = family(collected, "norms").attrs["root"]
    assert root["checkpoint_step"] == 8
    assert root["seed"] == 0
    assert root["batch_norm_mode"] == "eval"
    for name in ("weights_sha256", "data_fingerprint", "settings", "self_test", "command"):
        assert root[name]


def test_what_is_there_with_equal_settings_is_kept_and_said_so(
    measured, resprobe, asked, tree_hash
):
    before = tree_hash(measured)
    result = resprobe("collect", measured, *asked, "--json", "--quiet")
    assert result.exit_code == 0
    done = json.loads(result.stdout)["collected"]
    assert [item["kept"] for item in done] == [True, True, True]
    assert tree_hash(measured) == before
    said = resprobe("collect", measured, *asked).stdout
    assert "norms kept as it was measured before, on " in said


def test_other_settings_are_refused_unless_they_may_overwrite(measured, resprobe, tree_hash):
    before = tree_hash(measured)
    result = resprobe("collect", measured, "--samples", 50, "--quiet")
    assert result.exit_code == 2
    assert ".h5 was measured with other settings: on 500 samples where 50 are" in result.stderr
    assert tree_hash(measured) == before
    assert resprobe("collect", measured, "--samples", 50, "--overwrite").exit_code == 0
    assert family(measured, "norms").sizes["sample"] == 50
    assert family(measured, "lesion").sizes["sample"] == 50


def test_a_plus_adds_a_family_and_leaves_the_others_alone(run, resprobe):
    assert resprobe("collect", run, "--preset", "economy", "--samples", 40).exit_code == 0
    folder = run / "collected" / LAST
    before = (folder / "norms.h5").read_bytes()
    assert not (folder / "lesion.h5").exists()
    words = ["--preset", "economy", "--quantity", "+lesion_error", "--samples", 40]
    assert resprobe("collect", run, *words).exit_code == 0
    assert (folder / "norms.h5").read_bytes() == before
    assert family(run, "lesion").sizes["sample"] == 40


def test_a_plus_does_not_need_the_settings_of_the_families_that_are_there(measured, resprobe):
    (measured / "collected" / LAST / "lesion.h5").unlink()
    before = (measured / "collected" / LAST / "norms.h5").read_bytes()
    result = resprobe("collect", measured, "--quantity", "+lesion_error", "--samples", 30)
    assert result.exit_code == 0, result.stderr
    assert family(measured, "lesion").sizes["sample"] == 30
    assert (measured / "collected" / LAST / "norms.h5").read_bytes() == before


def test_a_name_alone_measures_only_its_family(run, resprobe):
    assert resprobe("collect", run, "--quantity", "lesion_loss", "--samples", 20).exit_code == 0
    assert [path.name for path in (run / "collected" / LAST).glob("*.h5")] == ["lesion.h5"]


def test_samples_are_stratified_nested_and_named_by_their_index(run, resprobe):
    drawn = []
    for count in (20, 100):
        words = ["--quantity", "margin", "--samples", count, "--overwrite"]
        assert resprobe("collect", run, *words).exit_code == 0
        data = family(run, "norms")
        drawn.append(data["sample"].values)
        counts = np.bincount(data["label"].values, minlength=10)
        assert np.abs(counts - count / 10).max() <= 1
        assert (np.diff(drawn[-1]) > 0).all()
    assert set(drawn[0]) < set(drawn[1])


def test_another_sample_seed_draws_other_samples(run, resprobe):
    words = ["--quantity", "margin", "--samples", 50, "--overwrite"]
    drawn = []
    for seed in (0, 1):
        assert resprobe("collect", run, *words, "--sample-seed", seed).exit_code == 0
        drawn.append(set(family(run, "norms")["sample"].values))
    assert drawn[0] != drawn[1]


def test_given_indices_replace_the_draw_and_agree_with_the_whole(run, collected, resprobe):
    words = ["--quantity", "margin", "--sample-indices", "7,499,0,7"]
    assert resprobe("collect", run, *words).exit_code == 0
    some, whole = family(run, "norms"), family(collected, "norms")
    assert list(some["sample"].values) == [0, 7, 499]
    # a batch of another size may be summed in another order: a few units of float32 rounding
    np.testing.assert_allclose(
        some["branch_norm"], whole["branch_norm"].sel(sample=[0, 7, 499]), rtol=1e-5
    )
    np.testing.assert_array_equal(some["label"], whole["label"].sel(sample=[0, 7, 499]))


def test_an_estimate_is_printed_and_nothing_is_written(run, resprobe, tree_hash):
    before = tree_hash(run)
    result = resprobe("collect", run, "--estimate")
    assert result.exit_code == 0
    assert "norms: 500 samples, about" in result.stdout
    assert "lesion: 500 samples, about" in result.stdout
    document = json.loads(resprobe("collect", run, "--estimate", "--json").stdout)
    assert {item["family"] for item in document} == FAMILIES
    assert all(item["seconds"] > 0 and item["memory_mb"] > 0 for item in document)
    assert tree_hash(run) == before


def test_every_checkpoint_the_best_or_one_of_a_step_can_be_chosen(run, resprobe):
    quick = ["--quantity", "margin", "--samples", 10]
    errors = {step: checkpoints.read_info(run, step)["metrics"]["test_error"] for step in (4, 8)}
    best = min(errors, key=lambda step: (errors[step], step))
    folder = run / "collected"
    assert resprobe("collect", run, *quick, "--checkpoint", "best").exit_code == 0
    assert [path.name for path in folder.iterdir()] == [f"step-{best:08d}"]
    assert resprobe("collect", run, *quick, "--checkpoint", "4").exit_code == 0
    assert (folder / "step-00000004" / "norms.h5").exists()
    assert resprobe("collect", run, *quick, "--checkpoint", "all").exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000004", "step-00000008"]
    assert family(run, "norms", "step-00000004").attrs["root"]["checkpoint_step"] == 4


def test_a_step_that_was_not_kept_lists_those_that_were(run, resprobe):
    result = resprobe("collect", run, "--checkpoint", "5")
    assert result.exit_code == 2
    assert "no checkpoint of step 5; it holds 4, 8" in result.stderr


class StoppedError(Exception):
    """Ends a collection in its middle, as a signal would."""


@pytest.mark.parametrize("end", ["exception", "kill"])
def test_an_interrupted_collection_goes_on_to_the_same_bits(
    run, collected, resprobe, monkeypatch, end
):
    from resprobe.store.writer import Writer

    append, calls = Writer.append, []

    def append_once(self, group, rows):
        if calls:
            raise StoppedError
        calls.append(group)
        append(self, group, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "append", append_once)
        if end == "kill":  # nothing is tidied up; what is open is flushed already
            patch.setattr(
                Writer, "close", lambda self, status: (self._file.close(), self._disk.close())
            )
        with pytest.raises(StoppedError):
            resprobe("collect", run, "--quantity", "lesion_error", "--quiet")
    folder = run / "collected" / LAST
    assert [path.name for path in folder.glob("*.h5*")] == ["lesion.h5.partial"]
    with package.open(folder / "lesion.h5.partial") as tree:
        assert tree["lesion"].sizes["sample"] == 250
        expected = "recording" if end == "kill" else "interrupted"
        assert tree["lesion"].attrs["status"] == expected

    rows = []
    with monkeypatch.context() as patch:
        patch.setattr(
            Writer, "append", lambda self, g, r: (rows.append(len(r["sample"])), append(self, g, r))
        )
        assert resprobe("collect", run, "--quantity", "lesion_error").exit_code == 0
    assert rows == [250], "what was committed is not measured again"
    assert not list(folder.glob("*.partial"))
    first, second = family(run, "lesion"), family(collected, "lesion")
    for name in second.variables:
        assert first[name].values.tobytes() == second[name].values.tobytes(), name


def test_ctrl_c_while_committed_rows_are_read_back_closes_the_file_and_is_what_is_told(
    run, resprobe, monkeypatch
):
    """Also where the disk is full meanwhile."""
    from resprobe.errors import DiskFullError
    from resprobe.store.writer import Writer

    append, close, ends = Writer.append, Writer.close, []

    def stop(self, group, *_):
        if self.committed(group):
            raise StoppedError
        append(self, group, *_)

    def full(self, status):
        close(self, status)
        ends.append(status)
        raise DiskFullError("no room")

    monkeypatch.setattr(Writer, "append", stop)
    with pytest.raises(StoppedError):
        resprobe("collect", run, "--quantity", "lesion_error", "--quiet")
    monkeypatch.setattr(Writer, "read_rows", stop)
    monkeypatch.setattr(Writer, "close", full)
    with pytest.raises(StoppedError):
        resprobe("collect", run, "--quantity", "lesion_error", "--quiet")
    assert ends == ["interrupted"]


def test_a_partial_file_of_other_settings_is_begun_anew(run, collected, resprobe):
    folder = run / "collected" / LAST
    folder.mkdir(parents=True)
    (folder / "norms.h5.partial").write_bytes(b"cut off")
    assert resprobe("collect", run, "--quantity", "margin").exit_code == 0
    assert family(run, "norms").drop_attrs().equals(family(collected, "norms").drop_attrs())


def test_progress_goes_to_stderr_and_quiet_silences_it(run, resprobe):
    words = ["collect", run, "--quantity", "margin", "--samples", 10]
    loud = resprobe(*words)
    assert "measuring" in loud.stderr
    assert loud.stdout.splitlines()[-1] == f"next: resprobe analyze {run}"
    assert resprobe(*words, "--quiet").stderr == ""


@pytest.mark.parametrize(
    "words", [["--samples", 0], ["--sample-indices", 500], ["--samples", 50], ["--device", "tpu9"]]
)
def test_measuring_is_announced_only_when_everything_is_accepted(measured, resprobe, words):
    result = resprobe("collect", measured, *words)
    assert result.exit_code == 2
    assert f"measuring {measured}" not in result.stderr


def test_nothing_is_measured_where_one_family_is_refused(measured, resprobe):
    (measured / "collected" / LAST / "lesion.h5").unlink()
    result = resprobe("collect", measured, "--samples", 50)
    assert result.exit_code == 2
    assert "(model, weights, data, samples or dtype;" in result.stderr
    assert not (measured / "collected" / LAST / "lesion.h5").exists()


def test_the_same_weights_in_another_model_are_other_settings(measured, resprobe):
    recipe = measured / "recipe.toml"
    text = recipe.read_text(encoding="utf-8")
    assert "\nh = 1.0\n" in text
    recipe.write_text(text.replace("\nh = 1.0\n", "\nh = 0.1\n"), encoding="utf-8")
    result = resprobe("collect", measured)
    assert result.exit_code == 2
    assert "other settings (model," in result.stderr
