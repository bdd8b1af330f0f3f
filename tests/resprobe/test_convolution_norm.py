import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resprobe.errors import InputError
from resprobe.linalg.convolution import convolution_frobenius_norm, linear_frobenius_norm

FORWARD = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
BACKWARD = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def explicit_norm(layer, size):
    """The norm of the matrix whose columns are the images of all unit images."""
    channels = layer.in_channels
    inputs = channels * torch.Size(size).numel()
    units = torch.eye(inputs, dtype=torch.float64).reshape(inputs, channels, *size)
    with torch.no_grad():
        return float(layer(units).norm())


def closed_norm(layer, size):
    transposed = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    return convolution_frobenius_norm(
        layer.weight,
        size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        padding_mode=layer.padding_mode,
        transposed=transposed,
        output_padding=layer.output_padding,
    )


@st.composite
def layers(draw, transposed=False):
    """A layer without bias in float64, and the size of an image it takes."""
    axes = draw(st.integers(1, 3))
    mode = "zeros"
    if not transposed:
        mode = draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"]))
    size, kernel, stride, padding, dilation, extra = [], [], [], [], [], []
    for _ in range(axes):
        taps, apart, pad = (draw(st.integers(a, b)) for a, b in ((1, 3), (1, 2), (0, 3)))
        reach = apart * (taps - 1) + 1
        if transposed:
            pad = min(pad, reach - 1)
            least = max(1, 2 * pad - reach + 2)
        else:  # reflection needs more places than it pads, going round as many
            least = max(1, reach - 2 * pad, {"reflect": pad + 1, "circular": pad}.get(mode, 1))
        size.append(draw(st.integers(least, least + 4)))
        kernel.append(taps)
        dilation.append(apart)
        padding.append(pad)
        stride.append(draw(st.integers(1, 3)))
        extra.append(draw(st.integers(0, max(stride[-1], apart) - 1)) if transposed else 0)
    groups = draw(st.integers(1, 2))
    channels = (groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)))
    torch.manual_seed(draw(st.integers(0, 99)))
    options = {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation)}
    options |= {"groups": groups, "bias": False, "dtype": torch.float64}
    if transposed:
        options["output_padding"] = tuple(extra)
        layer = BACKWARD[axes](*channels, tuple(kernel), **options)
    else:
        layer = FORWARD[axes](*channels, tuple(kernel), padding_mode=mode, **options)
    return layer, tuple(size)


@settings(deadline=None, max_examples=60)
@given(layers())
def test_the_closed_form_is_the_norm_of_the_explicit_matrix(case):
    layer, size = case
    # Sums of at most some thousands of squares, each in another order: a few roundings.
    assert closed_norm(layer, size) == pytest.approx(explicit_norm(layer, size), rel=1e-14)


@settings(deadline=None, max_examples=40)
@given(layers(transposed=True))
def test_the_closed_form_holds_for_transposed_convolutions(case):
    layer, size = case
    assert closed_norm(layer, size) == pytest.approx(explicit_norm(layer, size), rel=1e-14)


def test_a_map_and_its_transpose_have_one_norm():
    weight = torch.randn(
        4, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    same = {"stride": (2, 2), "padding": (1, 1), "dilation": (1, 1)}
    forward = convolution_frobenius_norm(weight, (8, 9), **same)
    back = convolution_frobenius_norm(
        weight, (4, 5), **same, transposed=True, output_padding=(1, 0)
    )
    assert back == pytest.approx(forward, rel=1e-14)


@pytest.mark.parametrize(("size", "inside"), [(32, 94 / 96), (8, 22 / 24)])
def test_borders_count_on_small_images(size, inside):
    # Of three taps along an axis two miss the image once: 3n - 2 of 3n places remain.
    weight = torch.ones(1, 1, 3, 3)
    given_ = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    norm = convolution_frobenius_norm(weight, (size, size), **given_)
    assert norm == pytest.approx(size * 3 * inside, rel=1e-15)


def test_circular_padding_counts_every_tap_everywhere():
    weight = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    norm = convolution_frobenius_norm(
        weight, (7, 5), stride=(1, 1), padding=(1, 1), dilation=(1, 1), padding_mode="circular"
    )
    assert norm == pytest.approx(35**0.5 * float(weight.double().norm()), rel=1e-14)


def test_uneven_padding_is_what_padding_by_hand_gives():
    weight = torch.randn(2, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    units = torch.eye(6, dtype=torch.float64)[:, None]
    images = F.conv1d(F.pad(units, (1, 2)), weight)
    norm = convolution_frobenius_norm(weight, (6,), stride=(1,), padding=[(1, 2)], dilation=(1,))
    assert norm == pytest.approx(float(images.norm()), rel=1e-14)


def test_float32_weights_are_summed_in_float64():
    weight = torch.full((64, 64, 3, 3), 0.1)
    given_ = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    norm = convolution_frobenius_norm(weight, (3, 3), **given_)
    assert norm == pytest.approx(
        float(weight[0, 0, 0, 0].double()) * (64 * 64 * 9) ** 0.5, rel=1e-14
    )


def test_a_linear_layer_at_several_places():
    weight = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = torch.block_diag(weight, weight)
    assert linear_frobenius_norm(weight) == pytest.approx(float(weight.norm()), rel=1e-15)
    assert linear_frobenius_norm(weight, 2) == pytest.approx(float(matrix.norm()), rel=1e-15)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"padding_mode": "mirror"}, "padding mode 'mirror'"),
        ({"padding_mode": "circular", "transposed": True}, "transposed"),
        ({"stride": (1,)}, "2 spatial axes"),
        ({"padding": (0, 0)}, "no output"),
        ({"padding": (3, 3), "transposed": True}, "no output"),
    ],
)
def test_what_is_no_convolution_is_refused(change, words):
    options = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)} | change
    with pytest.raises(InputError, match=words):
        convolution_frobenius_norm(torch.ones(1, 1, 3, 3), (2, 2), **options)
