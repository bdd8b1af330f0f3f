"""Single-convolution networks: counts, the plain network that equals a residual one, Table 3."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from resprobe_models.architectures.simplified_resnet import IdentityByConvolution, simplified_resnet
from resprobe_models.initialisation import deviation
from resprobe_models.model_arguments import checked_arguments
from resprobe_models.train import train
from scipy import stats
from torch.nn import functional

import resprobe
from resprobe.errors import InputError, UnknownNameError

# Yu and Tomasi (2019), appendix C: sums of min(C, D) over the blocks; 1100 is printed for depth 32.
ID_ENTRIES = {20: 624, 32: 1072, 44: 1520}
UNIT = 2.0**-53


def seeded(seed=0, **arguments):
    torch.manual_seed(seed)
    return simplified_resnet(**arguments)


def images(height=16, width=16, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 3, height, width, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("depth", ID_ENTRIES)
def test_parameters_are_weights_of_3n_plus_1_convolutions_and_a_linear_layer(depth, residual):
    """432 weights in the stem, 640 in the linear layer, and at depth 32 460,800 in the blocks."""
    n = (depth - 2) // 3
    network = simplified_resnet(depth=depth, residual=residual)
    blocks = sum(network.get_parameter(name).numel() for name in network.id_entries())
    assert blocks == 9 * (16 * 16 * n + 16 * 32 + 32 * 32 * (n - 1) + 32 * 64 + 64 * 64 * (n - 1))
    assert blocks == 460_800 or depth != 32
    biases = 16 + (16 + 32 + 64) * n + 10
    assert sum(p.numel() for p in network.parameters()) == blocks + 432 + 640 + biases


@pytest.mark.parametrize("depth", ID_ENTRIES)
def test_the_id_entries_are_the_centres_of_the_diagonal(depth):
    network = simplified_resnet(depth=depth)
    masks = network.id_entries()
    assert sum(int(mask.sum()) for mask in masks.values()) == ID_ENTRIES[depth]
    assert len(masks) == depth - 2
    assert not any(name.startswith("stem") for name in masks)
    for name, mask in masks.items():
        expected = [[c, c, 1, 1] for c in range(network.get_parameter(name).shape[1])]
        assert mask.nonzero().tolist() == expected


def transferred(network):
    """T of Eq. 1, written out: 1 added at (c, c, 1, 1) of every kernel but the stem's."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for name, value in state.items():
        if name.startswith("stage") and value.ndim == 4:
            for c in range(min(value.shape[:2])):
                value[c, c, 1, 1] += 1
    return state


@pytest.mark.parametrize(("height", "width"), [(16, 16), (15, 13)])
def test_a_plain_net_with_transferred_weights_is_the_residual_net(height, width):
    """Yu and Tomasi (2019), Eq. 1 and Sec. 3, with the stride-2 blocks."""
    residual = seeded(depth=20).double()
    plain = simplified_resnet(depth=20, residual=False).double()
    plain.load_state_dict(transferred(residual))
    x = images(height, width)
    outputs, gradients = [], []
    for network in (residual, plain):
        outputs.append(network(x))
        outputs[-1].square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    # Each of 18 blocks sums up to 9·64 products, and with weights this small none amplifies.
    bound = 18 * 9 * 64 * UNIT
    scale = outputs[0].abs().max()
    assert scale > 0.01
    assert (outputs[0] - outputs[1]).abs().max() <= bound * scale
    for mine, theirs in zip(*gradients, strict=True):
        assert (mine - theirs).abs().max() <= bound * mine.abs().max()


def test_a_transfer_to_other_entries_is_another_network():
    residual = seeded(depth=8).double()
    plain = simplified_resnet(depth=8, residual=False).double()
    state = transferred(residual)
    # As with a shortcut whose zero channels lie on both sides.
    state["stage2.0.branch.weight"] = state["stage2.0.branch.weight"].roll(8, 0)
    plain.load_state_dict(state)
    assert (residual(images()) - plain(images())).abs().max() > 1e-3


@pytest.mark.parametrize("residual", [True, False])
def test_forward_equals_a_functional_second_implementation(residual):
    network = seeded(depth=11, residual=residual, initialisation="kwi").double()
    for parameter in network.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0, 0.1)
    state = network.state_dict()

    def conv(name, x, stride=1):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return functional.conv2d(x, weight, bias, stride, padding=1)

    x = conv("stem.conv", images(15, 13)).clamp(min=0)
    for stage in (1, 2, 3):
        for index in range(3):
            stride = 2 if stage > 1 and index == 0 else 1
            y = conv(f"stage{stage}.{index}.branch", x, stride)
            if residual:
                skip = torch.zeros_like(y)
                skip[:, : x.shape[1]] = x[:, :, ::stride, ::stride]
                y = y + skip
            x = y.clamp(min=0)
    expected = x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]
    # The same operations in float64 up to the order of sums, values below 1e3.
    torch.testing.assert_close(network(images(15, 13)), expected, rtol=1e-11, atol=1e-11)


