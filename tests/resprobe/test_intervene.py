import pytest
import torch
from nets import STYLES, linear_stack, post_activation, trained_looking

from resprobe import registry
from resprobe.blocks.block_tensors import shortcut_of
from resprobe.blocks.intervene import Runner
from resprobe.errors import InputError

NETS = [
    {},
    {"reading": "A"},
    {"h": 0.1, "shortcut": "pooled"},
    {"activation": "post", "shortcut": "projection"},
    {"activation": "post", "batch_norm": False},
    {"residual": False},
]


def cifar_resnet(**arguments):
    torch.manual_seed(0)
    return trained_looking(registry.load("models", "cifar-resnet")(depth=14, **arguments)).eval()


def batch(samples=5, seed=0):
    return torch.randn(samples, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def naive_lesion(net, block, x):
    """Run the whole net with the block's module replaced: the slow and obvious lesion."""
    module = dict(net.named_modules())[block.name]
    original = module.forward
    seen = {}

    def shortcut_only(features):
        if block.skip == "none":
            return shortcut_of(block, features)
        # Zero the branch's last convolution for this pass: G = 0 exactly, s untouched.
        last = [
            m
            for m in module.modules()
            if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)
        ][-1]
        norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        changed = [last.weight] + ([last.bias] if last.bias is not None else [])
        after = [n for n in norms if n.num_features == last.out_channels][-1:]
        if net_is_post and after:
            changed += [p for n in _branch_norms(module) for p in (n.weight, n.bias)][-2:]
            changed.append(_branch_norms(module)[-1].running_mean)
        saved = [p.detach().clone() for p in changed]
        with torch.no_grad():
            for p in changed:
                p.zero_()
        try:
            return original(features)
        finally:
            with torch.no_grad():
                for p, value in zip(changed, saved, strict=True):
                    p.copy_(value)

    net_is_post = block.activation == "post"
    module.forward = shortcut_only
    try:
        with torch.no_grad():
            seen["out"] = net(x)
    finally:
        del module.forward
    return seen["out"]


def _branch_norms(module):
    return [
        m
        for name, m in module.named_modules()
        if isinstance(m, torch.nn.BatchNorm2d)
        and "shortcut" not in name
        and "projection" not in name
        and "skip" not in name
    ]


@pytest.mark.parametrize("arguments", NETS, ids=str)
def test_a_replayed_lesion_equals_the_naive_one_to_the_bit(arguments):
    net = cifar_resnet(**arguments)
    with torch.no_grad():
        runner = Runner(net, batch(2))
        x = batch()
        whole = runner.run(x)
        assert torch.equal(whole.output, net(x))
        for block in runner.blocks:
            assert torch.equal(whole.lesion(block), naive_lesion(net, block, x)), block.name


@pytest.mark.parametrize("style", STYLES)
def test_lesions_in_any_order_leave_the_recording_alone(style):
    net = trained_looking(post_activation(style)).eval()
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        runner = Runner(net, x[:1])
        whole = runner.run(x)
        forward = [whole.lesion(block) for block in runner.blocks]
        backward = [whole.lesion(block) for block in reversed(list(runner.blocks))][::-1]
        assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
        for block, lesioned in zip(runner.blocks, forward, strict=True):
            without = torch.nn.Sequential(*[m for i, m in enumerate(net) if i != int(block.name)])
            # Post-activation input is non-negative, except that of the stem: relu(s + 0).
            if block.index > 0:
                assert torch.equal(lesioned, without(x))


def test_lesions_of_a_linear_stack_are_products_without_one_factor():
    net = linear_stack(width=6, blocks=4, h=0.5)
    x = torch.randn(3, 6, dtype=torch.float64)
    factors = [torch.eye(6, dtype=torch.float64) + 0.5 * block.linear.weight for block in net]
    with torch.no_grad():
        runner = Runner(net, x)
        whole = runner.run(x, branches=True)
        for block in runner.blocks:
            expected = x
            for place, factor in enumerate(factors):
                if place != block.index:
                    expected = expected @ factor.T
            torch.testing.assert_close(whole.lesion(block), expected, rtol=1e-13, atol=1e-13)
            _, s, branch = whole.tensors(block)
            torch.testing.assert_close(branch, 0.5 * s @ net[block.index].linear.weight.T)


def test_removing_the_next_block_changes_its_output_by_exactly_the_branch():
    """ML Eqs. 6-8 (the printed sign of Eq. 8 is a misprint, FACTS erratum 9)."""
    net = cifar_resnet().double()
    x = batch().double()
    with torch.no_grad():
        whole = Runner(net, x).run(x, branches=True)
        for block in whole.blocks:
            _, s, branch = whole.tensors(block)
            total = s + branch
            torch.testing.assert_close(s - total, -branch, rtol=0, atol=1e-14 * total.abs().max())


@pytest.mark.parametrize("arguments", NETS, ids=str)
def test_blocks_are_seen_as_they_are_kept_and_then_freed(arguments):
    net = cifar_resnet(**arguments)
    x = batch()
    with torch.no_grad():
        runner = Runner(net, x[:1])
        kept = runner.run(x, branches=True)
        seen = {}

        def see(block, *tensors):
            assert (tensors[0] is tensors[1]) == (block.skip == "identity") or block.skip == "none"
            seen[block.name] = [tensor.clone() for tensor in tensors]

        passed = runner.run(x, see=see, replays=False)
        assert torch.equal(passed.output, kept.output)
        assert list(seen) == [block.name for block in runner.blocks]
        for block in runner.blocks:
            for tensor, expected in zip(seen[block.name], kept.tensors(block), strict=True):
                assert torch.equal(tensor, expected)
        with pytest.raises(InputError, match="did not keep"):
            passed.tensors(runner.blocks[0])


def test_the_plain_shortcut_subsamples_and_pads_on_both_sides():
    net = cifar_resnet(residual=False)
    with torch.no_grad():
        runner = Runner(net, batch(1))
    block = next(b for b in runner.blocks if b.transition)
    x = torch.randn(2, *block.input_shape)
    s = shortcut_of(block, x)
    quarter = (block.output_shape[0] - block.input_shape[0]) // 2
    assert torch.equal(s[:, quarter:-quarter], x[:, :, ::2, ::2])
    assert not s[:, :quarter].any()
    assert not s[:, -quarter:].any()


class TestWhatCannotBeDone:
    @pytest.fixture
    def recorded(self):
        with torch.no_grad():
            return Runner(cifar_resnet(), batch()).run(batch())

    @pytest.mark.parametrize("span", [(3, 1), (-1, 0), (0, 99)])
    def test_a_span_that_is_none_is_refused(self, recorded, span):
        with pytest.raises(InputError, match="give indices from 0 to"):
            recorded.lesion_span(*span)

    def test_a_name_is_no_block(self, recorded):
        for wrong in ("stage1.0", 0):
            with pytest.raises(InputError, match=r"is no block: give one of"):
                recorded.lesion(wrong)

    def test_tensors_that_were_not_kept_are_refused_with_the_option(self):
        with torch.no_grad():
            bare = Runner(cifar_resnet(), batch()).run(batch(), replays=False)
        block = bare.blocks[0]
        for ask in (bare.tensors, bare.block_output):
            with pytest.raises(InputError, match="branches=True for tensors"):
                ask(block)
