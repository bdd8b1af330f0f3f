"""Interventions by replay against the same interventions made in the running model."""

import pytest
import torch
import zoo_convolutional
import zoo_others
import zoo_transformers
from nets import linear_stack
from torch import nn

from resprobe.blocks.intervene import Runner
from resprobe.blocks.program import record, unfused
from resprobe.blocks.structure import leaves
from resprobe.errors import InputError

NETS = {**zoo_convolutional.NETS, **zoo_transformers.NETS, **zoo_others.NETS}
reentrant_without_gradient = pytest.mark.filterwarnings(
    "ignore:None of the inputs have requires_grad=True:UserWarning"
)


def prepared(name):
    """Give the net, its arguments and a runner; in evaluation mode, nothing random."""
    entry = NETS[name]
    torch.manual_seed(0)
    net = entry["net"]().eval()
    args, kwargs = tuple(entry.get("args", ())), entry.get("kwargs", {})
    return net, args, kwargs, Runner(net, args, kwargs)


def same(first, second):
    pairs = zip(leaves(first), leaves(second), strict=True)
    return all(torch.equal(a, b) for a, b in pairs if isinstance(a, torch.Tensor))


def naive(net, args, kwargs, blocks):
    """Drop the branches in the running model itself."""
    dropped = [operand for block in blocks for operand in block.carried]
    return record(net, args, kwargs, keep=(), dropped=dropped).result


