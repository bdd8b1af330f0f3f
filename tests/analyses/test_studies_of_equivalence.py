"""YT-E1, YT-E2 and YT-T3 fail where what they measure is broken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exact_evidence import failed, measured
from hypothesis import given
from hypothesis import strategies as st
from resprobe_analyses.studies import yt_e1, yt_e2, yt_h, yt_t3
from resprobe_analyses.studies.equivalent_networks import (
    HMWI,
    KWI,
    equivalent_pair,
    rounding_bound,
    simplified,
)
from resprobe_analyses.studies.other_shortcuts import OTHER_SHORTCUTS, with_shortcut
from resprobe_analyses.studies.weight_moments import Normal, Uniform
from resprobe_analyses.studies.yt_t3_cells import Reading, parts_of, rounding_interval
from scipy import stats
from torch import nn

UNIT = 2.0**-53

# -- YT-E1 ----------------------------------------------------------------------------------------


def checked(make, cases=((HMWI, "residual"), (KWI, "plain"))):
    return yt_e1.measure(make, depths=(8,), cases=cases)


def test_the_bound_is_the_stated_multiple_of_rounding():
    assert rounding_bound(20, 576) == pytest.approx(4 * 24 * 20 * UNIT, rel=1e-15)
    assert pytest.approx(2 * 579 * UNIT, rel=1e-15) == yt_e1.LAYER_BOUND


def test_yt_e1_holds_at_another_depth_too():
    evidence = checked(simplified)
    assert failed(evidence) == []
    assert len(evidence.checks) == 2 * 4 + 2 * 2


@pytest.mark.parametrize("words", OTHER_SHORTCUTS)
def test_yt_e1_fails_with_another_shortcut(words):
    def make(*, residual, **arguments):
        network = simplified(residual=residual, **arguments)
        if residual:
            with_shortcut(network, OTHER_SHORTCUTS[words])
        return network

    names = failed(checked(make))
    assert len(names) == 6  # for both maps logits, gradients and the doubling layers
    assert not any("that keep them" in name for name in names)


def test_yt_e1_fails_if_a_skip_is_off_by_a_part_in_a_hundred_million():
    def make(*, residual, **arguments):
        network = simplified(residual=residual, **arguments)
        for module in network.modules() if residual else ():
            if isinstance(getattr(module, "shortcut", None), nn.Identity):
                module.shortcut = Scaled(1 - 1e-8)
        return network

    names = failed(checked(make))
    assert len(names) == 6
    assert not any("that double the channels" in name for name in names)


def test_yt_e1_fails_if_its_controls_are_none(monkeypatch):
    """A control that the map does hold for is no control."""

    def right(x, channels):
        return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, channels - x.shape[1]))

    monkeypatch.setattr(yt_e1, "OTHER_SHORTCUTS", {"the right one": right})
    names = failed(checked(simplified))
    assert len(names) == 2
    assert all("control" in name for name in names)


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def kernel_of(words, width, source):
    """The kernel that is the shortcut: four taps of 1/4, or ones shifted by the padded channels."""
    kernel = torch.zeros(width, source, 3, 3, dtype=torch.float64)
    for c in range(source):
        if words.startswith("averages"):
            kernel[c, c, 1:, 1:] = 0.25
        else:
            kernel[c + (width - source) // 2, c, 1, 1] = 1
    return kernel


@pytest.mark.parametrize("words", OTHER_SHORTCUTS)
def test_the_controls_equal_plain_networks_too_but_with_another_kernel(words):
    pair = equivalent_pair(simplified, HMWI, "residual", 0, biases=0.1, depth=8)
    with_shortcut(pair.residual, OTHER_SHORTCUTS[words])
    with torch.no_grad():
        for name, entries in pair.id_entries.items():
            if entries.shape[0] != entries.shape[1]:
                weight = pair.residual.get_parameter(name)
                kernel = kernel_of(words, *entries.shape[:2])
                pair.plain.get_parameter(name).copy_(weight + kernel)
    found = yt_e1.distance(pair)
    assert found.outputs < rounding_bound(8, 576)
    assert max(found.doubled) < yt_e1.LAYER_BOUND


# -- YT-E2 ----------------------------------------------------------------------------------------


def small_pair(start="residual"):
    return equivalent_pair(
        simplified, HMWI, start, 3, depth=8, width_factor=0.25, in_channels=1, biases=0.1
    )


@pytest.fixture(scope="module")
def batches():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(4, 6, 1, 8, 8, dtype=torch.float64, generator=generator)
    labels = torch.randint(10, (4, 6), generator=generator)
    return list(zip(pixels, labels, strict=True))


def test_the_loop_is_torchs_gradient_descent_with_weight_decay(batches):
    pair, other = small_pair(), small_pair().residual
    penalty = yt_e2.Penalty(0.01)
    found = yt_e2.lockstep(pair, (penalty, penalty), batches)
    rule = torch.optim.SGD(
        other.parameters(), lr=yt_e2.RATE, momentum=yt_e2.MOMENTUM, weight_decay=0.01
    )
    for step, (images, labels) in enumerate(batches):
        loss = nn.functional.cross_entropy(other(images), labels)
        norm = sum(float(p.detach().square().sum()) for p in other.parameters())
        assert found.costs[step, 0] == pytest.approx(loss.item() + 0.005 * norm, rel=1e-13)
        rule.zero_grad()
        loss.backward()
        rule.step()
    for mine, theirs in zip(pair.residual.parameters(), other.parameters(), strict=True):
        # four steps of the same sums in another order
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


def test_the_penalty_pulls_id_entries_to_one(batches):
    pair = small_pair()
    shift = {name: entries.double() for name, entries in pair.id_entries.items()}
    gradients = [
        yt_e2.cost_and_gradients(pair.plain, penalty, batches[0])[1]
        for penalty in (yt_e2.Penalty(0.2, shift), yt_e2.Penalty(0.0))
    ]
    for name, weight in pair.plain.named_parameters():
        target = shift.get(name, torch.zeros_like(weight))
        expected = 0.2 * (weight.detach() - target)
        difference = gradients[0][name] - gradients[1][name]
        torch.testing.assert_close(difference, expected, rtol=1e-12, atol=1e-14)


def test_distances_of_weights_are_over_the_largest_one():
    pair = small_pair()
    name = next(iter(pair.id_entries))
    largest = max(float(p.detach().abs().max()) for p in pair.plain.parameters())
    with torch.no_grad():
        pair.plain.get_parameter(name)[0, 0, 1, 1] -= 0.5
    assert yt_e2.weight_distance(pair) == pytest.approx(0.5 / largest, rel=0.2)


@pytest.fixture
def three_steps(monkeypatch):
    monkeypatch.setattr(yt_e2, "STEPS", 3)


@pytest.mark.usefixtures("three_steps")
def test_yt_e2_fails_for_networks_that_are_not_equivalent():
    def make(*, residual, **arguments):
        network = simplified(residual=residual, **arguments)
        if residual:
            with_shortcut(network, OTHER_SHORTCUTS["averages of 2×2 pixels"])
        return network

    names = failed(yt_e2.measure(make))
    assert len(names) == 3 + 2 * 2  # gradients, costs and weights, wherever they are compared


@pytest.mark.usefixtures("three_steps")
def test_yt_e2_fails_where_the_control_separates_nothing(monkeypatch):
    """Without weight decay the wrong penalty is the right one."""
    monkeypatch.setattr(yt_e2, "DECAY", 0.0)
    assert [name for name in failed(yt_e2.measure()) if "control" in name]


@pytest.mark.usefixtures("three_steps")
def test_yt_e2_fails_if_nothing_is_trained(monkeypatch):
    monkeypatch.setattr(yt_e2, "RATE", 0.0)
    names = failed(yt_e2.measure())
    assert len([name for name in names if "moved" in name]) == 2


# -- YT-T3 ----------------------------------------------------------------------------------------

# Worked out from Eqs. 3 and 4 apart from this code: value and standard deviation of a draw, each
# to the digits given.
WORKED_OUT = {
    Reading("kwi", "in"): {
        "mean": (0, 1.0e-4),
        "deviation": (0.0702, None),
        "mass": (25_033, 29),
        "large": (412, 11),
        "id": (64.9, 1.6),
    },
    Reading("kwi", "in", "blocks"): {
        "deviation": (0.0697, None),
        "mass": (24_939, None),
        "large": (351, 10),
        "id": (64.9, None),
    },
    Reading("kwi", "out"): {
        "deviation": (0.0683, None),
        "mass": (24_494, None),
        "large": (299, None),
        "id": (63.8, 1.5),
    },
    Reading("hmwi", "in"): {
        "mean": (0.00232, None),
        "deviation": (0.0482, None),
        "mass": (1976, None),
        "large": (1072, None),
        "id": (1072, None),
    },
    Reading("hmwi", "in", "blocks"): {
        "mean": (0.00233, None),
        "deviation": (0.0483, None),
        "mass": (1963, 1.1),
    },
    Reading("hmwi", "out"): {"deviation": (0.0482, None), "mass": (1927, 1.1)},
    Reading("hmwi", "out", "blocks"): {
        "mean": (0.00233, None),
        "deviation": (0.0482, None),
        "mass": (1925, 1.1),
    },
}


def half_unit(number):
    """Half a unit in the last digit that is written, the digits of a float as Python has them."""
    text = f"{number}"
    places = len(text.partition(".")[2]) if "e" not in text else 1 - int(text.partition("e")[2])
    return 0.5 * 10.0**-places


@pytest.mark.parametrize("reading", WORKED_OUT, ids=lambda reading: reading.words)
def test_closed_forms_are_those_worked_out_before(reading):
    data = measured("YT-T3").dataset.sel(
        column=reading.scheme, fan=reading.fan, counted=reading.counted
    )
    for statistic, (value, deviation) in WORKED_OUT[reading].items():
        cell = data.sel(statistic=statistic)
        # one unit, not half of one: some were cut, not rounded
        assert float(cell["expected"]) == pytest.approx(value, abs=2 * half_unit(value) + 1e-12)
        if deviation is not None:
            tolerance = 2 * half_unit(deviation)
            assert float(cell["deviation"]) == pytest.approx(deviation, abs=tolerance)


@given(
    st.floats(-1.5, 1.5),
    st.floats(0.05, 0.6),
    st.floats(0, 1),
    st.floats(-1, 1),
)
def test_moments_of_normal_weights_are_integrals(mean, deviation, least, centre):
    compare(Normal(1, mean, deviation), stats.norm(mean, deviation).pdf, (-9, 9), least, centre)


@given(st.floats(0.05, 0.6), st.floats(0, 0.7), st.floats(-1, 1))
def test_moments_of_uniform_weights_are_integrals(reach, least, centre):
    compare(
        Uniform(1, reach), lambda w: np.full_like(w, 0.5 / reach), (-reach, reach), least, centre
    )


def compare(drawn, density, ends, least, centre):
    def moment(function, low, high):
        """By the midpoint rule, whose error is the square of 18/20,000 times a slope."""
        w = low + (high - low) * (np.arange(20_000) + 0.5) / 20_000
        return max(high - low, 0) * (function(w) * density(w)).mean()

    for power, found in zip((1, 2), second_moments(*drawn.size_from(least)), strict=True):
        expected = sum(
            moment(lambda w, power=power: np.abs(w) ** power, low, high)
            for low, high in ((ends[0], -least), (least, ends[1]))
        )
        assert found == pytest.approx(expected, abs=1e-5)
    for power, found in zip((2, 4), second_moments(*drawn.square_about(centre)), strict=True):
        expected = moment(lambda w, power=power: (w - centre) ** power, *ends)
        assert found == pytest.approx(expected, abs=1e-5)


def second_moments(mean, variance):
    return mean, variance + mean**2


@pytest.mark.parametrize(
    ("printed", "low", "high"),
    [("0.000062", 6.15e-5, 6.25e-5), ("0.070", 0.0695, 0.0705), ("67", 66.5, 67.5),
     ("1900", 1850, 1950), ("25000", 24_500, 25_500)],
)  # fmt: skip
def test_printed_numbers_have_two_significant_digits(printed, low, high):
    assert rounding_interval(printed) == pytest.approx((low, high), rel=1e-12)


def test_what_counts_is_what_the_reading_says():
    network = simplified(depth=32)
    counts = {
        counted: sum(part.count for part in parts_of(network, Reading("kwi", "in", counted))[0])
        for counted in ("convolutions", "blocks", "everything")
    }
    assert counts == {"blocks": 460_800, "convolutions": 461_232, "everything": 461_872}
    everything, identities = parts_of(network, Reading("hmwi", "in"))
    assert sum(part.count for part in identities) == 1072
    assert {part.mean for part in identities} == {1.0}
    assert sum(part.count for part in everything) == 461_232


def test_as_printed_eq_4_misses_one_cell():
    data = measured("YT-T3").dataset.sel(counted="convolutions")
    met = (data["low"] <= data["expected"]) & (data["expected"] <= data["high"])
    assert met.sel(column="kwi", fan="in").values.all()
    assert met.sel(column="hmwi", fan="out").values.all()
    printed = met.sel(column="hmwi", fan="in")
    assert printed["statistic"].values[~printed.values].tolist() == ["mass"]


def test_yt_t3_fails_for_networks_drawn_with_the_other_fan():
    others = {"in": "out", "out": "in"}
    names = failed(yt_t3.measure(lambda scheme, fan: yt_h.make(scheme, others[fan])))
    assert sum("against the closed forms" in name for name in names) >= 6


def test_yt_t3_fails_for_another_table(monkeypatch):
    table = {"kwi": yt_t3.TABLE["kwi"], "hmwi": {**yt_t3.TABLE["hmwi"], "mass": "2000"}}
    monkeypatch.setattr("resprobe_analyses.studies.yt_t3_cells.TABLE", table)
    names = failed(yt_t3.measure())
    assert any("S from the output channels, all convolutions: mass" in name for name in names)
    assert any("cells missed" in name for name in names)


def test_yt_t3_draws_every_reading():
    evidence = measured("YT-T3")
    left, right = evidence.figures["table"].axes
    assert len(left.lines) == len(right.lines) == 6
    data = evidence.dataset.sel(column="hmwi", fan="in", counted="convolutions", statistic="mass")
    granted = float(data["high"] - data["low"]) / 2
    expected = (float(data["expected"]) - 1900) / granted
    assert right.lines[0].get_xdata()[2] == pytest.approx(expected, rel=1e-9)
    assert expected > 1
