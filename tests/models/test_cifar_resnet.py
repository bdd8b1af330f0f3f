"""The architectures: published counts, closed forms, and a second implementation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from resprobe_models.architectures.cifar_resnet import Block, Unit, cifar_resnet
from resprobe_models.architectures.shortcuts import PaddedShortcut, PooledShortcut
from torch.nn import functional

from resprobe.errors import InputError

# Chang et al. (2018), Table 5, p. 13: (depth, width factor, classes) -> parameters. "19,22,394" is
# printed for 1,922,394, and the last row's "ResNet-122" is WResNet-122.
ML_TABLE_5 = {
    (14, 1, 10): 172_506,
    (50, 1, 10): 755_802,
    (32, 1, 10): 464_154,
    (122, 1, 10): 1_922_394,
    (14, 1, 100): 178_356,
    (50, 1, 100): 761_652,
    (32, 1, 100): 470_004,
    (122, 1, 100): 1_928_244,
    (14, 2, 10): 685_994,
    (50, 2, 10): 3_013_802,
    (32, 2, 10): 1_849_898,
    (122, 2, 10): 7_669_418,
    (14, 2, 100): 697_604,
    (50, 2, 100): 3_025_412,
    (32, 2, 100): 1_861_508,
    (122, 2, 100): 7_681_028,
}

# The networks of Zhang et al. (2019) as their published code builds them.
ZH_COUNTS = {
    20: 272_474,
    32: 466_906,
    44: 661_338,
    56: 855_770,
    110: 1_730_714,
    218: 3_480_602,
}


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def without_memory(**arguments):
    with torch.device("meta"):
        return cifar_resnet(**arguments)


@pytest.mark.parametrize("reading", ["A", "B"])
@pytest.mark.parametrize("shortcut", ["padded", "pooled"])
@pytest.mark.parametrize(("depth", "factor", "classes"), ML_TABLE_5)
def test_both_readings_have_the_parameters_of_table_5(depth, factor, classes, shortcut, reading):
    """Chang et al. (2018), Table 5; STL-10's column repeats CIFAR-10's (10 classes, pooling)."""
    network = without_memory(
        depth=depth, width_factor=factor, classes=classes, shortcut=shortcut, reading=reading
    )
    assert count(network) == ML_TABLE_5[depth, factor, classes]


@pytest.mark.parametrize("depth", ZH_COUNTS)
def test_post_activation_with_projections_has_the_parameters_of_zhang_et_al(depth):
    network = without_memory(depth=depth, activation="post", shortcut="projection")
    assert count(network) == ZH_COUNTS[depth]


def test_a_plain_net_has_the_layers_of_its_residual_net_and_names_its_units():
    residual, plain = cifar_resnet(depth=14), cifar_resnet(depth=14, residual=False)
    assert [p.shape for p in plain.parameters()] == [p.shape for p in residual.parameters()]
    blocks = [name for name, module in residual.named_modules() if isinstance(module, Block)]
    assert list(plain.plain_units) == blocks == [f"stage{s}.{i}" for s in (1, 2, 3) for i in (0, 1)]
    assert all(isinstance(plain.get_submodule(name), Unit) for name in plain.plain_units)
    assert not hasattr(residual, "plain_units")


def test_a_plain_net_has_no_projections():
    plain = cifar_resnet(depth=8, shortcut="projection", residual=False)
    assert count(plain) == count(cifar_resnet(depth=8))


def randomised(network):
    """Give BN statistics and affine values that are no identity, so that each of them counts."""
    generator = torch.Generator().manual_seed(1)
    for tensor in [*network.parameters(), *network.buffers()]:
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data.uniform_(0.5, 1.5, generator=generator)
    return network.double().eval()


def reference(state, x, *, post, reading, shortcut, h, residual, batch_norm, blocks):
    """The same network, written once more with functions and the state's names alone."""

    def conv(name, x, stride=1):
        weight = state[f"{name}.weight"]
        padding = 1 if weight.shape[-1] == 3 else 0
        return functional.conv2d(x, weight, state.get(f"{name}.bias"), stride, padding)

    def bn(name, x):
        if not batch_norm:
            return x
        mean, var, weight, bias = (
            state[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def relu(x):
        return x * (x > 0)

    def skip(path, x, width, stride):
        if x.shape[1] == width:
            return x
        if shortcut == "projection":
            return bn(f"{path}.shortcut.bn", conv(f"{path}.shortcut.conv", x, stride))
        if shortcut == "padded":
            x = x[:, :, ::2, ::2]
        else:
            x = (
                x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]
            ) / 4
        out = x.new_zeros(len(x), width, *x.shape[2:])
        out[:, width // 4 : width // 4 + x.shape[1]] = x
        return out

    x = conv("stem.conv", x)
    if post or reading == "B":
        x = relu(bn("stem.activation.bn", x))
    for stage in (1, 2, 3):
        for index in range(blocks):
            path, stride = f"stage{stage}.{index}", 2 if stage > 1 and index == 0 else 1
            branch = f"{path}.branch"
            if post:
                y = relu(bn(f"{branch}.activation1.bn", conv(f"{branch}.conv1", x, stride)))
                y = bn(f"{branch}.bn2", conv(f"{branch}.conv2", y))
            else:
                first = stage == 1 and index == 0 and reading == "B"
                y = x if first else relu(bn(f"{branch}.activation1.bn", x))
                y = relu(bn(f"{branch}.activation2.bn", conv(f"{branch}.conv1", y, stride)))
                y = conv(f"{branch}.conv2", y)
            x = skip(path, x, y.shape[1], stride) + h * y if residual else y
            x = relu(x) if post else x
    x = x if post else relu(bn("final.bn", x))
    return x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]


FORMS = [
    {"post": False, "reading": "B", "shortcut": "padded", "h": 1.0},
    {"post": False, "reading": "A", "shortcut": "pooled", "h": 0.1},
    {"post": False, "reading": "B", "shortcut": "projection", "h": -2.0},
    {"post": True, "reading": "B", "shortcut": "projection", "h": 0.1},
    {"post": True, "reading": "B", "shortcut": "padded", "h": 1.0},
    {"post": False, "reading": "B", "shortcut": "padded", "h": 1.0, "residual": False},
    {"post": True, "reading": "B", "shortcut": "padded", "h": 1.0, "residual": False},
    {"post": True, "reading": "B", "shortcut": "projection", "h": 0.5, "batch_norm": False},
    {"post": False, "reading": "A", "shortcut": "padded", "h": 0.5, "batch_norm": False},
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_forward_equals_a_functional_second_implementation(form):
    form = {"residual": True, "batch_norm": True, **form}
    arguments = {name: value for name, value in form.items() if name != "post"}
    network = randomised(
        cifar_resnet(depth=14, activation="post" if form["post"] else "pre", **arguments)
    )
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = reference(network.state_dict(), x, blocks=2, **form)
    # 40 float64 operations deep, values below 1e3: rounding stays under 1e-11 relative.
    torch.testing.assert_close(network(x), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("activation", ["pre", "post"])
@pytest.mark.parametrize("shortcut", ["padded", "pooled", "projection"])
def test_at_h_zero_every_block_gives_its_shortcut(activation, shortcut):
    network = cifar_resnet(depth=8, h=0.0, activation=activation, shortcut=shortcut).eval()
    for width, block in zip((16, 16, 32), (network.stage1[0], network.stage2[0], network.stage3[0]),
                            strict=True):  # fmt: skip
        x = torch.randn(2, width, 8, 8)
        expected = block.shortcut(x)
        expected = functional.relu(expected) if activation == "post" else expected
        assert torch.equal(block(x), expected)


def test_h_multiplies_the_branch_and_nothing_else():
    x = torch.randn(2, 16, 8, 8, dtype=torch.float64)
    for h in (0.25, 1.0, -3.0):
        torch.manual_seed(0)
        block = cifar_resnet(depth=8, h=h, shortcut="projection").double().eval().stage2[0]
        assert torch.equal(block(x), block.shortcut(x) + h * block.branch(x))


def test_a_step_size_of_one_costs_no_multiplication():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, kinds, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    for h, expected in ((1.0, 0), (0.5, 3)):
        network, seen = cifar_resnet(depth=8, h=h), []
        with Names(), torch.no_grad():
            network(torch.randn(2, 3, 8, 8))
        assert sum("aten.mul" in name for name in seen) == expected
        assert sum("aten.add.Tensor" in name for name in seen) >= 3


def test_the_padded_shortcut_takes_every_second_pixel_between_equal_zero_channels():
    x = torch.arange(2 * 2 * 3 * 4, dtype=torch.float32).reshape(2, 2, 3, 4) + 1
    out = PaddedShortcut(2, 4, 2)(x)
    assert out.shape == (2, 4, 2, 2)
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2])
    assert not out[:, [0, 3]].any()


def test_the_pooled_shortcut_averages_what_is_there_at_an_odd_rim():
    x = torch.arange(9, dtype=torch.float32).reshape(1, 1, 3, 3)
    out = PooledShortcut(1, 2, 2)(x)
    assert torch.equal(out[0, 0], torch.tensor([[2.0, 3.5], [6.5, 8.0]]))
    assert not out[0, 1].any()


def test_weights_are_he_normal_and_the_rest_is_default():
    torch.manual_seed(0)
    network = cifar_resnet(depth=20)
    weight = network.get_submodule("stage3.2.branch.conv2").weight
    # 36,864 draws: the standard deviation is known to 0.4 %, five of those are allowed.
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert (network.final.bn.weight == 1).all()


@settings(max_examples=30, deadline=None)
@given(
    blocks=st.integers(1, 3),
    activation=st.sampled_from(["pre", "post"]),
    shortcut=st.sampled_from(["padded", "pooled", "projection"]),
    factor=st.sampled_from([0.0625, 0.5, 1, 1.25]),
    batch_norm=st.booleans(),
    residual=st.booleans(),
    channels=st.integers(1, 4),
    classes=st.integers(1, 12),
    height=st.integers(4, 11),
    width=st.integers(4, 11),
)
def test_every_form_takes_images_of_any_size(  # noqa: PLR0917  # hypothesis passes names
    blocks, activation, shortcut, factor, batch_norm, residual, channels, classes, height, width
):
    network = cifar_resnet(
        depth=6 * blocks + 2,
        activation=activation,
        shortcut=shortcut,
        width_factor=factor,
        batch_norm=batch_norm,
        residual=residual,
        in_channels=channels,
        classes=classes,
    )
    logits = network(torch.randn(2, channels, height, width))
    assert logits.shape == (2, classes)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert bool(norms) == batch_norm


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"depth": 21}, "depth 21: expected 6n + 2 with n = 1, 2, …; the nearest are 20 and 26"),
        ({"depth": 2}, "depth 2: expected 6n"),
        ({"depth": -4}, "depth -4: expected 6n"),
        ({"h": float("nan")}, "h nan: expected a finite step size"),
        ({"activation": "prae"}, "unknown activation 'prae': did you mean pre"),
        ({"shortcut": "pad"}, "unknown shortcut 'pad': did you mean padded"),
        ({"reading": "C"}, "unknown reading 'C'"),
        ({"activation": "post", "reading": "A"}, "belongs to pre-activation networks"),
        ({"residual": False, "h": 0.5}, "a plain network has no branch to scale"),
        ({"width_factor": 0.3}, "must be whole numbers"),
        ({"width_factor": 0}, "must be whole numbers"),
        ({"width_factor": float("inf")}, "must be whole numbers"),
        ({"classes": 0}, "classes 0: expected a whole number of 1 or more"),
        ({"in_channels": -1}, "in_channels -1: expected"),
    ],
)
def test_a_bad_argument_is_named(arguments, words):
    with pytest.raises(InputError) as raised:
        cifar_resnet(**arguments)
    assert words in str(raised.value)
