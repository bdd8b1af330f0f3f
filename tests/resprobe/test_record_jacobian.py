"""Jacobians that are followed while training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from nets import post_activation

import resprobe
from resprobe.errors import InputError
from resprobe.store.training import JACOBIAN_SCALARS


def train(out, steps=5, lr=0.1, **options):
    """Train a little; give the final state and what was drawn at random afterwards."""
    torch.manual_seed(0)
    net = post_activation(blocks=2)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    x, y = torch.randn(8, 3, 6, 6), torch.arange(8) % 5
    with resprobe.Recorder(net, out, optimizer=optimizer, **options) as recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            recorder.step(loss)
    return net, torch.rand(3)


FIXED = torch.linspace(-1, 1, 2 * 3 * 36).reshape(2, 3, 6, 6)


def test_the_scalars_are_those_of_the_network_at_that_step(tmp_path):
    net, _ = train(tmp_path / "r.h5", jacobian_every=2, jacobian_samples=FIXED)
    tree = xr.open_datatree(tmp_path / "r.h5", engine="h5netcdf")
    found = tree["training/jacobian"].to_dataset().load()
    tree.close()
    assert found["step"].values.tolist() == [1, 3, 5]
    assert found["part"].values.tolist() == ["branch", "block"]
    assert set(JACOBIAN_SCALARS) <= set(found.data_vars)
    net.eval()
    with torch.no_grad():
        inside = net[0](FIXED)
    dense = torch.autograd.functional.jacobian(net[1], inside[1:]).reshape(144, 144)
    last = found.sel(step=5, part="block").isel(sample=1, block=0)
    assert float(last["jacobian_frobenius_norm"]) == pytest.approx(float(dense.norm()), rel=1e-5)
    assert float(last["jacobian_spectral_norm"]) == pytest.approx(
        float(torch.linalg.matrix_norm(dense, 2)), rel=1e-4
    )
    values = torch.linalg.eigvals(dense.double())
    assert float(last["jacobian_spectral_abscissa"]) == pytest.approx(
        float(values.real.max()), rel=1e-3
    )
    assert float(last["jacobian_spectral_radius"]) == pytest.approx(
        float(values.abs().max()), rel=1e-3
    )


def test_training_is_the_same_to_the_bit(tmp_path):
    plain, drawn = train(tmp_path / "plain.h5")
    followed, drawn_too = train(tmp_path / "f.h5", jacobian_every=1, jacobian_samples=FIXED)
    assert torch.equal(drawn, drawn_too)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, followed.state_dict()[name]), name
    assert all(module.training for module in followed.modules())


def test_the_file_passes_its_check(tmp_path):
    from resprobe.store.check_file import examine

    train(tmp_path / "r.h5", jacobian_every=2, jacobian_samples=FIXED)
    assert examine(tmp_path / "r.h5")[0] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"jacobian_every": 2}, "belong together"),
        ({"jacobian_samples": FIXED}, "belong together"),
        ({"jacobian_every": -1, "jacobian_samples": FIXED}, "every 1, 2, 3"),
        ({"jacobian_every": 1, "jacobian_samples": FIXED[:0]}, "holds no sample"),
        ({"jacobian_every": 1, "jacobian_samples": [0, 1]}, "jacobian_samples is list; give a ten"),
        (
            {"jacobian_every": 1, "jacobian_samples": FIXED[:, :2]},
            r"jacobian_samples: the model does not take float32 \(2, 2, 6, 6\)",
        ),
        (
            {"jacobian_every": 1, "jacobian_samples": FIXED * float("nan")},
            "the Jacobians that jacobian_every asks for can't be measured",
        ),
    ],
)
def test_what_can_not_be_followed_is_refused_in_words(tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        train(tmp_path / "r.h5", **options)


def test_a_training_that_diverges_goes_on_and_its_jacobians_are_missing(tmp_path):
    told = []
    options = {"jacobian_every": 2, "jacobian_samples": FIXED, "tell": told.append}
    train(tmp_path / "r.h5", steps=6, lr=1e12, **options)
    tree = resprobe.open(tmp_path / "r.h5")
    assert tree["training/step"].sizes["step"] == 6
    found = tree["training/jacobian"]["jacobian_log_norm"].load()
    assert found["step"].values.tolist() == [1, 3, 5]
    assert bool(found.isel(step=-1).isnull().all())
    assert len(told) == 1
    assert told[0].startswith("warning: the Jacobians at step ")
    assert "can't be measured and are NaN: " in told[0]
