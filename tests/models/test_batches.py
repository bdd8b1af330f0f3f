"""Batches on the device: standardisation, augmentation, order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from resprobe_models.datasets.batches import DeviceData, EpochPlan, crop_flip

from resprobe.data import Images


def images(count=7, kind=np.uint8, side=6):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, 2, side, side)).astype(np.uint8)
    pixels = pixels if kind is np.uint8 else (pixels / 255).astype(np.float32)
    return Images(pixels, np.arange(count) % 3, ("a", "b", "c"))


def on_device(split, **changes):
    mean, std = split.standardisation()
    settings = {"mean": mean, "std": std, "device": torch.device("cpu"), "dtype": torch.float64}
    return DeviceData(split, **{**settings, **changes})


def plan(count, augment="none", pad=0, seed=0):
    order, draws = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
    return EpochPlan.draw(count, augment, pad, order, draws)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_the_training_set_is_standardised_by_channel(kind):
    data = on_device(images(50, kind))
    pixels = torch.cat([batch for batch, _ in data.in_order(16)])
    # float32 pixels carry 6e-8 each; uint8 ones only float64's rounding.
    tolerance = 1e-6 if kind is np.float32 else 1e-12
    assert pixels.mean((0, 2, 3)).abs().max() < tolerance
    assert (pixels.var((0, 2, 3), correction=0) - 1).abs().max() < tolerance


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 5))
def test_an_epoch_gives_every_image_once_and_keeps_the_short_batch(count, batch, seed):
    data = on_device(images(count))
    batches = list(data.epoch(plan(count, seed=seed), batch))
    assert len(batches) == data.steps(batch)
    assert all(len(labels) == batch for _, labels in batches[:-1])
    whole = next(iter(data.in_order(count)))[0]
    seen = torch.cat([pixels for pixels, _ in batches])
    assert torch.equal(seen, whole[plan(count, seed=seed).order])


def slow_crop_flip(batch, offsets, flips, pad):
    """One image at a time, with plain slices."""
    out = []
    side = batch.shape[-1]
    for index, image in enumerate(batch):
        padded = torch.zeros(image.shape[0], side + 2 * pad, side + 2 * pad, dtype=batch.dtype)
        padded[:, pad : pad + side, pad : pad + side] = image
        row, column = offsets[index].tolist()
        window = padded[:, row : row + side, column : column + side]
        out.append(window.flip(-1) if flips is not None and flips[index] else window)
    return torch.stack(out)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.booleans(), st.integers(0, 100))
def test_batched_crop_and_flip_equal_the_loop_over_images(pad, flip, seed):
    generator = torch.Generator().manual_seed(seed)
    batch = torch.randn(5, 3, 6, 6, generator=generator)
    offsets = torch.randint(0, 2 * pad + 1, (5, 2), generator=generator)
    flips = torch.randint(0, 2, (5,), generator=generator).bool() if flip else None
    ours = crop_flip(batch, offsets, flips, pad)
    assert torch.equal(ours, slow_crop_flip(batch, offsets, flips, pad))


def test_every_offset_and_both_directions_are_drawn_about_equally():
    drawn = plan(9000, "crop-flip", pad=1)
    counts = np.bincount((drawn.offsets[:, 0] * 3 + drawn.offsets[:, 1]).numpy(), minlength=9)
    # Binomial with n = 9000, p = 1/9: standard deviation 30; five of them.
    assert np.abs(counts - 1000).max() < 150
    assert abs(drawn.flips.double().mean().item() - 0.5) < 5 * 0.5 / 9000**0.5


def test_crop_alone_does_not_flip_and_none_draws_nothing():
    assert plan(4, "crop", 1).flips is None
    bare = plan(4, "none")
    assert bare.offsets is None
    assert bare.flips is None


def test_the_order_does_not_depend_on_the_augmentation():
    assert torch.equal(plan(50, "none").order, plan(50, "crop-flip", 4).order)


def test_channels_last_changes_the_layout_and_not_the_values():
    data, last = on_device(images()), on_device(images(), channels_last=True)
    for (plain, _), (other, _) in zip(
        data.epoch(plan(7, "crop", 1), 4, pad=1),
        last.epoch(plan(7, "crop", 1), 4, pad=1),
        strict=True,
    ):
        assert torch.equal(plain, other)
        assert other.is_contiguous(memory_format=torch.channels_last)