def test_the_shortcut_is_a_convolution_with_the_id_entries_as_its_weight():
    kernel = torch.zeros(5, 3, 3, 3, dtype=torch.float64)
    for c in range(3):
        kernel[c, c, 1, 1] = 1
    for height, width in ((4, 4), (5, 7)):
        x = images(height, width)
        expected = functional.conv2d(x, kernel, stride=2, padding=1)
        assert torch.equal(IdentityByConvolution(3, 5, 2)(x), expected)


def test_the_blocks_are_found():
    x = images().float()
    blocks = resprobe.find_blocks(simplified_resnet(depth=11), x)
    assert [block.name for block in blocks] == [
        f"stage{s}.{i}" for s in (1, 2, 3) for i in range(3)
    ]
    kinds = ["identity"] * 3 + ["padded", "identity", "identity"] * 2
    assert [block.skip for block in blocks] == kinds
    assert {block.activation for block in blocks} == {"post"}
    plain = simplified_resnet(depth=11, residual=False)
    units = resprobe.find_blocks(plain, x)
    assert [unit.name for unit in units] == list(plain.plain_units)
    assert {unit.skip for unit in units} == {"none"}


@pytest.mark.parametrize("fan", ["in", "out"])
@pytest.mark.parametrize("scheme", ["kwi", "hmwi"])
def test_a_drawn_kernel_has_the_spread_of_its_scheme_and_fan(scheme, fan):
    size = 9 * (32 if fan == "in" else 64)
    expected = math.sqrt(2 / size) if scheme == "kwi" else 1 / size
    assert deviation(scheme, (64, 32, 3, 3), fan) == pytest.approx(expected, rel=1e-15)
    weight = seeded(depth=5, initialisation=scheme, fan=fan).stage3[0].branch.weight
    # 18,432 draws: five standard errors of the standard deviation.
    assert weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * 18_432))


def test_a_residual_net_begins_with_hmwi_a_plain_one_with_kwi_and_biases_with_zero():
    for residual, scheme in ((True, "hmwi"), (False, "kwi")):
        network = seeded(depth=8, residual=residual)
        named = seeded(depth=8, residual=residual, initialisation=scheme)
        assert all(
            torch.equal(a, b) for a, b in zip(network.parameters(), named.parameters(), strict=True)
        )
        assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))
        assert 0 < network.linear.weight.abs().max() <= 1 / 8  # PyTorch's own, uniform


# Yu and Tomasi (2019), Table 3, before training: value and half the unit of its last digit.
TABLE_3 = {
    "plain": {
        "mean": (6.2e-5, 5e-7),
        "sd": (0.070, 5e-4),
        "mass": (25_000, 500),
        "large": (420, 5),
        "id": (67, 0.5),
    },
    "residual": {
        "mean": (0.0023, 5e-5),
        "sd": (0.048, 5e-4),
        "mass": (1900, 50),
        "large": (1100, 50),
        "id": (1100, 50),
    },
}


def drawn(network, ones):
    """The statistics of Table 3 over all convolutions, `ones` added at the ID entries."""
    masks = network.id_entries()
    kernels = {name: p.detach().double() for name, p in network.named_parameters() if p.ndim == 4}
    moved = [w + ones * masks[name] if name in masks else w for name, w in kernels.items()]
    weights = torch.cat([w.flatten() for w in moved])
    sizes = weights.abs()
    ids = sum(w[masks[n]].abs().sum() for n, w in zip(kernels, moved, strict=True) if n in masks)
    large = sizes[sizes > 0.25].sum()
    values = (weights.mean(), weights.std(), sizes.sum(), large, ids)
    return dict(zip(TABLE_3["plain"], map(float, values), strict=True))


