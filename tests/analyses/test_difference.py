"""The paired difference of two groups: its numbers, whatever measured them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resprobe_analyses import statistics
from resprobe_analyses.difference import (
    Compared,
    GroupValues,
    Items,
    NetworkValues,
    compare,
    compare_groups,
    difference_lines,
)
from scipy import stats

NORM = Compared("branch_norm", "‖G‖", ratio=True)
SHIFT = Compared("shift", "the shift", units="nat")
WRONG = Compared("error", "the error increase", binary=True)


def blocks(count: int, transitions: tuple[int, ...] = ()) -> Items:
    flags = np.isin(np.arange(count), transitions)
    return Items(tuple(f"b{place}" for place in range(count)), np.cumsum(flags), flags)


def group(label: str, *arrays: np.ndarray, items: Items | None = None, **options) -> GroupValues:
    """A group whose networks have the seeds 0, 1, …"""
    nets = [NetworkValues(seed, array, **options) for seed, array in enumerate(arrays)]
    return GroupValues(label, items or blocks(arrays[0].shape[-1]), nets)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([7, seed]).normal(size=shape)


def test_one_network_each_is_compared_over_images_as_scipy_does():
    first, second = drawn(0, 40, 3) + np.array([0.0, 0.5, 2.0]), drawn(1, 40, 3)
    found = compare(group("a", first), group("b", second), SHIFT)
    expected = [stats.ttest_1samp(column, 0) for column in (first - second).T]
    assert found.change.value == pytest.approx((first - second).mean(axis=0))
    assert found.change.low == pytest.approx([e.confidence_interval().low for e in expected])
    assert found.change.high == pytest.approx([e.confidence_interval().high for e in expected])
    # Holm by hand: the k-th smallest of three times 3, 2, 1
    order = np.argsort([e.pvalue for e in expected])
    stepped = np.maximum.accumulate(
        [expected[i].pvalue * f for i, f in zip(order, (3, 2, 1), strict=True)]
    )
    assert found.p_holm[order] == pytest.approx(np.minimum(stepped, 1))
    assert found.changed[0] == 2
    assert (found.images, found.networks, found.seeds) == (40, 2, (0,))


def test_a_ratio_is_the_geometric_mean_of_the_ratios_of_images():
    second = np.exp(drawn(0, 30, 4))
    first = second * [1.0, 2.0, 0.5, 3.0] * np.exp(0.1 * drawn(1, 30, 4))
    found = compare(group("a", first), group("b", second), NORM)
    logs = np.log(first / second)
    assert found.change.value == pytest.approx(stats.gmean(first / second, axis=0))
    bounds = stats.ttest_1samp(logs[:, 1], 0).confidence_interval()
    assert found.change.low[1] == pytest.approx(np.exp(bounds.low))
    assert found.mean.value == pytest.approx(np.exp(logs.mean()))
    assert found.nothing == 1
    assert set(found.changed) == {1, 2, 3}
    assert found.changed[0] == 3


def test_five_equal_seeds_are_paired_and_fewer_are_told_over_images():
    first = [drawn(seed, 20, 3) + 1 for seed in range(5)]
    second = [drawn(10 + seed, 20, 3) for seed in range(5)]
    found = compare(group("a", *first), group("b", *second), SHIFT)
    means = np.mean(first, axis=1) - np.mean(second, axis=1)
    expected = stats.ttest_1samp(means, 0)
    bounds = expected.confidence_interval()
    assert found.change.over == "seeds"
    assert found.seeds == (0, 1, 2, 3, 4)
    assert found.change.low == pytest.approx(bounds.low)
    assert found.p_holm.min() == pytest.approx(3 * expected.pvalue.min())
    turned = group("b", *second)
    turned = replace(turned, networks=turned.networks[::-1])
    again = compare(group("a", *first), turned, SHIFT)
    assert again.change.value == pytest.approx(found.change.value)
    few = compare(group("a", *first[:4]), group("b", *second[:4]), SHIFT)
    assert few.change.over == "images"
    by_image = np.mean(first[:4], axis=0) - np.mean(second[:4], axis=0)
    assert few.change.high == pytest.approx(
        stats.ttest_1samp(by_image, 0).confidence_interval().high
    )


def test_groups_without_a_common_seed_are_averaged():
    first, second = [drawn(0, 20, 2), drawn(1, 20, 2)], [drawn(2, 20, 2)]
    other = GroupValues("b", blocks(2), [NetworkValues(9, second[0])])
    found = compare(group("a", *first), other, SHIFT)
    assert found.seeds == ()
    assert found.networks == 3
    assert found.change.value == pytest.approx((np.mean(first, axis=0) - second[0]).mean(axis=0))


def test_changes_of_right_and_wrong_keep_a_width_where_no_image_changes():
    same = np.zeros((200, 2))
    found = compare(group("a", same), group("b", same), WRONG)
    expected = statistics.mean_change_interval(np.zeros(200))
    assert found.change.low == pytest.approx(expected[1])
    assert found.change.low[0] < 0 < found.change.high[0]
    assert found.p_holm == pytest.approx(1)


def test_changes_of_right_and_wrong_are_estimated_as_the_statistics_say():
    generator = np.random.default_rng(5)
    first = [generator.integers(-1, 2, (300, 4)).astype(float) for _ in range(2)]
    second = [(generator.random((300, 4)) < 0.1).astype(float) for _ in range(2)]
    items = blocks(4, (0,))
    found = compare(group("a", *first, items=items), group("b", *second, items=items), WRONG)
    by_image = np.mean(first, axis=0) - np.mean(second, axis=0)
    for item in range(4):
        value, low, high = statistics.mean_change_interval(by_image[:, item], parts=2)
        bounds = found.change.value[item], found.change.low[item], found.change.high[item]
        assert bounds == pytest.approx((float(value), low, high))
    p_values = [statistics.mean_change_p(by_image[:, item], parts=2) for item in range(4)]
    assert found.p_holm == pytest.approx(statistics.holm(p_values))
    # the mean over three blocks of two networks is one over six differences
    expected = statistics.mean_change_interval(by_image[:, 1:].mean(axis=1), parts=6)
    told = found.mean.value, found.mean.low, found.mean.high
    assert told == pytest.approx([float(bound) for bound in expected])


@settings(max_examples=20)
@given(
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.floats(0, 0.4),
    st.sampled_from([NORM, SHIFT]),
)
def test_laws(seed, networks, missing, quantity):
    """Swapping turns the sign round; order and missing images act item by item."""
    generator = np.random.default_rng(seed)
    items = blocks(4, (2,))
    first, second = np.exp(generator.normal(size=(2, networks, 25, 4)))
    first[generator.random(first.shape) < missing] = np.nan
    a, b = group("a", *first, items=items), group("b", *second, items=items)
    found, turned = compare(a, b, quantity), compare(b, a, quantity)
    told = np.log if quantity.ratio else np.asarray
    for ours, theirs in (("value", "value"), ("low", "high"), ("high", "low")):
        assert told(getattr(found.change, ours)) == pytest.approx(
            -told(getattr(turned.change, theirs)), nan_ok=True, abs=1e-9
        )
    assert found.p_holm == pytest.approx(turned.p_holm, nan_ok=True)
    order = generator.permutation(25)
    mixed = compare(
        group("a", *first[:, order], items=items),
        group("b", *second[:, order], items=items),
        quantity,
    )
    assert mixed.change.low == pytest.approx(found.change.low, nan_ok=True)
    for item in range(4):
        kept = np.isfinite(first[:, :, item]).all(axis=0)
        if kept.any():
            means = (told(first) - told(second))[:, kept, item].mean()
            assert told(found.change.value[item]) == pytest.approx(means)


def test_the_mean_leaves_out_transitions_and_items_that_have_no_value():
    first = drawn(0, 30, 4)
    first[:, 3] = np.nan
    items = blocks(4, (1,))
    found = compare(group("a", first, items=items), group("b", 0 * first, items=items), SHIFT)
    by_image = first[:, [0, 2]].mean(axis=1)
    assert found.averaged == 2
    assert found.mean.value == pytest.approx(by_image.mean())
    bounds = stats.ttest_1samp(by_image, 0).confidence_interval()
    assert found.mean.high == pytest.approx(bounds.high)
    assert np.isnan(found.change.value[3])
    assert np.isnan(found.p_holm[3])
    alone = compare(
        group("a", first[:, 1:2], items=blocks(1, (0,))),
        group("b", first[:, :1], items=blocks(1, (0,))),
        SHIFT,
    )
    assert alone.mean is None


def test_the_mean_is_over_images_that_have_a_number_in_every_item():
    """Blocks differ by 1, 5 and 9: an image that lacks the last would say 3 in place of 5."""
    first, second = drawn(0, 30, 3) + np.array([1, 5, 9]), drawn(0, 30, 3)
    first[:10, 2] = np.nan
    found = compare(group("a", first), group("b", second), SHIFT)
    assert found.mean.value == pytest.approx(5)
    assert (found.images, found.averaged_images) == (30, 20)
    assert "of 20 test images with a value in all of them" in difference_lines([found])[0]
    first[10:, 1] = np.nan
    none = compare(group("a", first), group("b", second), SHIFT)
    assert none.mean is None
    assert none.averaged_images == 0
    assert difference_lines([none])[0].startswith("a against b: ")


def test_only_images_that_both_have_count():
    first, second = drawn(0, 5, 2), drawn(1, 5, 2)
    a = group("a", first, images=np.array([1, 3, 5, 7, 9]))
    b = group("b", second, images=np.array([0, 3, 4, 9, 11]))
    found = compare(a, b, SHIFT)
    assert found.images == 2
    expected = first[[1, 4]] - second[[1, 3]]
    assert found.change.value == pytest.approx(expected.mean(axis=0))
    assert compare(a, group("b", second, images=np.arange(20, 25)), SHIFT) is None


def test_what_no_image_is_behind_has_an_interval_over_seeds_only():
    first, second = drawn(0, 6, 3), drawn(1, 6, 3)
    alone = compare(group("a", first[0]), group("b", second[0]), SHIFT)
    assert alone.change.value == pytest.approx(first[0] - second[0])
    assert np.isnan(alone.change.low).all()
    assert np.isnan(alone.p_holm).all()
    assert alone.changed == ()
    assert alone.images == 0
    found = compare(group("a", *first), group("b", *second), SHIFT)
    expected = stats.ttest_1samp(first - second, 0)
    assert found.change.low == pytest.approx(expected.confidence_interval().low)
    assert found.mean.value == pytest.approx((first - second).mean())


def test_a_network_does_not_differ_from_itself_and_a_constant_is_seen():
    values = np.exp(drawn(0, 12, 3))
    same = compare(group("a", values), group("b", values), NORM)
    assert np.array_equal(same.change.value, [1, 1, 1])
    assert np.array_equal(same.p_holm, [1, 1, 1])
    twice = compare(group("a", np.full((9, 1), 2.0)), group("b", np.ones((9, 1))), NORM)
    assert twice.changed == (0,)


def test_groups_of_other_blocks_are_not_compared():
    nets = [group("a", drawn(0, 9, 3)), group("b", drawn(1, 9, 4)), group("c", drawn(2, 9, 3))]
    assert [one.label for one in compare_groups(nets, SHIFT)] == ["a − c"]
    moved = replace(nets[2], items=blocks(3, (1,)))
    assert compare(nets[0], moved, SHIFT) is None
    with pytest.raises(ValueError, match="not by 3 items"):
        compare(nets[0], replace(nets[1], items=blocks(3)), SHIFT)
