"""`resprobe analyze equivalence` on a trained pair, against its checkpoints read directly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from safetensors.numpy import load_file

from resprobe.cli.main import resprobe_command

SETTINGS = (
    "pair.network=equivalent",
    "train.dtype=float64",
    "train.epochs=2",
    "train.weight_decay=0.01",
    "train.wd_scale=0.5",
    "data.subset=64",
    "data.test_subset=20",
    "model.depth=5",
    "model.width_factor=0.25",
    "checkpoint.initial=true",
    "checkpoint.every_epochs=2",
)
STEPS = 4


def invoke(*arguments: object):
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(resprobe_command, words, prog_name="resprobe")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A residual network and its plain partner after four steps; not to be changed."""
    folder = tmp_path_factory.mktemp("equivalence") / "run"
    chosen = [word for setting in SETTINGS for word in ("--set", setting)]
    invoke("train", "simplified-resnet-20-digits", *chosen, "-o", folder, "--quiet")
    for place in (folder, folder / "partner"):
        words = ["--checkpoint", "all", "--quantity", "weight_mass", "--quiet"]
        invoke("collect", place, *words)
    return folder


@pytest.fixture(scope="module")
def found(run):
    """The dataset and the verdict of the analysis, run without its name."""
    document = json.loads(invoke("analyze", run, "--json").stdout)
    (one,) = document["analyses"]
    assert one["name"] == "equivalence"
    return xr.load_dataset(run / "analyses" / "equivalence" / "dataset.nc"), one["verdict"]


def weights(folder, step):
    return load_file(folder / "checkpoints" / f"step-{step:08d}.safetensors")


def transferred(state, sign):
    """A state with 1 added at, or taken from, the ID entries of the blocks."""
    made = {name: value.copy() for name, value in state.items()}
    for name, value in made.items():
        if name.startswith("stage") and name.endswith("weight"):
            for channel in range(min(value.shape[:2])):
                value[channel, channel, 1, 1] += sign
    return made


def test_the_distance_of_the_weights_is_that_of_the_checkpoints(run, found):
    dataset, _ = found
    one = transferred(weights(run, STEPS), 1)
    other = weights(run / "partner", STEPS)
    farthest = max(np.abs(one[name] - other[name]).max() for name in one)
    largest = max(np.abs(one[name]).max() for name in one)
    last = dataset.isel(network=0).sel(training_step=STEPS)
    assert float(last["weight_distance"]) == farthest
    assert float(last["weight_scale"]) == pytest.approx(largest)
    assert float(dataset["rounding_multiple"][0]) == float(last["weight_multiple"])
    # a sum of n products is off by n roundings at most, in each of the five layers
    most = max(value[0].size for value in one.values())
    assert float(dataset["initial_output_multiple"][0]) <= 5 * most
    assert float(dataset["initial_gradient_multiple"][0]) <= 10 * most


def test_the_penalties_are_those_of_the_checkpoints(run, found):
    dataset, verdict = found
    one = dataset.isel(network=0)
    residual = sum(np.square(value).sum() for value in weights(run, STEPS).values())
    partner = transferred(weights(run / "partner", STEPS), -1)
    plain = sum(np.square(value).sum() for value in partner.values())
    assert float(one["squared_norm"]) == pytest.approx(residual, rel=1e-5)  # norms in float32
    assert float(one["partner_squared_norm"]) == pytest.approx(plain, rel=1e-4)
    loss = float(one["train_loss"][-1])
    assert float(one["cost"]) == pytest.approx(loss + 0.01 * 0.5 / 2 * residual, rel=1e-6)
    (side,) = verdict["findings"]["sides"]
    assert side["started_equal"]
    assert not side["control"]


@pytest.mark.parametrize(("state", "step"), [(0, 0), (1, STEPS)])
def test_table_3_is_that_of_the_transferred_weights(run, found, state, step):
    dataset, _ = found
    made = transferred(weights(run, step), 1)
    kernels = [value for name, value in made.items() if value.ndim == 4]
    every = np.concatenate([value.ravel() for value in kernels])
    table = dataset["weight_table"].isel(network=0, state=state)
    large = np.abs(every)[np.abs(every) >= 0.25].sum()
    ids = np.concatenate(
        [
            value[range(n := min(value.shape[:2])), range(n), 1, 1]
            for name, value in made.items()
            if name.startswith("stage") and value.ndim == 4
        ]
    )
    for name, expected in (
        ("weights", every.size),
        ("mean", every.mean()),
        ("standard deviation", every.std()),
        ("mass", np.abs(every).sum()),
        ("large mass", large),
        ("ID entries", ids.size),
        ("ID share", np.abs(ids).sum() / large),
    ):
        assert float(table.sel(statistic=name)) == pytest.approx(expected, rel=1e-10), name
    own = dataset["partner_weight_table"].isel(network=0, state=state)
    np.testing.assert_allclose(own, table, rtol=1e-9)
