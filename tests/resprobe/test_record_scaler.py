"""Mixed precision with a gradient scaler: gradients are recorded without its scale."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_record import NoWaiting
from test_record_edges import rows, stack

from resprobe import Recorder

STEPS = 6
NAMES = (
    "branch_norm", "branch_gradient_norm", "weight_norm", "gradient_norm", "update_norm",
    "parameter_gradient_norm", "parameter_update_norm",
)  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train(tmp_path_factory.mktemp("plain"))


def train(out, scaler=None, *, passes=1, autocast=False, break_at=None):
    """Train a few steps; beyond the first, no pass and no recording may wait for the device."""
    net = stack()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(3)
    with Recorder(net, out, optimizer=optimizer, scaler=scaler, quantities=NAMES) as recorder:
        for step in range(1, STEPS + 1):
            x = torch.randn(8, 4, generator=generator)
            optimizer.zero_grad()
            losses = []
            for part in x.chunk(passes):
                # The casts of autocast itself look like waiting.
                with NoWaiting() if step > 1 and not autocast else nullcontext():
                    with torch.autocast("cpu", torch.float16, enabled=autocast):
                        loss = F.mse_loss(net(part).float(), part)
                    losses.append(loss.detach())
                    loss = loss / passes
                    (loss if scaler is None else scaler.scale(loss)).backward()
            if step == break_at:
                net[1].linear.weight.grad[0, 0] = float("inf")
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
                scaler.update()
            with NoWaiting() if step > 1 else nullcontext():
                recorder.step(torch.stack(losses).mean())
    return rows(out)


def growing():
    """The scale doubles after every step; powers of two round nothing."""
    return torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=1)


def assert_same(found, expected):
    for name in expected.data_vars:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=str(name))


def test_a_scale_that_changes_from_step_to_step_leaves_no_trace(plain, tmp_path):
    scaler = growing()
    assert_same(train(tmp_path / "scaled", scaler), plain)
    assert scaler.get_scale() == 2.0 ** (8 + STEPS)


def test_nor_does_one_with_gradient_accumulation(tmp_path):
    found = train(tmp_path / "scaled", growing(), passes=4)
    assert_same(found, train(tmp_path / "plain", passes=4))


def test_a_scaler_that_is_switched_off_is_none(plain, tmp_path):
    assert_same(train(tmp_path / "off", torch.amp.GradScaler("cpu", enabled=False)), plain)


def test_float16_autocast_differs_by_its_rounding_alone(plain, tmp_path):
    found = train(tmp_path / "half", growing(), autocast=True)
    for name in ("branch_norm", "branch_gradient_norm", "gradient_norm", "loss"):
        assert not np.array_equal(found[name], plain[name])
        # float16 has 11 bits, and a pass rounds some ten times
        np.testing.assert_allclose(found[name], plain[name], rtol=10 * 2**-11, err_msg=name)


def test_a_step_that_the_scaler_skips_has_no_update_and_shows_what_overflowed(plain, tmp_path):
    scaler = growing()
    found = train(tmp_path / "skipped", scaler, break_at=3)
    skipped = found.sel(step=3)
    assert scaler.get_scale() == 2.0 ** (8 + STEPS - 2)  # halved once instead of doubled
    assert (skipped["parameter_update_norm"] == 0).all()
    assert (skipped["update_norm"] == 0).all()
    gradients = skipped["parameter_gradient_norm"]
    assert np.isinf(gradients.sel(parameter="1.linear.weight"))
    others = gradients.drop_sel(parameter="1.linear.weight")
    expected = plain["parameter_gradient_norm"].sel(step=3)
    np.testing.assert_array_equal(others, expected.drop_sel(parameter="1.linear.weight"))
    assert list(np.isnan(skipped["gradient_norm"].values)) == [False, True, False]
    assert np.isfinite(skipped["branch_gradient_norm"]).all()
    assert (found["update_norm"].sel(step=4) > 0).all()
    np.testing.assert_array_equal(
        found["weight_norm"].sel(step=3), found["weight_norm"].sel(step=2)
    )
