"""Two processes that train one network record what one process with the whole batch records."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import together_jobs as jobs
import torch

import resprobe
from resprobe import Recorder
from resprobe.errors import InputError

OF_BLOCKS = (
    "input_norm",
    "shortcut_norm",
    "branch_norm",
    "branch_shortcut_ratio",
    "branch_shortcut_cosine",
    "branch_gradient_norm",
)
OTHERS = ("loss", "accuracy", "weight_norm", "gradient_norm", "update_norm", "parameter_mean")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Everything that the two processes do; the folder, and what each of them says."""
    folder = tmp_path_factory.mktemp("together")
    program = Path(jobs.__file__)
    done = subprocess.run(
        [sys.executable, str(program), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, [json.loads((folder / f"found-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same trainings in one process, with the whole batch."""
    folder = tmp_path_factory.mktemp("alone")
    jobs.train(jobs.network(), folder / "plain")
    jobs.train(jobs.network(), folder / "passes", passes=2, every=2)
    return folder


def steps_of(run):
    tree = resprobe.open(run / "training.h5")
    steps = tree["training/step"].to_dataset().load()
    tree.close()
    return steps


def assert_equal(found, expected, names=OF_BLOCKS):
    """Compare what is computed in float64 and stored as float32.

    The standard deviation comes from a sum of squares, so it is good to 2e-8 of the mean.
    """
    assert list(found["step"].values) == list(expected["step"].values)
    for name in (*names, *(f"{name}_std" for name in names if name in OF_BLOCKS)):
        largest = float(np.abs(expected[name.removesuffix("_std")]).max())
        assert float(np.abs(expected[name]).max()) > 1e-3 * largest, name
        np.testing.assert_allclose(
            found[name], expected[name], rtol=2e-7, atol=1e-7 * largest, err_msg=name
        )


def test_a_batch_in_two_processes_is_recorded_as_in_one(both, alone):
    found = steps_of(both[0] / "plain")
    assert_equal(found, steps_of(alone / "plain"), (*OF_BLOCKS, *OTHERS))
    assert resprobe.open(both[0] / "plain").attrs["block_statistics"] == (
        "of the whole batch of 2 processes"
    )


def test_so_is_one_in_several_passes(both, alone):
    """Every second step is recorded; gradients meet in the last pass only."""
    found, expected = (steps_of(folder / "passes") for folder in (both[0], alone))
    assert list(found["step"].values) == [1, 3, 5]
    assert_equal(found, expected, (*OF_BLOCKS, *OTHERS))
    assert_equal(found, steps_of(alone / "plain").sel(step=[1, 3, 5]), (*OF_BLOCKS, *OTHERS))


def test_shares_of_different_size_count_by_their_samples(both, alone):
    found = steps_of(both[0] / "uneven")
    names = tuple(name for name in (*OF_BLOCKS, *OTHERS) if name != "accuracy")
    assert_equal(found, steps_of(alone / "plain"), names)
    np.testing.assert_allclose(found["accuracy"], 4 / 12, rtol=1e-7)


def test_a_process_may_have_no_sample_of_a_batch_not_even_of_the_first(both):
    """The others' mean is theirs alone; the gradient is that of the processes' mean loss."""
    found = steps_of(both[0] / "late")
    net = jobs.network()
    for place, (x, _) in enumerate(jobs.batches()):
        norms = x.norm(dim=1)
        assert float(found["input_norm"][place, 0]) == pytest.approx(float(norms.mean()), rel=1e-6)
        std = float(norms.std(correction=0))
        assert float(found["input_norm_std"][place, 0]) == pytest.approx(std, rel=1e-6)
        assert found["branch_norm"].shape[1] == len(net) - 1


def test_the_first_process_measures_jacobians_while_the_other_waits(both, tmp_path):
    tree = resprobe.open(both[0] / "jacobians" / "training.h5")
    found = tree["training/jacobian"].to_dataset().load()
    x = next(jobs.batches())[0][:2]
    jobs.train(jobs.network(), tmp_path, jacobian_every=4, jacobian_samples=x)
    expected = resprobe.open(tmp_path / "training.h5")["training/jacobian"].to_dataset()
    assert list(found["step"].values) == [1, 5]
    name = "jacobian_frobenius_norm"
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-9)


def test_a_recording_is_gone_on_with(both, alone):
    found = steps_of(both[0] / "resumed")
    assert_equal(found, steps_of(alone / "plain"))
    assert (found.attrs["replay_compared"], found.attrs["replay_differing"]) == (5, 0)


def test_one_file_is_written_and_one_process_tells(both):
    folder, (first, second) = both
    assert sorted(file.name for file in (folder / "plain").iterdir()) == ["training.h5"]
    said = "Recording stopped, training goes on: no room"
    assert first["full"] == [[[said], True]] * 2
    assert second["full"] == [[[], True]] * 2, "it measures no longer, either"
    assert first["plain"] == second["plain"] == []


def test_training_goes_on_in_both_when_the_disk_is_full(both):
    """At the file's beginning, and after 3 steps; no process waits for the other."""
    assert not steps_of(both[0] / "full-0").sizes["step"]
    assert steps_of(both[0] / "full-3").attrs["status"] == "stopped_disk_full"


def test_what_one_process_can_not_do_ends_in_a_sentence_in_both(both):
    first, second = both[1]
    assert "exists; choose another place" in first["exists"]
    assert "the first process can't record" in second["exists"]
    for found in (first, second):
        for other in ("other", "uneven every"):
            assert "the processes do not record the same blocks and quantities" in found[other]
        assert "or distributed=True in every process" in found["unwrapped"]
        assert "the model is sharded (FSDPModule)" in found["sharded"]


def test_nobody_waits_in_the_recorder_for_a_process_that_raised(both):
    first, second = both[1]
    assert second["failed"] == "planted"
    assert first["failed"].startswith("lost: ")  # by the gradients' own sum
    steps = steps_of(both[0] / "failed")
    assert list(steps["step"].values) == [1, 2]
    assert steps.attrs["status"] == "interrupted"


def test_processes_that_are_not_there_are_not_asked(tmp_path):
    with pytest.raises(InputError, match="there is no process group"):
        Recorder(jobs.network(), tmp_path, distributed=True)
    with pytest.raises(InputError, match="DataParallel, which runs copies"):
        Recorder(torch.nn.DataParallel(jobs.network()), tmp_path)
