"""The run directory: what it holds, and that nothing else is touched."""

import os
import subprocess
import sys
import tomllib

import pytest
from resprobe_models import checkpoint, run_directory
from resprobe_models.train import train

from resprobe import checkpoints
from resprobe.errors import InputError


class TestRunDirectory:
    def test_it_holds_the_resolved_recipe_checkpoints_and_a_log(self, finished):
        names = {path.name for path in finished.iterdir()}
        assert names >= {"recipe.toml", "checkpoints", "log.txt"}
        recipe = tomllib.loads((finished / "recipe.toml").read_text())
        assert recipe["model"]["classes"] == 10
        assert recipe["model"]["reading"] == "B"
        log = (finished / "log.txt").read_text()
        assert "epoch 1/2 train loss" in log
        assert "finished, all epochs done" in log

    def test_one_that_exists_is_not_touched(self, tiny, tmp_path):
        (tmp_path / "thesis.tex").write_text("x")
        for choice, words in (
            ({}, "exists and is not empty"),
            ({"overwrite": True}, "is no run"),
            ({"resume": True}, "no run to resume"),
            ({"resume": True, "overwrite": True}, "exclude each other"),
        ):
            with pytest.raises(InputError, match=words):
                train(tiny(), tmp_path, **choice)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
        with pytest.raises(InputError, match="is a file"):
            train(tiny(), tmp_path / "thesis.tex")

    @pytest.mark.parametrize("name", [".recipe.toml.partial", ".lock", ".lock.held"])
    def test_what_a_kill_left_before_the_recipe_was_there_is_no_run(self, tiny, tmp_path, name):
        (tmp_path / name).write_text("")
        run_directory.refuse_unusable(tmp_path, resume=False, overwrite=False)
        run_directory.write_recipe(tmp_path, tiny())
        with pytest.raises(InputError, match="exists and is not empty"):
            run_directory.refuse_unusable(tmp_path, resume=False, overwrite=False)

    def test_overwriting_deletes_results_and_nothing_else(self, tiny, tmp_path):
        run = tmp_path / "run"
        train(tiny("train.seed=1"), run)
        (run / "collected").mkdir()
        (run / "training.h5").write_text("old")
        (run / "analyses").mkdir()
        (run / "notes.md").write_text("mine")
        train(tiny("train.epochs=1"), run, overwrite=True)
        assert checkpoints.steps(run) == [5]
        names = {path.name for path in run.iterdir()}
        assert "notes.md" in names
        assert not names & {"collected", "analyses", "training.h5"}

    def test_a_place_that_cannot_be_made_is_named(self, tiny, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(InputError, match="cannot be made"):
            train(tiny(), tmp_path / "file" / "run")

    def test_a_disk_that_is_full_on_the_way_stops_no_training(self, tiny, tmp_path, monkeypatch):
        original, failures = checkpoint._write_synced, []

        def full(path, content):
            if "step-00000005" in path.name:
                failures.append(path.name)
                raise OSError(28, "No space left on device")
            original(path, content)

        monkeypatch.setattr(checkpoint, "_write_synced", full)
        outcome = train(tiny("checkpoint.every_epochs=1"), tmp_path / "run")
        assert failures
        assert outcome.status == "finished"
        assert checkpoints.steps(tmp_path / "run") == [10]
        assert "warning: the checkpoint" in (tmp_path / "run" / "log.txt").read_text()

    def test_a_second_trainer_is_refused(self, tiny, tmp_path):
        run = tmp_path / "run"
        run.mkdir()
        code = (
            "import sys, time\nfrom pathlib import Path\n"
            "from resprobe.store.lock import run_lock\n"
            "with run_lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, env=dict(os.environ)
        ) as holder:
            assert holder.stdout.readline().strip() == b"held"
            try:
                with pytest.raises(InputError, match=str(holder.pid)):
                    train(tiny(), run)
            finally:
                holder.kill()
