"""Ctrl-C and SIGTERM: a checkpoint where training stands, and the same bits after a resume."""

import os
import signal
import threading

import numpy as np
import pytest
from click.testing import CliRunner
from resprobe_models import interruption
from resprobe_models.datasets.batches import DeviceData
from resprobe_models.interruption import stop_on_signal
from resprobe_models.train import train

import resprobe
from resprobe import checkpoints
from resprobe.cli.main import resprobe_command
from resprobe.errors import InterruptionError

STEPS = 5  # of an epoch of the tiny recipe


@pytest.fixture(autouse=True)
def heard():
    """Hear SIGINT also where the tests run as a background job, whose shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def signalled(monkeypatch):
    """Send this process a signal while the step counted from 1 is under way."""

    def at(step, *, number=signal.SIGINT, times=1):
        seen, original = [], DeviceData.epoch

        def batches(self, *arguments, **settings):
            for batch in original(self, *arguments, **settings):
                seen.append(1)
                if len(seen) == step:
                    for _ in range(times):
                        os.kill(os.getpid(), number)
                yield batch

        monkeypatch.setattr(DeviceData, "epoch", batches)

    yield at
    monkeypatch.undo()


def recorded(run):
    training = resprobe.open(run)["training"]
    return {
        name: variable.values
        for group in ("step", "epoch")
        for name, variable in training[group].dataset.variables.items()
        if name != "wall_time"
    }


@pytest.fixture
def cut(tmp_path, signalled, monkeypatch):
    """Train into a run until a step is under way, and let the signal stop it there."""
    run = tmp_path / "cut"

    def until(recipe, step, *, number=signal.SIGINT, resume=False):
        signalled(step, number=number)
        with pytest.raises(InterruptionError, match="interrupted after step"):
            train(recipe, run, resume=resume)
        monkeypatch.undo()
        return run

    return until


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    recipe = tiny("record.every=1", "data.augment=crop", "data.pad=2")
    return recipe, run, train(recipe, run)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        (1, signal.SIGTERM),
        (3, signal.SIGINT),
        (STEPS, signal.SIGTERM),
        (STEPS + 1, signal.SIGINT),
        (2 * STEPS - 1, signal.SIGTERM),
    ],
)
def test_a_stopped_run_goes_on_with_the_same_bits(step, number, whole, same_weights, cut):
    recipe, uninterrupted, outcome = whole
    before = [signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)]
    run = cut(recipe, step, number=number)
    assert [signal.getsignal(w) for w in (signal.SIGINT, signal.SIGTERM)] == before
    assert checkpoints.steps(run) == [step]
    assert len(recorded(run)["loss"]) == step
    resumed = train(recipe, run, resume=True)
    assert same_weights(uninterrupted, run)
    for name in ("train_loss", "train_error", "test_loss", "test_error"):
        assert outcome.metrics[name] == resumed.metrics[name]
    expected, found = recorded(uninterrupted), recorded(run)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(values, found[name], err_msg=name)
    # What the interruption left is gone; the run holds what an uninterrupted one does.
    assert checkpoints.steps(run) == [2 * STEPS]


def test_interrupted_again_and_again(same_weights, cut, whole):
    recipe, uninterrupted, _ = whole
    done = 0
    for step in (2, 4, 7, 9):
        run = cut(recipe, step - done, resume=done > 0)
        assert checkpoints.steps(run) == [step]
        done = step
    train(recipe, run, resume=True)
    assert same_weights(uninterrupted, run)


def test_a_checkpoint_that_was_measured_stays(tiny, cut):
    recipe = tiny("checkpoint.every_epochs=1")
    run = cut(recipe, STEPS + 2)
    assert checkpoints.steps(run) == [STEPS, STEPS + 2]
    # It has no test error: the last epoch's is not of its weights.
    assert checkpoints.resolve(run, "best") == STEPS
    assert CliRunner().invoke(
        resprobe_command, ["collect", str(run), "--quantity", "branch_norm", "--samples", "20"]
    ).exit_code == 0  # fmt: skip
    train(recipe, run, resume=True)
    assert checkpoints.steps(run) == [STEPS, STEPS + 2, 2 * STEPS]


def test_a_second_ctrl_c_stops_at_once(tiny, tmp_path, signalled, monkeypatch):
    monkeypatch.setattr(interruption, "ONE_SIGNAL", 0.0)
    signalled(3, times=2)
    with pytest.raises(InterruptionError, match=r"stopped at once; .* at its beginning"):
        train(tiny("record.every=1"), tmp_path / "run")
    assert checkpoints.steps(tmp_path / "run") == []
    assert resprobe.open(tmp_path / "run")["training/step"].attrs["status"] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_twice_through_a_launcher_is_one(number, tiny, tmp_path, signalled):
    signalled(3, number=number, times=2)
    with pytest.raises(InterruptionError, match="interrupted after step 3, "):
        train(tiny(), tmp_path / "run")
    assert checkpoints.steps(tmp_path / "run") == [3]


def test_what_a_shell_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signal() as wish:
            os.kill(os.getpid(), signal.SIGINT)
            assert not wish.to_stop
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_command_says_how_to_go_on_and_exits_1(tmp_path, signalled):
    signalled(2)
    arguments = [
        "train", "resnet-20-digits", "--set", "model.depth=8", "--set", "data.subset=100",
        "-o", str(tmp_path / "run"),
    ]  # fmt: skip
    result = CliRunner().invoke(resprobe_command, arguments)
    assert result.exit_code == 1
    assert "interrupted after step 2" in result.stderr
    assert "--resume goes on from there" in result.stderr
    assert "Traceback" not in result.stderr


def test_other_threads_take_no_signals():
    seen = []

    def work():
        with stop_on_signal() as wish:
            seen.append(wish.to_stop)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
    assert signal.getsignal(signal.SIGINT) is before


class TestInitial:
    def test_the_untrained_net_is_kept_and_resumed_from(
        self, tiny, tmp_path, same_weights, signalled, monkeypatch
    ):
        recipe = tiny("checkpoint.initial=true", "record.every=1")
        train(recipe, tmp_path / "whole")
        assert checkpoints.steps(tmp_path / "whole") == [0, 2 * STEPS]
        monkeypatch.setattr(interruption, "ONE_SIGNAL", 0.0)
        signalled(3, times=2)
        with pytest.raises(InterruptionError, match="at its last checkpoint, step 0"):
            train(recipe, tmp_path / "cut")
        monkeypatch.undo()
        assert checkpoints.steps(tmp_path / "cut") == [0]
        train(recipe, tmp_path / "cut", resume=True)
        assert same_weights(tmp_path / "whole", tmp_path / "cut")
        expected, found = recorded(tmp_path / "whole"), recorded(tmp_path / "cut")
        assert expected.keys() == found.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(values, found[name], err_msg=name)

    def test_it_changes_no_bit_of_the_training(self, tiny, tmp_path, same_weights):
        train(tiny(), tmp_path / "without")
        train(tiny("checkpoint.initial=true"), tmp_path / "with")
        assert same_weights(tmp_path / "without", tmp_path / "with")
