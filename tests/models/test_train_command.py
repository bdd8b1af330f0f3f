"""What a person sees of training: progress and the command."""

import json
import subprocess
import sys
import tomllib

import pytest
from resprobe_models import loop
from resprobe_models.progress import Lines, LiveBar, Quiet, make_progress
from resprobe_models.train import train

from resprobe.errors import InputError


class TestProgress:
    def test_the_right_one_is_chosen(self, capsys):
        assert type(make_progress(quiet=True)) is Quiet
        assert type(make_progress()) is Lines

    def test_lines_go_to_the_stream_and_nothing_else(self, tiny, tmp_path, capsys):
        train(tiny(), tmp_path / "run", progress=make_progress())
        out, err = capsys.readouterr()
        assert out == ""
        assert "epoch 2/2" in err

    def test_the_live_bar_shows_figures_and_leaves_the_terminal(self, tiny, tmp_path, monkeypatch):
        import io

        monkeypatch.setattr(loop, "LOOK_SECONDS", 0.0)
        stream = io.StringIO()
        stream.isatty = lambda: True
        bar = make_progress(stream=stream)
        assert isinstance(bar, LiveBar)
        train(tiny(), tmp_path / "run", progress=bar)
        assert "images/s" in stream.getvalue()
        assert "epoch 2/2" in stream.getvalue()


class TestCommand:
    @pytest.fixture
    def invoke(self):
        from click.testing import CliRunner
        from resprobe_models.commands_train import train as command

        def run(*arguments):
            return CliRunner().invoke(command, [str(item) for item in arguments])

        return run

    small = (
        "--set", "train.epochs=1", "--set", "data.subset=64", "--set", "record.every=0",
        "--set", "model.depth=8",
    )  # fmt: skip

    def test_it_prints_the_path_the_accuracy_and_the_next_command(self, invoke, tmp_path):
        run = tmp_path / "r"
        result = invoke("resnet-20-digits", "-o", run, *self.small, "--seed", 2, "--quiet")
        assert result.exit_code == 0
        assert f"{run}: finished" in result.stdout
        assert "test accuracy 0." in result.stdout
        assert f"next: resprobe collect {run}" in result.stdout
        assert result.stderr == ""
        assert tomllib.loads((run / "recipe.toml").read_text())["train"]["seed"] == 2

    def test_after_a_pair_comes_its_analysis(self, invoke, tmp_path):
        run = tmp_path / "r"
        pair = ("--set", "pair.network=equivalent", "--set", "record.every=1")
        words = ("simplified-resnet-20-digits", "-o", run, *self.small, *pair, "--quiet")
        result = invoke(*words)
        assert result.exit_code == 0
        assert f"next: resprobe analyze equivalence {run}" in result.stdout

    def test_a_dry_run_prints_the_recipe_and_writes_nothing(self, invoke, tmp_path):
        words = ("resnet-20-digits", "-o", tmp_path / "r", *self.small, "--dry-run")
        tables = json.loads(invoke(*words, "--json").stdout)
        assert tables["model"]["depth"] == 8
        assert tomllib.loads(invoke(*words).stdout) == tables
        assert not (tmp_path / "r").exists()
        assert invoke(*words, "--set", "train.epoch=1").exit_code != 0

    def test_json_is_one_document_and_alone_on_stdout(self, invoke, tmp_path):
        result = invoke(
            "resnet-20-digits", "-o", tmp_path / "r", *self.small, "--json",
            "--data-dir", tmp_path, "--device", "cpu",
        )  # fmt: skip
        document = json.loads(result.stdout)
        assert document["status"] == "finished"
        assert document["step"] == 1
        assert 0 <= document["metrics"]["test_error"] <= 1
        assert "epoch 1/1" in result.stderr
        recipe = tomllib.loads((tmp_path / "r" / "recipe.toml").read_text())
        assert recipe["data"]["dir"] == str(tmp_path)
        assert recipe["train"]["device"] == "cpu"

    def test_divergence_is_an_error_of_exit_code_1(self, invoke, tmp_path):
        from resprobe.errors import DivergedError

        result = invoke(
            "resnet-20-digits", "-o", tmp_path / "r", *self.small,
            "--set", "schedule.learning_rate=1e30", "--set", "model.batch_norm=false",
        )  # fmt: skip
        assert isinstance(result.exception, DivergedError)
        assert result.exception.exit_code == 1

    @pytest.mark.parametrize(
        "arguments",
        [
            ["resnet-20-digit"],
            ["absent.toml"],
            ["resnet-20-cifar10"],
            ["resnet-20-digits", "--set", "train.epochs=-1"],
            ["resnet-20-digits", "--seed", "-1"],
            ["resnet-20-digits", "--resume"],
        ],
    )
    def test_bad_input_is_an_input_error_and_leaves_nothing(self, invoke, tmp_path, arguments):
        result = invoke(*arguments, "-o", tmp_path / "r")
        assert isinstance(result.exception, InputError)
        assert not (tmp_path / "r").exists()

    def test_help_has_an_example_and_needs_no_torch(self):
        code = (
            "import sys\nfrom resprobe_models.commands_train import train\n"
            "import resprobe_models.architectures, resprobe_models.datasets\n"
            "import resprobe_models.recipes, resprobe_models.cli\n"
            "try:\n    train(['--help'])\nexcept SystemExit:\n    pass\n"
            "assert 'torch' not in sys.modules"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert "resprobe train resnet-20-digits -o r20" in done.stdout
