import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resprobe.linalg.norms import inner, squared_norm
from resprobe.quantities.norms import block_norms
from resprobe.quantities.outputs import classification

shapes = st.lists(st.integers(1, 9), min_size=2, max_size=4).map(tuple)


def drawn(shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@given(shapes, st.integers(0, 100))
def test_squared_norm_is_the_sum_of_squares_of_each_sample(shape, seed):
    x = drawn(shape, seed)
    expected = torch.stack([(sample**2).sum() for sample in x])
    torch.testing.assert_close(squared_norm(x), expected, rtol=1e-14, atol=0)


@given(shapes, st.integers(0, 100))
def test_inner_product_is_symmetric_and_agrees_with_the_norm(shape, seed):
    x, y = drawn(shape, seed), drawn(shape, seed + 1)
    assert torch.equal(inner(x, y), inner(y, x))
    torch.testing.assert_close(inner(x, x), squared_norm(x), rtol=1e-14, atol=0)


@given(st.integers(0, 100), st.floats(0.01, 100))
def test_the_ratio_scales_with_the_branch_and_the_cosine_does_not(seed, factor):
    s, branch = drawn((3, 4, 5), seed), drawn((3, 4, 5), seed + 1)
    before, after = block_norms(s, s, branch), block_norms(s, s, factor * branch)
    torch.testing.assert_close(
        after["branch_shortcut_ratio"], factor * before["branch_shortcut_ratio"]
    )
    torch.testing.assert_close(after["branch_shortcut_cosine"], before["branch_shortcut_cosine"])


@pytest.mark.parametrize("elements", [1, 511, 512, 513, 521, 1024, 3 * 521, 2**14, 10007])
def test_float32_sums_lose_nothing_that_float64_would_keep(elements):
    x = drawn((4, elements), 0, torch.float32)
    exact = (x.double() ** 2).sum(1)
    # A run of at most 512 squares is summed in float32: its error stays below 512 roundings.
    torch.testing.assert_close(squared_norm(x), exact, rtol=512 * 2**-24, atol=0)
    assert float((squared_norm(x) / exact - 1).abs().max()) < 1e-6


def test_a_sum_of_millions_of_float32_squares_keeps_six_digits():
    # Equal entries are the worst case: every run's norm is rounded to the same side.
    x = torch.full((1, 6_500_000), 0.1)
    exact = 6_500_000 * float(x[0, 0].double()) ** 2
    assert float(squared_norm(x)) == pytest.approx(exact, rel=1e-6)


def test_channels_last_gives_the_same_numbers():
    x, y = drawn((3, 8, 6, 6), 0), drawn((3, 8, 6, 6), 1)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(squared_norm(last), squared_norm(x))
    torch.testing.assert_close(inner(last, y), inner(x, y))


def test_half_precision_is_summed_in_float32():
    x = drawn((2, 600), 0).to(torch.bfloat16)
    torch.testing.assert_close(squared_norm(x), (x.double() ** 2).sum(1), rtol=1e-6, atol=0)


def test_five_numbers_by_hand():
    s = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    branch = torch.tensor([[4.0, -3.0]], dtype=torch.float64)
    found = {name: float(value) for name, value in block_norms(s, s, 2 * branch).items()}
    assert found == {
        "input_norm": 5.0,
        "shortcut_norm": 5.0,
        "branch_norm": 10.0,
        "branch_shortcut_ratio": 2.0,
        "branch_shortcut_cosine": 0.0,
    }


def test_an_empty_shortcut_has_no_ratio():
    zero, branch = torch.zeros(1, 3), torch.ones(1, 3)
    assert block_norms(zero, zero, branch)["branch_shortcut_ratio"].isnan().all()


def test_margin_loss_and_correctness_by_hand():
    outputs = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
    found = classification(outputs, torch.tensor([0, 2]))
    assert found["margin"].tolist() == [1.0, -2.0]
    assert found["correct"].tolist() == [1, 0]
    expected = -torch.log_softmax(outputs.double(), 1)[[0, 1], [0, 2]]
    torch.testing.assert_close(found["test_loss"].double(), expected, rtol=1e-6, atol=0)
