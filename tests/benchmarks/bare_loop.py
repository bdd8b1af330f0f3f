"""Training a pre-activation ResNet with nothing but PyTorch: what the trainer is measured against.

This file imports nothing of resprobe: network, augmentation, schedule and loop are its own. The
trainer must give the same bits and cost at most 3 % more. By itself it trains ResNet-20 on
CIFAR-10 as the recipe resnet-20-cifar10 does, or the depth-56 digits net as resnet-56-digits:

    python tests/benchmarks/bare_loop.py --data-dir DIR --epochs 5 --seed 0
    python tests/benchmarks/bare_loop.py --digits --epochs 10 --seed 0
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def activation(width):
    return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())


class Block(nn.Module):
    def __init__(self, source, width, stride, first, residual):
        super().__init__()
        self.act1 = nn.Identity() if first else activation(source)
        self.conv1 = nn.Conv2d(source, width, 3, stride, 1, bias=False)
        self.act2 = activation(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.pad, self.residual = (width - source) // 2, residual

    def forward(self, x):
        out = self.conv2(self.act2(self.conv1(self.act1(x))))
        if not self.residual:
            return out
        if self.pad:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return x + out


def resnet(depth, width, in_channels, residual=True):
    blocks, source = [], width
    stem = [nn.Conv2d(in_channels, width, 3, 1, 1, bias=False), activation(width)]
    for stage in range(3):
        for index in range((depth - 2) // 6):
            stride = 2 if stage and index == 0 else 1
            first = stage == 0 and index == 0
            blocks.append(Block(source, width * 2**stage, stride, first, residual))
            source = width * 2**stage
    net = nn.Sequential(*stem, *blocks, activation(source), Pool(), nn.Linear(source, 10))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


class Pool(nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3))


def augmented(batch, offsets, flips, pad):
    count, channels, height, width = batch.shape
    rows = offsets[:, :1] + torch.arange(height)
    columns = torch.arange(width).repeat(count, 1)
    if flips is not None:
        columns[flips] = columns[flips].flip(1)
    columns = columns + offsets[:, 1:]
    batch = functional.pad(batch, (pad,) * 4)
    index = torch.arange(count)[:, None, None, None], torch.arange(channels)[None, :, None, None]
    return batch[index[0], index[1], rows[:, None, :, None], columns[:, None, None, :]]


def stepwise(step, total):
    return 0.1 * 0.1 ** ((step >= round(0.5 * total)) + (step >= round(0.75 * total)))


def cosine(step, total):
    return 0.5 * 0.1 * (1 + math.cos(math.pi * (step / total)))


def generator(seed, stream):
    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint32)
    return torch.Generator().manual_seed(int(state[0]))


def train(data, *, depth, width, batch, epochs, schedule, flip, pad, seed=0, residual=True):
    """Give the trained network and its test error; data are pixels and labels, train and test."""
    pixels, labels, test_pixels, test_labels = data
    scale = 255.0 if pixels.dtype == np.uint8 else 1.0
    mean = pixels.mean((0, 2, 3), dtype=np.float64) / scale
    std = pixels.std((0, 2, 3), dtype=np.float64) / scale
    mean, std = (torch.tensor(v, dtype=torch.float32)[:, None, None] for v in (mean, std))
    pixels, test_pixels = torch.from_numpy(pixels), torch.from_numpy(test_pixels)
    labels, test_labels = torch.from_numpy(labels), torch.from_numpy(test_labels)

    def standardised(chosen):
        return (chosen.float() / scale - mean) / std

    torch.manual_seed(seed)
    net = resnet(depth, width, pixels.shape[1], residual)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    orders, draws = generator(seed, 1), generator(seed, 2)
    count, step = len(labels), 0
    total = epochs * math.ceil(count / batch)
    for _ in range(epochs):
        net.train()
        order = torch.randperm(count, generator=orders)
        offsets = torch.randint(0, 2 * pad + 1, (count, 2), generator=draws)
        flips = torch.randint(0, 2, (count,), generator=draws).bool() if flip else None
        for start in range(0, count, batch):
            now = slice(start, start + batch)
            chosen = order[now]
            mirrored = None if flips is None else flips[now]
            images = augmented(standardised(pixels[chosen]), offsets[now], mirrored, pad)
            optimizer.param_groups[0]["lr"] = schedule(step, total)
            loss = functional.cross_entropy(net(images), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
        # Every epoch, as the trainer does, so that the times can be compared.
        net.eval()
        wrong = 0
        with torch.no_grad():
            for start in range(0, len(test_labels), 500):
                logits = net(standardised(test_pixels[start : start + 500]))
                wrong += int((logits.argmax(1) != test_labels[start : start + 500]).sum())
    return net, wrong / len(test_labels)


def cifar10(folder):
    def read(name):
        rows = np.fromfile(Path(folder) / f"{name}.bin", np.uint8).reshape(-1, 3073)
        return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].astype(np.int64)

    train_parts = [read(f"data_batch_{i}") for i in range(1, 6)]
    pixels, labels = (np.concatenate(part) for part in zip(*train_parts, strict=True))
    return pixels, labels, *read("test_batch")


RESNET_20_CIFAR10 = {
    "depth": 20, "width": 16, "batch": 128, "schedule": stepwise, "flip": True, "pad": 4,
}  # fmt: skip
RESNET_56_DIGITS = {
    "depth": 56, "width": 8, "batch": 64, "schedule": cosine, "flip": False, "pad": 1,
}  # fmt: skip


def digits(test_samples=500):
    """Give the digits at 16x16 under a split of this file's own (resprobe's is stratified)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = torch.tensor(bunch.images / 16.0, dtype=torch.float32)[:, None]
    images = functional.interpolate(grey, scale_factor=2, mode="bilinear").numpy()
    labels = bunch.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    test, chosen = np.sort(order[:test_samples]), np.sort(order[test_samples:])
    return images[chosen], labels[chosen], images[test], labels[test]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data-dir", help="folder of the CIFAR-10 .bin files, or its parent")
    source.add_argument("--digits", action="store_true", help="the depth-56 digits net")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.digits:
        data, settings = digits(), RESNET_56_DIGITS
    else:
        nested = Path(options.data_dir) / "cifar-10-batches-bin"
        data = cifar10(nested if nested.is_dir() else options.data_dir)
        settings = RESNET_20_CIFAR10
    _, error = train(data, **settings, epochs=options.epochs, seed=options.seed)
    sys.stdout.write(f"test accuracy {1 - error:.4f}\n")


if __name__ == "__main__":
    main()
