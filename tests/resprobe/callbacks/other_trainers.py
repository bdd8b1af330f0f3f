"""Small networks and data for other people's trainers, and comparisons of what was recorded."""

import numpy as np
import torch
import xarray as xr
from torch import nn

import resprobe
from resprobe import Recorder

SAMPLES, BATCH, RATE = 18, 4, 0.1
# Of blocks and parameters, forward and backward: where all would only take longer.
SOME = ("branch_norm", "branch_gradient_norm", "gradient_norm", "update_norm")


class Block(nn.Module):
    def __init__(self, width, dropout):
        super().__init__()
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return x + self.down(self.dropout(torch.relu(self.up(x))))


def residual_net(dropout=0.0):
    torch.manual_seed(0)
    blocks = (Block(8, dropout), Block(8, dropout))
    return nn.Sequential(nn.Linear(5, 8), *blocks, nn.Linear(8, 3))


def samples():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(SAMPLES, 5, generator=generator)
    return x, torch.randint(0, 3, (SAMPLES,), generator=generator)


def steps_of(path):
    """Give the recorded steps, opened without any code of ours."""
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return tree["training/step"].to_dataset().load()


def epochs_of(path):
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return tree["training/epoch"].to_dataset().load()


def told_of(path):
    """Give what became of the recording, and of repeating its steps."""
    tree = resprobe.open(path)
    told = dict(tree["training/step"].attrs)
    tree.close()
    return told


def assert_same_rows(found, expected, rtol, but=()):
    """Compare all that two recordings hold of their steps."""
    assert list(found["step"].values) == list(expected["step"].values)
    assert set(found.data_vars) == set(expected.data_vars)
    rows = {name for name in expected.data_vars if "step" in expected[name].dims}
    for name in rows - {*but}:
        wanted = np.asarray(expected[name].values, dtype=np.float64)
        # A mean near zero is a difference of larger numbers.
        scale = np.nanmax(np.abs(wanted), initial=0.0) if wanted.size else 0.0
        np.testing.assert_allclose(
            found[name], wanted, rtol=rtol, atol=rtol * scale, err_msg=str(name)
        )


def by_hand(
    model, batches, losses, out, *, accumulation=1, clip=None, scheduler=None, epochs=1, **options
):
    """Train in a loop of one's own with a Recorder; give the losses of the steps.

    Args:
        losses: gives the loss of each micro-batch of a step, whose sum is differentiated.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    schedule = scheduler(optimizer) if scheduler else None
    seen = []
    with Recorder(model, out, optimizer=optimizer, **options) as recorder:
        for _ in range(epochs):
            for start in range(0, len(batches), accumulation):
                optimizer.zero_grad()
                parts = losses(model, batches[start : start + accumulation])
                total = 0.0
                for part in parts:
                    part.backward()
                    total = total + part.detach()
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                recorder.step(total)
                seen.append(float(total))
                if schedule is not None:
                    schedule.step()
    return seen