@reentrant_without_gradient
@pytest.mark.parametrize("name", NETS)
def test_replay_equals_the_intervention_in_the_running_model(name):
    with torch.no_grad():
        net, args, kwargs, runner = prepared(name)
        whole = runner.run(args, kwargs, states=True)
        with unfused():
            assert same(whole.output, net(*args, **kwargs))
        blocks = list(runner.blocks)
        for block in blocks:
            assert same(whole.lesion(block), naive(net, args, kwargs, [block])), block.name
            assert same(whole.replace_sum(block, whole.total(block)), whole.output), block.name
        for first, last in {(0, len(blocks) - 1), (len(blocks) // 2, len(blocks) - 1)}:
            if last > first:
                span = blocks[first : last + 1]
                assert same(whole.lesion_span(first, last), naive(net, args, kwargs, span))
        # and the recording is as it was
        for block in blocks:
            assert same(whole.replace_sum(block, whole.total(block)), whole.output), block.name


def test_a_dropped_branch_really_is_dropped():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x):
            return x + self.linear(x)

    net = nn.Sequential(Block(), Block()).eval()
    x = torch.randn(2, 3)
    with torch.no_grad():
        runner = Runner(net, x)
        assert torch.equal(naive(net, (x,), {}, [runner.blocks[0]]), net[1](x))
        assert torch.equal(naive(net, (x,), {}, list(runner.blocks)), x)
        assert torch.equal(runner.run(x).lesion_span(0, 1), x)


def test_spans_of_a_linear_stack_are_products_without_their_factors():
    net = linear_stack(width=5, blocks=4, h=0.5)
    x = torch.randn(3, 5, dtype=torch.float64)
    with torch.no_grad():
        whole = Runner(net, x).run(x)
        for first in range(4):
            for last in range(first, 4):
                expected = x
                for place, block in enumerate(net):
                    if not first <= place <= last:
                        expected = expected + 0.5 * expected @ block.linear.weight.T
                torch.testing.assert_close(
                    whole.lesion_span(first, last), expected, rtol=1e-13, atol=1e-13
                )


def test_blocks_are_swapped_and_shuffled_as_modules_would_be():
    net = linear_stack(width=5, blocks=4, h=0.5)
    x = torch.randn(3, 5, dtype=torch.float64)
    with torch.no_grad():
        runner = Runner(net, x)
        whole = runner.run(x, functions=True)
        b = runner.blocks
        assert torch.equal(whole.reorder(list(b)), whole.output)
        for order in ([1, 0], [2, 1, 0], [1, 3, 2], [3, 0, 2, 1]):
            modules = list(range(4))
            modules[min(order) : max(order) + 1] = order
            expected = nn.Sequential(*[net[place] for place in modules])(x)
            assert torch.equal(whole.reorder([b[place] for place in order]), expected)
        with pytest.raises(InputError, match="can't change places"):
            whole.reorder([b[0], b[2]])


def test_a_branch_is_scaled_averaged_and_perturbed():
    net = linear_stack(width=5, blocks=3, h=0.5)
    x = torch.randn(3, 5, dtype=torch.float64)
    with torch.no_grad():
        runner = Runner(net, x)
        whole = runner.run(x, branches=True)
        block = runner.blocks[1]
        before, after = net[0](x), net[2]
        branch = 0.5 * before @ net[1].linear.weight.T
        noise = torch.randn(branch.shape, dtype=torch.float64)
        for change in (0.3 * branch, branch.mean(0, keepdim=True), branch + noise):
            expected = after(before + change)
            torch.testing.assert_close(whole.replace_branch(block, change), expected)


class Routed(nn.Module):
    """A mixture of two experts, each called only if a sample goes to it."""

    def __init__(self, wide=4):
        super().__init__()
        self.first = nn.Linear(wide, wide)
        self.gate = nn.Linear(wide, 2)
        self.experts = nn.ModuleList(nn.Linear(wide, wide) for _ in range(2))

    def forward(self, x):
        x = x + self.first(x)
        choice = self.gate(x).argmax(-1)
        mixed = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows = (choice == number).nonzero()[:, 0]
            if len(rows):
                mixed = mixed.index_add(0, rows, expert(x[rows]))
        return x + mixed


def test_where_a_lesion_changes_the_way_the_model_is_run_again():
    torch.manual_seed(1)
    net = Routed().eval()
    x = torch.randn(64, 4)
    with torch.no_grad():
        runner = Runner(net, x)
        whole = runner.run(x)
        lesioned = whole.lesion(runner.blocks[0])
        choice = net.gate(x).argmax(-1)
        assert not torch.equal(choice, net.gate(x + net.first(x)).argmax(-1))
        expected = x + torch.stack([net.experts[c](row) for row, c in zip(x, choice, strict=True)])
        torch.testing.assert_close(lesioned, expected)
        with pytest.raises(InputError, match="can't be replayed"):
            whole.replace_sum(runner.blocks[0], x)


def test_a_batch_that_goes_another_way_is_recorded_as_it_ran():
    torch.manual_seed(1)
    net = Routed().eval()
    with torch.no_grad():
        x = torch.randn(64, 4)
        choice = net.gate(x + net.first(x)).argmax(-1)
        runner = Runner(net, x)
        one_way = x[choice == 0][:5]
        seen = []
        whole = runner.run(one_way, see=lambda block, *tensors: seen.append((block.name, *tensors)))
        assert torch.equal(whole.output, net(one_way))
        assert [name for name, *_ in seen] == [block.name for block in runner.blocks]
        s = one_way + net.first(one_way)
        torch.testing.assert_close(seen[1][2], s)
        torch.testing.assert_close(seen[1][3], net.experts[0](s))
        assert torch.equal(whole.lesion(runner.blocks[1]), s)


@pytest.mark.parametrize("name", ["ResNet-50", "GPT-2", "U-Net", "RevNet"])
def test_blocks_are_shown_with_their_outputs_and_then_let_go(name):
    with torch.no_grad():
        _, args, kwargs, runner = prepared(next(key for key in NETS if key.startswith(name)))
        kept = runner.run(args, kwargs, states=True, branches=True)
        seen, ended = {}, {}

        def see(block, *tensors):
            seen[block.name] = [tensor.clone() for tensor in tensors]

        def see_output(block, *tensors):
            assert block.name in seen
            ended[block.name] = [tensor.clone() for tensor in tensors]

        passed = runner.run(args, kwargs, see=see, see_output=see_output, replays=False)
        assert same(passed.output, kept.output)
        assert set(seen) == set(ended) == {block.name for block in runner.blocks}
        for block in runner.blocks:
            assert same(seen[block.name], kept.tensors(block))
            assert same(ended[block.name], [kept.input(block), kept.block_output(block)])
        with pytest.raises(InputError, match="did not keep"):
            passed.block_output(runner.blocks[0])


class TokensFirst(nn.Module):
    """Takes `(sample, token, feature)` and works on `(token, sample, feature)` inside."""

    def __init__(self, wide=4, depth=2):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(wide, wide) for _ in range(depth))

    def forward(self, x):
        x = x.transpose(0, 1)
        for layer in self.layers:
            x = x + layer(x).tanh()
        return x.mean(0)


def test_samples_are_found_where_they_are_not_the_first_dimension():
    torch.manual_seed(0)
    net, x = TokensFirst().eval(), torch.randn(3, 5, 4)
    with torch.no_grad():
        runner = Runner(net, x)
        runner.find_samples()
        assert [block.sample_axis for block in runner.blocks] == [1, 1]
        assert {block.output_shape for block in runner.blocks} == {(5, 4)}
        seen = []
        whole = runner.run(
            x, see=lambda *shown: seen.append(shown), branches=True, states=True, functions=True
        )
        assert torch.equal(seen[0][1], x)
        assert seen[0][1] is seen[0][2]
        branch = net.layers[0](x).tanh()
        torch.testing.assert_close(seen[0][3], branch)
        first = runner.blocks[0]
        torch.testing.assert_close(whole.block_output(first), x + branch)
        assert torch.equal(whole.replace_sum(first, whole.total(first)), net(x))
        assert torch.equal(whole.replace_branch(first, 0 * branch), whole.lesion(first))
        expected = nn.Sequential(*net.layers)
        swapped = whole.reorder(list(runner.blocks)[::-1])
        y = x + expected[1](x).tanh()
        torch.testing.assert_close(swapped, (y + expected[0](y).tanh()).mean(1))


