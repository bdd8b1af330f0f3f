"""Rows recorded again after a resume stay, are compared, and a difference is told and stored."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import nn

import resprobe
from resprobe import Recorder
from resprobe.errors import DiskFullError
from resprobe.store import ordered
from resprobe.store.check import check
from resprobe.store.replay import Replay, ReplayingWriter, _relative
from resprobe.store.training import EPOCHS, STEP, training_groups
from resprobe.store.writer import Writer


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return x + self.linear(x).tanh()


class Run:
    """A little training whose state can be kept at a step, and gone on from."""

    def __init__(self, path, *, every=1, epoch=10):
        self.path, self.every, self.epoch = path, every, epoch
        self.told, self.states = [], {}

    def train(self, start, stop, *, status=None, keep=(), spoil=None, **options):
        """Train from a kept step to another; give what the recorder says of its replay."""
        torch.manual_seed(0)
        net = nn.Sequential(Residual(), Residual()).train()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        if start in self.states:
            net.load_state_dict(self.states[start])
        options = {"start_step": start, "tell": self.told.append, **options}
        with Recorder(net, self.path, optimizer=optimizer, every=self.every, **options) as recorder:
            for step in range(start + 1, stop + 1):
                x = torch.randn(3, 4, generator=torch.Generator().manual_seed(step))
                if step == spoil:
                    x = x * (1 + 1e-3)
                optimizer.zero_grad()
                loss = net(x).square().mean()
                loss.backward()
                optimizer.step()
                recorder.step(loss.detach())
                if step % self.epoch == 0:
                    recorder.epoch(train_loss=loss.item(), wall_time=torch.rand(()).item() + stop)
                if step in keep:
                    recorder.flush()
                    self.states[step] = {k: v.clone() for k, v in net.state_dict().items()}
            recorder.status = status
        return recorder.replay

    def read(self):
        tree = resprobe.open(self.path)
        groups = tree["training/step"].to_dataset().load(), tree["training/epoch"].load()
        tree.close()
        return groups[0], groups[1].to_dataset()


def assert_same_rows(first, second):
    for a, b in zip(first.read(), second.read(), strict=True):
        assert a.sizes == b.sizes
        for name in set(a.variables) - {"wall_time"}:
            np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=name)


@pytest.fixture
def whole(tmp_path):
    """The recording of an uninterrupted training of 50 steps."""
    run = Run(tmp_path / "whole.h5")
    run.train(0, 50)
    return run


@pytest.fixture
def broken_off(tmp_path):
    """A training broken off at step 40, with states kept at 0, 15 and 20."""
    run = Run(tmp_path / "run.h5")
    run.train(0, 40, status="interrupted", keep=(15, 20))
    return run


@pytest.mark.parametrize("start", [0, 15, 20])
def test_equal_rows_stay_and_the_file_is_that_of_an_uninterrupted_training(
    broken_off, whole, start
):
    wall_times = broken_off.read()[1]["wall_time"].values
    replay = broken_off.train(start, 50, resume=True)
    assert replay == Replay(compared=40 - start + (4 - start // 10))
    assert broken_off.told == []
    assert_same_rows(broken_off, whole)
    np.testing.assert_array_equal(broken_off.read()[1]["wall_time"].values[:4], wall_times)
    steps = broken_off.read()[0]
    assert steps.attrs["replay_compared"] == 40 - start
    assert steps.attrs["replay_differing"] == 0
    assert steps.attrs["status"] == "finished"
    assert check(broken_off.path).violations == []


def test_a_difference_is_reported_and_stored_and_the_new_rows_take_the_place(broken_off, tmp_path):
    replay = broken_off.train(20, 50, spoil=33)
    assert (replay.compared, replay.differing, replay.first_step) == (22, 9, 33)
    assert 1e-8 < replay.largest_difference <= 2
    assert replay.dropped == 0
    assert len(broken_off.told) == 1
    assert "from step 33 on, training again gave other numbers" in broken_off.told[0]
    steps, epochs = broken_off.read()
    assert list(steps["step"].values) == list(range(1, 51))
    assert steps.attrs["replay_differing"] == 8
    assert steps.attrs["replay_first_step"] == 33
    assert epochs.attrs["replay_differing"] == 1
    assert epochs.attrs["replay_first_step"] == 40
    assert check(broken_off.path).violations == []
    plain = Run(tmp_path / "spoilt.h5")
    plain.train(0, 50, spoil=33)
    assert_same_rows(broken_off, plain)


def test_findings_of_several_resumes_are_added_up(broken_off):
    broken_off.train(20, 30, spoil=25, status="interrupted")
    replay = broken_off.train(15, 50)
    # Rows after step 25 were those of the spoilt training; its end is where the file then ended.
    assert (replay.compared, replay.first_step) == (15 + 2, 25)
    attributes = broken_off.read()[0].attrs
    assert attributes["replay_compared"] == 10 + 15
    assert attributes["replay_first_step"] == 25
    assert attributes["replay_differing"] == 6 + 6


def test_an_end_during_the_replay_takes_no_old_row(broken_off, whole):
    broken_off.train(20, 26, status="interrupted")
    assert list(broken_off.read()[0]["step"].values) == list(range(1, 41))
    replay = broken_off.train(20, 50)
    assert replay.compared == 22
    assert_same_rows(broken_off, whole)


def test_a_training_that_ends_earlier_keeps_no_rows_beyond_its_end(broken_off):
    replay = broken_off.train(20, 30, status="reached_target")
    assert replay.dropped == 10 + 1
    assert list(broken_off.read()[0]["step"].values) == list(range(1, 31))
    assert list(broken_off.read()[1]["epoch"].values) == [1, 2, 3]
    assert "11 rows recorded before were dropped" in broken_off.told[0]


def test_only_recorded_steps_are_compared(tmp_path):
    run, whole = Run(tmp_path / "run.h5", every=3), Run(tmp_path / "whole.h5", every=3)
    run.train(0, 31, status="interrupted", keep=(14,))
    whole.train(0, 50)
    assert run.train(14, 50).compared == 6 + 2
    assert_same_rows(run, whole)


def test_other_steps_recorded_than_before_are_no_difference(tmp_path):
    run = Run(tmp_path / "run.h5", every=3)
    run.train(0, 31, status="interrupted", keep=(15,))
    run.every = 2
    replay = run.train(15, 40)
    assert list(run.read()[0]["step"].values) == [1, 4, 7, 10, 13, *range(17, 41, 2)]
    assert replay.differing == 0
    assert replay.dropped == 6
    assert "6 rows recorded before were dropped" in run.told[0]


def test_a_new_recording_with_resume_is_made_where_there_is_none(tmp_path):
    run = Run(tmp_path / "run.h5")
    assert run.train(0, 5, resume=True) == Replay()
    assert run.read()[0].sizes["step"] == 5
    with pytest.raises(resprobe.errors.InputError, match=r"run\.h5 exists"):
        run.train(0, 5)


def test_steps_that_were_never_recorded_are_told(tmp_path):
    run = Run(tmp_path / "run.h5")
    run.train(0, 20, status="interrupted", keep=(20,))
    run.states[35] = run.states[20]
    run.train(35, 40)
    assert run.told == [
        f"warning: steps 21 to 35 are not in {run.path}: its recording ended before the "
        "checkpoint that training goes on from."
    ]


def test_what_is_flushed_is_in_the_file(tmp_path):
    run = Run(tmp_path / "run.h5")
    flush, seen = Recorder.flush, []

    def looks(self):
        flush(self)
        copy = shutil.copy(run.path, tmp_path / "copy.h5")
        seen.append(resprobe.open(copy)["training/step"].sizes["step"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "flush", looks)
        run.train(0, 20, keep=(3, 17))
    assert seen == [3, 17]


def test_a_disk_too_full_for_the_file_lets_training_go_on(tmp_path, monkeypatch):
    def full(*_):
        raise DiskFullError("no room")

    monkeypatch.setattr("resprobe.store.room.reserve", full)
    run = Run(tmp_path / "run.h5")
    run.train(0, 10, keep=(10,))
    assert run.told == ["Recording stopped, training goes on: no room"]
    assert list(tmp_path.iterdir()) == []
    assert 10 in run.states


def test_a_disk_that_fills_while_recording_lets_training_go_on(tmp_path, monkeypatch):
    run = Run(tmp_path / "run.h5")
    reserve = ordered.reserve

    def full_after_some(path, descriptor, offset, size, what):
        if offset > 200_000:
            raise DiskFullError("no room")
        reserve(path, descriptor, offset, size, what)

    monkeypatch.setattr(ordered, "reserve", full_after_some)
    run.train(0, 600, keep=(600,))
    assert run.told == ["Recording stopped, training goes on: no room"]
    steps = run.read()[0]
    assert steps.attrs["status"] == "stopped_disk_full"
    assert list(steps["step"].values) == list(range(1, steps.sizes["step"] + 1))
    assert 0 < steps.sizes["step"] < 600


def test_relative_differences():
    nan, inf = float("nan"), float("inf")
    old = np.array([1.0, nan, 0.0, nan, inf, inf, -0.0, 2.0])
    new = np.array([1.0, nan, 0.0, 1.0, inf, 1.0, 0.0, 1.0])
    np.testing.assert_array_equal(_relative(old, new), [0, 0, 0, inf, 0, inf, 0, 0.5])
    assert _relative(np.float32([0.1]), np.float64([0.1])) == 0  # as it would be stored
    assert _relative(np.zeros((2, 0)), np.zeros((2, 0))).tolist() == [0, 0]


def test_the_file_is_closed_when_rows_beyond_the_end_can_not_be_dropped(tmp_path, monkeypatch):
    def full(*_):
        raise DiskFullError("no room")

    blocks = resprobe.find_blocks(nn.Sequential(Residual()), torch.zeros(2, 4))
    writer = Writer(tmp_path / "file.h5", training_groups(blocks, ["a"], ["loss"]), {})
    step = np.arange(1, 4)
    writer.append(STEP, {"step": step, "loss": 1.0 * step})
    replaying = ReplayingWriter(writer, {STEP: 0, EPOCHS: 0})
    monkeypatch.setattr(writer, "truncate", full)
    with pytest.raises(DiskFullError):
        replaying.close("finished")
    assert not writer._file
    assert resprobe.open(tmp_path / "file.h5")["training/step"].attrs["status"] == "finished"


def test_the_writer_beneath_may_be_cut_at_any_batch(tmp_path):
    """However rows come in batches, the file ends the same."""
    blocks = resprobe.find_blocks(nn.Sequential(Residual()), torch.zeros(2, 4))
    groups = training_groups(blocks, ["a"], ["loss"])

    def rows(start, stop, other=99):
        step = np.arange(start + 1, stop + 1)
        return {"step": step, "loss": np.where(step >= other, 2.0 * step, step)}

    for batches in ([5, 20], [1, 2, 9, 12, 20], [20], [12, 13, 20]):
        path = tmp_path / f"{len(batches)}-{batches[0]}.h5"
        writer = Writer(path, groups, {}, chunk_rows=4)
        writer.append(STEP, rows(0, 12))
        replaying = ReplayingWriter(writer, {STEP: 0, EPOCHS: 0})
        start = 0
        for stop in batches:
            replaying.append(STEP, rows(start, stop, other=7))
            start = stop
        replaying.close("finished")
        loss = resprobe.open(path)["training/step"]["loss"]
        np.testing.assert_array_equal(loss, rows(0, 20, other=7)["loss"].astype(loss.dtype))
        assert replaying.replay == Replay(12, 6, 7, 0.5)