def expected(network, ones, scheme, fan):
    """Mean and standard error of the same statistics, from moments of normal distributions."""
    masks = network.id_entries()
    totals = np.zeros((5, 2))  # sums of w, w², |w|, |w| above 0.25, |w| of ID entries: mean, var
    count = 0
    for name, p in network.named_parameters():
        if p.ndim != 4:
            continue
        sd = (
            math.sqrt(2 / (9 * p.shape[fan == "in"]))
            if scheme == "kwi"
            else 1 / (9 * p.shape[fan == "in"])
        )
        entries = int(masks[name].sum()) if name in masks else 0
        count += p.numel()
        rest = p.numel() - entries
        for number, centre in ((rest, 0.0), (entries, ones)):
            moments = powers(centre, sd)
            totals[:4] += number * moments
            if number == entries:
                totals[4] += number * moments[2]
    (mean, var), (square, square_var) = totals[0], totals[1]
    sd = math.sqrt(square / count - (mean / count) ** 2)
    return {
        "mean": (mean / count, math.sqrt(var) / count),
        "sd": (sd, math.sqrt(square_var) / count / (2 * sd)),
        **{
            name: (totals[row, 0], math.sqrt(totals[row, 1]))
            for row, name in ((2, "mass"), (3, "large"), (4, "id"))
        },
    }


@cache
def powers(centre, sd):
    """Mean and variance of w, w², |w| and |w|·(|w| > 0.25) for one normal weight, by quadrature."""
    w = centre + sd * np.linspace(-9, 9, 20_001)
    density = stats.norm.pdf(w, centre, sd) * (w[1] - w[0])
    sizes = np.abs(w)
    values = np.stack([w, w**2, sizes, sizes * (sizes > 0.25)])
    first = values @ density
    return np.stack([first, values**2 @ density - first**2], axis=1)


@pytest.mark.parametrize(
    ("column", "scheme", "fan"),
    [("plain", "kwi", "in"), ("residual", "hmwi", "out"), ("residual", "hmwi", "in")],
)
def test_table_3_before_training(column, scheme, fan):
    """Table 3, depth 32, counts all convolutions, the stem too; its residual column has S fan-out.

    With S of Eq. 4 as printed, fan-in, the sum of |w| is 1976 ± 1, and 1900 is printed.
    """
    ones = 1.0 if column == "residual" else 0.0
    network = seeded(depth=32, residual=column == "residual", initialisation=scheme, fan=fan)
    measured, closed = drawn(network, ones), expected(network, ones, scheme, fan)
    met = {}
    for cell, (printed, half) in TABLE_3[column].items():
        value, error = closed[cell]
        # One draw, 15 cells: four standard errors are left by chance once in a thousand times.
        assert abs(measured[cell] - value) <= 4 * error, cell
        # The paper's draw was another one.
        met[cell] = abs(printed - value) <= half + 2 * error
    assert met == {cell: not (fan == "in" and ones and cell == "mass") for cell in met}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"depth": 21}, "depth 21: expected 3N + 2 with N = 1, 2, …; the nearest are 20 and 23"),
        ({"depth": 2}, "depth 2: expected 3N + 2"),
        ({"depth": -7}, "the nearest are 5 and 8"),
        ({"width_factor": 0.3}, "must be whole numbers"),
        ({"classes": 0}, "classes 0: expected a whole number of 1 or more"),
        ({"in_channels": -1}, "in_channels -1: expected"),
        ({"initialisation": "kaiming"}, "unknown initialisation 'kaiming'"),
        ({"initialisation": ""}, "unknown initialisation ''"),
        ({"fan": "avg"}, "unknown fan 'avg'"),
    ],
)
def test_a_bad_argument_is_named(arguments, words):
    with pytest.raises(InputError) as raised:
        simplified_resnet(**arguments)
    assert words in str(raised.value)


def test_a_recipe_may_name_scheme_and_fan():
    given = {"initialisation": "hmwi", "fan": "out", "residual": False}
    assert checked_arguments("simplified-resnet", given).items() >= given.items()
    assert "initialisation" not in checked_arguments("simplified-resnet", {})
    for key in given.keys() - {"residual"}:
        with pytest.raises(UnknownNameError, match=key):
            checked_arguments("simplified-resnet", {key: "in-between"})


def test_it_trains_as_a_recipe_says(tiny, tmp_path, final_weights):
    overrides = ("model.name=simplified-resnet", "model.fan=out", "schedule.learning_rate=0.01")
    outcome = train(tiny(*overrides), tmp_path / "run")
    assert outcome.status == "finished"
    trained = final_weights(tmp_path / "run")
    fresh = simplified_resnet(depth=8, in_channels=1).state_dict()
    assert {name: value.shape for name, value in trained.items()} == {
        name: value.shape for name, value in fresh.items()
    }
    assert trained["stem.conv.bias"].any()
