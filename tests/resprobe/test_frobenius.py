import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from resprobe.errors import InputError
from resprobe.linalg.frobenius import frobenius_norms, from_images, signs, squared_norm_of_images
from resprobe.linalg.linear_map import Dense


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=generator(seed), dtype=dtype)


def estimates(matrix, draws, probes, seed=0):
    """Independent estimates from so many probes each: norms and standard errors, `(draw,)`."""
    z = signs(
        (probes, draws, matrix.shape[1]),
        generator=generator(seed),
        dtype=matrix.dtype,
        device=matrix.device,
    )
    return from_images(squared_norm_of_images(z @ matrix.T))


def test_the_interval_covers_the_norm_as_often_as_it_says():
    matrix = drawn(40, 30)
    draws, probes = 2000, 16
    norms, stderr = estimates(matrix, draws, probes)
    half = stats.t.ppf(0.975, probes - 1) * stderr
    covered = int(((norms - matrix.norm()).abs() <= half).sum())
    # The binomial interval of the number covered at a true rate of 95 %, at 99.9 %.
    low, high = stats.binom.interval(0.999, draws, 0.95)
    assert low <= covered <= high


def test_the_square_is_unbiased():
    matrix = drawn(20, 30, seed=1)
    norms, stderr = estimates(matrix, 4000, 8)
    squares = norms**2
    error = float(squares.mean() - matrix.norm() ** 2)
    assert abs(error) <= 4 * float(squares.std()) / 4000**0.5
    assert float(norms.std()) == pytest.approx(float(stderr.mean()), rel=0.1)


def test_the_error_falls_with_the_root_of_the_number_of_probes():
    matrix = drawn(30, 40, seed=2)
    spreads = [float(estimates(matrix, 1500, k)[0].std()) for k in (8, 32, 128)]
    # A spread from 1500 draws is good to 2 %, a ratio of two to 3 %: four of those.
    assert spreads[0] / spreads[1] == pytest.approx(2, rel=0.1)
    assert spreads[1] / spreads[2] == pytest.approx(2, rel=0.1)


def test_the_stopping_rule_leaves_the_interval_nearly_as_good():
    # To stop when the error looks small favours draws in which it was judged too small; because
    # the number of probes doubles there are few looks, and no more than a few percent are lost.
    matrices = drawn(1, 60, 50, seed=3)
    covered, draws, seed = 0, 400, generator(5)
    for _ in range(draws):
        found = frobenius_norms(Dense(matrices), generator=seed, relative_error=0.02, at_most=48)
        half = stats.t.ppf(0.975, found.probes - 1) * found.stderr
        covered += int(bool(((found.values - matrices.norm()).abs() <= half).all()))
    assert covered >= stats.binom.ppf(0.001, draws, 0.92)


def test_it_stops_when_every_sample_meets_the_target():
    # Equal singular values: every probe gives nearly the same length. The other has one alone.
    flat = torch.linalg.qr(drawn(300, 300)).Q * 3
    spiky = torch.outer(drawn(300, seed=1), drawn(300, seed=2))
    found = frobenius_norms(Dense(flat[None]), generator=generator(), relative_error=1e-3)
    assert found.probes == 8
    assert bool(found.converged.all())
    both = Dense(torch.stack([flat, spiky]))
    found = frobenius_norms(both, generator=generator(), relative_error=0.01, at_most=64)
    assert found.probes == 64
    assert found.converged.tolist() == [True, False]
    assert not found.exact
    assert float(found.stderr[0]) > 0  # never claimed to be exact


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_few_inputs_are_measured_exactly(dtype):
    matrices = drawn(3, 50, 7, dtype=dtype)
    found = frobenius_norms(Dense(matrices), generator=generator())
    expected = matrices.double().flatten(1).norm(dim=1)
    # Float32 products round once an entry: a few 1e-8 in the norm.
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(found.values, expected, rtol=tolerance, atol=0)
    assert found.exact
    assert found.stderr.tolist() == [0, 0, 0]
    assert found.probes == 7


def test_where_columns_cost_no_more_than_probes_they_are_taken():
    spiky = torch.outer(drawn(40), drawn(40, seed=1))[None]
    found = frobenius_norms(Dense(spiky), generator=generator(), relative_error=1e-3)
    assert found.exact
    assert float(found.values) == pytest.approx(float(spiky.norm()), rel=1e-14)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 50), st.floats(1e-3, 1e3))
def test_one_stream_of_signs_gives_a_scaled_map_a_scaled_norm(seed, factor):
    matrices = drawn(2, 30, 90, seed=seed)
    found = [
        frobenius_norms(Dense(m), generator=generator(seed), relative_error=0.05)
        for m in (matrices, factor * matrices)
    ]
    assert found[0].probes == found[1].probes
    torch.testing.assert_close(found[1].values, factor * found[0].values)
    torch.testing.assert_close(found[1].stderr, factor * found[0].stderr)


def test_a_sample_with_a_generator_of_its_own_does_not_depend_on_the_others():
    easy, hard = torch.eye(70), drawn(70, 70)
    hard[0] *= 50
    target = {"relative_error": 0.02, "at_most": 64}

    def measured(matrices, *seeds):
        drawing = [generator(seed) for seed in seeds]
        return frobenius_norms(Dense(matrices), generator=drawing, **target)

    both = measured(torch.stack([easy, hard, 2 * easy + hard]), 1, 2, 3)
    assert both.probes == 64
    for sample, matrix in enumerate([easy, hard, 2 * easy + hard]):
        alone = measured(matrix[None], sample + 1)
        # One after the other the products round otherwise.
        torch.testing.assert_close(alone.values[0], both.values[sample], rtol=1e-5, atol=0)
        torch.testing.assert_close(alone.stderr[0], both.stderr[sample], rtol=1e-3, atol=1e-5)


def test_a_zero_map_has_norm_zero():
    found = frobenius_norms(Dense(torch.zeros(2, 30, 90)), generator=generator())
    assert found.values.tolist() == [0, 0]
    assert bool(found.converged.all())


@pytest.mark.parametrize("inputs", [5, 90])
def test_no_samples_have_no_norms(inputs):
    found = frobenius_norms(Dense(torch.zeros(0, 30, inputs)), generator=generator())
    assert found.values.shape == found.stderr.shape == found.converged.shape == (0,)


def test_shapes_are_those_of_the_map():
    matrices = drawn(2, 24, 60)
    flat = frobenius_norms(Dense(matrices), generator=generator())
    shaped = frobenius_norms(Dense(matrices, (3, 4, 5), (2, 12)), generator=generator())
    assert torch.equal(flat.values, shaped.values)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_cannot_be_measured_is_refused(bad):
    matrices = drawn(1, 30, 90)
    with pytest.raises(InputError, match="at least 8 probes"):
        frobenius_norms(Dense(matrices), generator=generator(), at_most=4)
    with pytest.raises(InputError, match="two probes"):
        from_images(drawn(1, 3) ** 2)
    matrices[0, 3, 4] = bad
    with pytest.raises(InputError, match="not finite"):
        frobenius_norms(Dense(matrices), generator=generator())
