import pytest
import torch
import torch.nn.functional as F
from nets import STYLES, linear_stack, post_activation
from torch import nn

from resprobe import find_blocks, registry
from resprobe.errors import InputError

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def cifar_resnet(**arguments):
    torch.manual_seed(0)
    return registry.load("models", "cifar-resnet")(**arguments)


@pytest.mark.parametrize("style", STYLES)
def test_however_the_addition_is_written_the_blocks_are_found(style):
    blocks = find_blocks(post_activation(style), torch.zeros(1, 3, 8, 8))
    assert [block.name for block in blocks] == ["1", "2", "3"]
    assert {block.skip for block in blocks} == {"identity"}
    assert {block.activation for block in blocks} == {"post"}
    assert not blocks.refused


@pytest.mark.parametrize("activation", ["pre", "post"])
@pytest.mark.parametrize("shortcut", ["padded", "pooled", "projection"])
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("h", [1.0, 0.1])
def test_bundled_nets_need_no_declaration(activation, shortcut, batch_norm, h):
    net = cifar_resnet(
        depth=14, activation=activation, shortcut=shortcut, batch_norm=batch_norm, h=h
    )
    blocks = find_blocks(net, X)
    assert [b.name for b in blocks] == [f"stage{s}.{i}" for s in (1, 2, 3) for i in (0, 1)]
    assert [b.stage for b in blocks] == [0, 0, 1, 1, 2, 2]
    assert [b.index for b in blocks] == list(range(6))
    assert [b.index_in_stage for b in blocks] == [0, 1] * 3
    assert [b.transition for b in blocks] == [False, False, True, False, True, False]
    changing = "projection" if shortcut == "projection" else "padded"
    kinds = ["identity", "identity", changing, "identity", changing, "identity"]
    assert [b.skip for b in blocks] == kinds
    assert {b.activation for b in blocks} == {activation}
    assert {b.scale for b in blocks} == {h}
    assert not blocks.refused
    assert not blocks.plain


def test_the_parameters_of_a_block_are_those_of_its_branch():
    net = cifar_resnet(depth=8, activation="post", shortcut="projection")
    for block in find_blocks(net, X):
        module = dict(net.named_modules())[block.name]
        own = {f"{block.name}.{name}" for name, _ in module.named_parameters()}
        assert set(block.parameters) <= own
        shapes = [tuple(dict(net.named_parameters())[n].shape) for n in block.parameters]
        assert sum(len(shape) == 4 and shape[2] == 3 for shape in shapes) == 2
        assert not any(len(shape) == 4 and shape[2] == 1 for shape in shapes)


def test_units_of_a_plain_net_are_blocks_without_a_skip():
    net = cifar_resnet(depth=14, residual=False)
    blocks = find_blocks(net, X)
    assert blocks.plain
    assert [block.name for block in blocks] == list(net.plain_units)
    assert [block.transition for block in blocks] == [False, False, True, False, True, False]


def test_plain_units_that_do_not_exist_are_refused_by_name():
    net = nn.Sequential(nn.Linear(2, 2))
    net.plain_units = ("7",)
    with pytest.raises(InputError, match="'7'"):
        find_blocks(net, torch.zeros(1, 2))


def test_additions_at_the_root_are_named_model_and_numbered():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            x = x + F.relu(self.a(x))
            return x + F.relu(self.b(x))

    assert [b.name for b in find_blocks(Functional(), torch.zeros(2, 4))] == ["model:0", "model:1"]


class Sums(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.point = nn.Conv2d(3, 3, 1)
        self.other = nn.Conv2d(3, 3, 1)
        self.position = nn.Parameter(torch.zeros(1, 3, 16, 16))

    def forward(self, x):
        return {
            "positional embedding": lambda: self.first(x) + self.position,
            "expanded embedding": lambda: self.first(x) + self.position.expand_as(x),
            "bias": lambda: self.first(x) + torch.ones(3, 1, 1),
            "average of branches": lambda: 0.5 * self.point(x) + 0.5 * self.other(x),
            "two deep branches": lambda: self.first(x) + self.second(x),
            "no parameters": lambda: x + F.relu(x),
            "a scaled skip": lambda: torch.add(self.first(x), x, alpha=2),
            "two maps of one input": lambda: self.point(x) + self.first(x),
        }[self.kind]()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("positional embedding", "different shapes|parameter or a constant"),
        ("expanded embedding", "does not depend on the input|parameter or a constant"),
        ("bias", "different shapes"),
        ("average of branches", "average of branches"),
        ("two deep branches", "neither operand"),
        ("no parameters", "made of the other without parameters"),
        ("a scaled skip", "a difference"),
        ("two maps of one input", "average of branches or an adapter"),
    ],
)
def test_sums_that_are_no_blocks_are_refused_with_the_reason(kind, reason):
    import re

    blocks = find_blocks(Sums(kind), X)
    assert len(blocks) == 0
    assert len(blocks.refused) == 1
    assert re.search(reason, blocks.refused[0].reason)


def test_finding_blocks_leaves_the_model_as_it_was():
    net = cifar_resnet(depth=8).train()
    net.stage1.eval()
    modes = [module.training for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    find_blocks(net, X)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_values_are_never_looked_at_a_zero_branch_is_a_block():
    net = linear_stack(blocks=2, h=0.0)
    assert len(find_blocks(net, torch.zeros(2, 6, dtype=torch.float64))) == 2


class Queries(nn.Module):
    """A learned token reads from the features; a learned embedding is only ever added."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.place = nn.Parameter(torch.randn(1, 3, 4))
        self.key, self.value = nn.Linear(4, 4), nn.Linear(4, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

    def forward(self, x):
        token = self.token.expand(len(x), -1, -1)
        place = self.place.expand(len(x), -1, -1)
        for layer in self.layers:
            x = layer(x + place).relu()
        return token + torch.softmax(token @ self.key(x).mT, -1) @ self.value(x)


def test_a_learned_query_starts_a_block_and_an_embedding_of_every_layer_does_not():
    blocks = find_blocks(Queries(), torch.randn(2, 3, 4))
    assert [(block.skip, block.output_shape) for block in blocks] == [("identity", (1, 4))]
    reasons = [reason for _, reason in blocks.refused]
    assert sum("positional embedding" in reason for reason in reasons) == 2


def test_positions_that_are_flattened_do_not_start_another_stage():
    class Flattens(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

        def forward(self, x):
            x = x + self.layers[0](x)
            x = x.flatten(1, 2)
            x = x + self.layers[1](x)
            x = x.view(len(x), 3, 2, 4)
            return x + self.layers[2](x)

    blocks = find_blocks(Flattens(), torch.randn(2, 3, 2, 4))
    assert [block.output_shape for block in blocks] == [(3, 2, 4), (6, 4), (3, 2, 4)]
    assert [block.stage for block in blocks] == [0, 0, 0]
    assert [block.index_in_stage for block in blocks] == [0, 1, 2]


def test_a_block_follows_the_one_that_its_input_was_made_by():
    class TwoStreams(nn.Module):
        """An encoder of two blocks; a decoder that starts anew and reads from it."""

        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
            self.reads = nn.Linear(8, 4)

        def forward(self, x, start):
            for layer in self.layers[:2]:
                x = x + layer(x).tanh()
            start = start + self.layers[2](start).tanh()
            return start + self.reads(torch.cat((start, x), -1)).tanh()

    blocks = find_blocks(TwoStreams(), torch.randn(2, 3, 4), torch.randn(2, 3, 4))
    assert [block.follows for block in blocks] == [False, True, False, True]
