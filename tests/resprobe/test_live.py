"""Blocks met in a running model against the same blocks of a recording."""

import pytest
import torch
import zoo_convolutional
import zoo_others
import zoo_transformers
from torch import nn

from resprobe.blocks.discover import blocks_as_run
from resprobe.blocks.intervene import Runner
from resprobe.blocks.live import LiveBlocks
from resprobe.blocks.structure import leaves
from resprobe.errors import InputError

NETS = {**zoo_convolutional.NETS, **zoo_transformers.NETS, **zoo_others.NETS}
reentrant_without_gradient = pytest.mark.filterwarnings(
    "ignore:None of the inputs have requires_grad=True:UserWarning"
)


class Collects:
    """Keeps copies of what it is shown, and the gradient of G."""

    def __init__(self):
        self.seen, self.gradients = {}, {}

    def input(self, block, x):
        pass

    def branch(self, block, s, branch, through):
        self.seen[block.name] = (s.detach().clone(), branch.detach().clone())
        operand, factor = through
        if operand.requires_grad:
            operand.register_hook(lambda g: self.gradients.update({block.name: g / factor}))


def live(net, args, kwargs, blocks):
    """Run the net once, watched; give what was seen, the output and its parameters' gradients."""
    visitor = Collects()
    watched = LiveBlocks(net, list(blocks), visitor)
    try:
        watched.attach()
        watched.start(args, kwargs)
        output = net(*args, **kwargs)
        watched.stop()
    finally:
        watched.detach()
    return visitor, output


def loss_of(output):
    tensors = [leaf for leaf in leaves(output) if isinstance(leaf, torch.Tensor)]
    return sum((t * torch.linspace(-1, 1, t.numel()).view(t.shape)).sum() for t in tensors)


@reentrant_without_gradient
@pytest.mark.parametrize("name", [name for name in NETS if NETS[name]["skips"]])
def test_blocks_met_while_running_are_those_of_the_recording(name):
    entry = NETS[name]
    args, kwargs = tuple(entry.get("args", ())), entry.get("kwargs", {})
    torch.manual_seed(0)
    net = entry["net"]().eval()
    blocks = blocks_as_run(net, args, kwargs)
    expected = {}
    with torch.no_grad():
        runner = Runner(net, args, kwargs)
        runner.run(
            args,
            kwargs,
            see=lambda block, x, s, branch: expected.update(
                {block.name: (s.clone(), branch.clone())}
            ),
            replays=False,
        )
    bare = net(*args, **kwargs)
    visitor, output = live(net, args, kwargs, blocks)
    pairs = zip(leaves(bare), leaves(output), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs if isinstance(a, torch.Tensor))
    assert set(visitor.seen) == set(expected)
    for block, (s, branch) in expected.items():
        torch.testing.assert_close(visitor.seen[block][0], s, msg=block)
        torch.testing.assert_close(visitor.seen[block][1], branch, msg=block)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


class Sum(nn.Module):
    """Two branches that join one skip in different ways."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.before = nn.Linear(4, 4)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        x = self.before(x)
        a, b = self.first(x).tanh(), self.second(x).tanh()
        total = {
            "one after the other": lambda: x + a + b,
            "by keyword": lambda: torch.add(x, other=a).add(other=b),
            "subtracted": lambda: x - 2 * a,
            "with a factor": lambda: torch.add(x, a, alpha=3),
            "subtracted with a factor": lambda: torch.sub(x, a, alpha=0.5),
        }[self.kind]()
        return self.last(total)


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("one after the other", (1, 1)),
        ("by keyword", (1, 1)),
        ("subtracted", (-2, 0)),
        ("with a factor", (3, 0)),
        ("subtracted with a factor", (-0.5, 0)),
    ],
)
def test_branch_and_gradient_are_those_of_what_is_added_however_it_is(kind, weights):
    torch.manual_seed(0)
    net, x = Sum(kind), torch.randn(3, 4)
    visitor, output = live(net, (x,), {}, blocks_as_run(net, (x,)))
    loss_of(output).backward()
    hidden = net.before(x)
    parts = (net.first(hidden).tanh(), net.second(hidden).tanh())
    g = sum(weight * part for weight, part in zip(weights, parts, strict=True)).detach()
    g.requires_grad_(True)
    loss_of(net.last(hidden.detach() + g)).backward()
    torch.testing.assert_close(visitor.seen["model"][0], hidden)
    torch.testing.assert_close(visitor.seen["model"][1], g.detach())
    torch.testing.assert_close(visitor.gradients["model"], g.grad)


def test_a_sum_over_a_stack_is_left_to_collect():
    class Stacked(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return torch.stack([x, self.linear(x)]).sum(0)

    net, x = Stacked(), torch.randn(3, 4)
    with pytest.raises(InputError, match="collect it from a checkpoint"):
        live(net, (x,), {}, blocks_as_run(net, (x,)))


def test_a_shortcut_that_is_overwritten_between_two_additions_is_refused():
    class InPlace(Sum):
        def forward(self, x):
            x = self.before(x)
            a, b = self.first(x).tanh(), self.second(x).tanh()
            x += a
            x += b
            return self.last(x)

    net, x = InPlace("in place"), torch.randn(3, 4)
    with torch.no_grad(), pytest.raises(InputError, match="make the first of them out of place"):
        live(net, (x,), {}, blocks_as_run(net, (x,)))