def test_samples_that_are_folded_into_another_dimension_are_refused():
    class Folded(TokensFirst):
        def forward(self, x):
            n = len(x)
            x = x.flatten(0, 1)
            for layer in self.layers:
                x = x + layer(x).tanh()
            return x.view(n, -1, x.shape[-1]).mean(1)

    net, x = Folded().eval(), torch.randn(3, 5, 4)
    with torch.no_grad():
        runner = Runner(net, x)
        with pytest.raises(InputError, match=r"shape \(15, 4\) for 3 samples"):
            runner.find_samples()


class Cached(nn.Module):
    """Writes keys into a cache of its own and reads them back, as decoders do."""

    def __init__(self):
        super().__init__()
        self.norm, self.key, self.out = nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.register_buffer("cache", torch.zeros(8, 4), persistent=False)

    def forward(self, x):
        self.cache[: len(x)] = self.key(self.norm(x))
        return x + self.out(self.cache[: len(x)].sigmoid())


class AliasOnly(nn.Module):
    """Adds into a part of its features, and only the whole is read afterwards."""

    def __init__(self):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(4, 8), nn.Linear(4, 4), nn.Linear(8, 2)

    def forward(self, x):
        x = self.first(x)
        part = x[:, :4]
        part.add_(self.inner(part).tanh())
        return self.last(x)


class DeadView(nn.Module):
    """The skip is a view whose base is overwritten later, when the view is gone."""

    def __init__(self):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        h = self.first(x)
        total = h.view(len(x), 8) + self.inner(h).tanh()
        h.mul_(2)
        return self.last(total)


class Between(nn.Module):
    """Two branches join one skip, which is overwritten between the two additions."""

    def __init__(self):
        super().__init__()
        self.first, self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = self.first(x)
        a, b = self.a(x).tanh(), self.b(x).tanh()
        y = x + a
        x.relu_()
        return y + b


class Listed(nn.Module):
    """Goes its way by numbers that Python took out of a tensor without an operation."""

    def __init__(self, how):
        super().__init__()
        self.how, self.first, self.second = how, nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = x + 3 * self.first(x)
        numbers = x.sum(0).tolist() if self.how == "tolist" else x.sum(0).numpy()
        return x + (1 + float(numbers[0])) * self.second(x)


class Typed(nn.Module):
    """The stream is narrower than what the branch makes of it."""

    def __init__(self):
        super().__init__()
        self.gain, self.inner = nn.Parameter(torch.ones(4)), nn.Linear(4, 4)
        self.inner.bfloat16()

    def forward(self, x):
        x = x.bfloat16()
        return (x + self.gain * self.inner(x)) @ torch.ones(4, 2)


class Stacked(nn.Module):
    """A sum over a stack, and a number of it that Python reads."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = torch.stack([x, self.a(x).tanh()]).sum(0)
        return self.b(x) * (1 if float(x.sum()) > 0 else 2)


class Fallback(nn.Module):
    """Tries a submodule that fails, and goes on without it."""

    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("no kernel")

    def __init__(self):
        super().__init__()
        self.broken, self.inner = self.Broken(), nn.Linear(4, 4)

    def forward(self, x):
        try:
            self.broken(x)
        except RuntimeError:
            return x + self.inner(x)


class OverwritesInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        x.mul_(2)
        y = x + self.inner(x)
        return y if float(y.sum()) > 1e9 else y * 2


AWKWARD = {
    "cache": lambda: nn.Sequential(Cached(), Cached(), Cached()),
    "alias": AliasOnly,
    "dead view": DeadView,
    "between": Between,
    "tolist": lambda: Listed("tolist"),
    "numpy": lambda: Listed("numpy"),
    "types": Typed,
    "stacked": Stacked,
    "fallback": Fallback,
    "overwrites its input": OverwritesInput,
}


@pytest.mark.parametrize("name", AWKWARD)
def test_lesions_of_awkward_models_are_those_of_the_running_model(name):
    torch.manual_seed(0)
    net, x = AWKWARD[name]().eval(), torch.randn(5, 4)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    with torch.no_grad():
        runner = Runner(net, x.clone())
        whole = runner.run(x.clone())
        bare = net(x.clone())
        assert same(whole.output, bare)
        assert len(runner.blocks)
        for block in runner.blocks:
            dropped = naive(net, (x.clone(),), {}, [block])
            assert not torch.equal(dropped, bare), "this lesion changes nothing: no test"
            # The first replay of a plan watches what is written to; the second relies on it.
            assert same(whole.lesion(block), dropped)
            assert same(whole.lesion(block), dropped)
            assert same(whole.lesion_anew(block), dropped)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_a_recording_does_not_depend_on_where_tensors_lie_in_memory():
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.inner = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

        def forward(self, x):
            x = self.conv(x)
            tokens = x.flatten(2).transpose(1, 2)
            x.relu_()
            return tokens + self.inner(tokens)

    net, x = Views().eval(), torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        first = record(net, (x,), keep=()).structure()
        assert all(record(net, (x,), keep=(), expected=first).as_expected for _ in range(30))
