"""What two processes do that record together: python together_jobs.py FOLDER."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from resprobe import Recorder
from resprobe.errors import DiskFullError, InputError
from resprobe.recording import together
from resprobe.store import ordered

STEPS, SAMPLES, WIDTH = 5, 12, 6


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return x + torch.tanh(self.linear(x))


def network(width=WIDTH):
    torch.manual_seed(0)
    parts = [Residual(width) for _ in range(3)]
    return nn.Sequential(*parts, nn.Linear(width, 3)).double()


def batches(steps=STEPS, width=WIDTH):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(SAMPLES, width, generator=generator, dtype=torch.float64)
        yield x, torch.randint(0, 3, (SAMPLES,), generator=generator)


def train(model, out, *, rank=0, processes=1, passes=1, steps=STEPS, each=None, **options):
    """Train on this process's share of every batch, in several passes; give what was told."""
    told = []
    wrapped = DistributedDataParallel(model) if processes > 1 else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with Recorder(wrapped, out, optimizer=optimizer, tell=told.append, **options) as recorder:
        for place, (x, y) in enumerate(batches(steps)):
            if each is not None:
                each(place, recorder)
            optimizer.zero_grad()
            losses, right = [], []
            own = torch.arange(rank, SAMPLES, processes)
            for number, part in enumerate(own.chunk(passes)):
                last = number == passes - 1
                with nullcontext() if last or processes == 1 else wrapped.no_sync():
                    logits = wrapped(x[part])
                    loss = cross_entropy(logits, y[part])
                    (loss / passes).backward()
                losses.append(loss.detach())
                right.append((logits.argmax(1) == y[part]).double().mean())
            optimizer.step()
            recorder.step(torch.stack(losses).mean(), torch.stack(right).mean())
        train.stopped = recorder._ended  # before its end
    return told


def refused(action):
    try:
        action()
    except InputError as error:
        return str(error)
    return None


def uneven(folder, rank):
    """Shares of 8 and 4 samples, joined by hand so that the gradient is that of the batch."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with Recorder(model, folder / "uneven", optimizer=optimizer, distributed=True) as recorder:
        for x, y in batches():
            own = slice(0, 8) if rank == 0 else slice(8, None)
            loss = cross_entropy(model(x[own]), y[own])
            optimizer.zero_grad()
            (loss * (2 * len(y[own]) / SAMPLES)).backward()
            for parameter in model.parameters():
                dist.all_reduce(parameter.grad)
                parameter.grad /= 2
            optimizer.step()
            recorder.step(loss, float(rank))


def without_a_sample(folder, rank):
    """The second process has samples from the third step on."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with Recorder(model, folder / "late", optimizer=optimizer, distributed=True) as recorder:
        for place, (x, y) in enumerate(batches()):
            if rank == 0 or place > 1:
                cross_entropy(model(x), y).backward()
            optimizer.step()
            recorder.step(1.0)


def full_disk(folder, rank, after):
    """The disk of the first process is full from a step on; training goes on in both."""
    reserve, often = ordered.reserve, together._LOOK_EVERY
    together._LOOK_EVERY = 4

    def full(place, recorder):
        if place == after:
            ordered.reserve = no_room
        if place == after + 1:
            recorder.flush()

    def no_room(*_):
        raise DiskFullError("no room")

    try:
        each = full if rank == 0 else None
        told = train(
            network(), folder / f"full-{after}", rank=rank, processes=2, steps=16, each=each
        )
        return told, train.stopped
    finally:
        ordered.reserve, together._LOOK_EVERY = reserve, often


def sharded():
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import init_device_mesh

    model = network()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    return refused(lambda: Recorder(model, "nowhere"))


def fail_in_one(folder, rank):
    """The second process raises and ends; the first must not wait for it in the recorder."""

    def planted(place, recorder):
        if rank == 1 and place == 2:
            raise ValueError("planted")

    try:
        train(network(), folder / "failed", rank=rank, processes=2, each=planted)
    except ValueError as error:
        return str(error)
    except RuntimeError as error:
        return f"lost: {type(error).__name__}"


def main(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    x = next(batches())[0][:2]
    found = {"plain": train(network(), folder / "plain", rank=rank, processes=2)}
    train(network(), folder / "passes", rank=rank, processes=2, passes=2, every=2)
    train(
        network(), folder / "jacobians", rank=rank, processes=2, jacobian_every=4,
        jacobian_samples=x,
    )  # fmt: skip
    if rank == 0:
        shutil.copytree(folder / "plain", folder / "resumed")
    train(network(), folder / "resumed", rank=rank, processes=2, resume=True)
    uneven(folder, rank)
    without_a_sample(folder, rank)
    found["exists"] = refused(lambda: train(network(), folder / "plain", rank=rank, processes=2))
    found["other"] = refused(
        lambda: train(
            network(), folder / "other", rank=rank, processes=2,
            quantities=["branch_norm"] if rank else ["input_norm"],
        )
    )  # fmt: skip
    found["unwrapped"] = refused(lambda: Recorder(network(), folder / "unwrapped"))
    found["full"] = [full_disk(folder, rank, after) for after in (0, 3)]
    found["uneven every"] = refused(
        lambda: train(network(), folder / "every", rank=rank, processes=2, every=1 + rank)
    )
    found["sharded"] = sharded()
    found["failed"] = fail_in_one(folder, rank)
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    second = os.fork()  # what was imported need not be imported twice
    main(int(second == 0), Path(sys.argv[1]))
    if second:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]))
