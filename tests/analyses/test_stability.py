"""What the analysis of stability finds, says and writes."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import xarray as xr
from resprobe_analyses import ENTRIES, statistics
from resprobe_analyses.stability import ANALYSIS, analyze, words
from resprobe_analyses.stability.conditions import EQ5, EULER
from resprobe_analyses.stability.stages import MEASURES
from stability_data import build, changed, leaf, log_norm, with_skip, without_figures

# What is recomputed in float64 from the same matrices differs by rounding only.
EXACT = {"rel": 1e-9, "abs": 1e-12}


@pytest.fixture(scope="module")
def nine():
    return build("r20", shift=-0.5, training=(0, 10, 20), step=20)


@pytest.fixture(scope="module")
def result(nine):
    return without_figures([nine.input])


def lines(result) -> list[str]:
    return result.summary.split("\n")


def line(result, *parts: str) -> str:
    (found,) = (one for one in lines(result) if all(part in one for part in parts))
    return found


def test_the_registered_object_is_this_analysis():
    assert ENTRIES["stability"] == "resprobe_analyses.stability:ANALYSIS"
    assert (ANALYSIS.name, ANALYSIS.families) == ("stability", ("jacobian",))
    assert ANALYSIS.function is analyze


def test_medians_and_spreads_are_those_of_the_matrices(nine, result):
    numbers = {
        "spectral_norm": lambda one: np.linalg.norm(one, 2),
        "frobenius_norm": np.linalg.norm,
        "log_norm": log_norm,
        "spectral_abscissa": lambda one: np.linalg.eigvals(one).real.max(),
        "spectral_radius": lambda one: np.abs(np.linalg.eigvals(one)).max(),
    }
    found = result.dataset.isel(network=0)
    for place in range(9):
        for part, name in enumerate(("branch", "block")):
            matrices = [
                with_skip(row[place], False) if part else row[place] for row in nine.branches
            ]
            square = matrices[0].shape[0] == matrices[0].shape[1]
            for quantity, number in numbers.items():
                cell = found.sel(part=name).isel(position=place)
                if not square and quantity not in {"spectral_norm", "frobenius_norm"}:
                    assert np.isnan(cell[quantity].item())
                    continue
                values = [number(one) for one in matrices]
                assert cell[quantity].item() == pytest.approx(np.median(values), **EXACT)
                bounds = np.quantile(values, [0.05, 0.95])
                assert cell[f"{quantity}_spread"].values == pytest.approx(bounds, **EXACT)


def test_conditions_are_counted_from_the_matrices(nine, result):
    found = result.dataset.isel(network=0)
    for place in (0, 1, 2, 4, 5, 7, 8):
        spectra = [np.linalg.eigvals(row[place]) for row in nine.branches]
        eq5 = sum(values.real.max() <= 0 for values in spectra)
        euler = sum(np.abs(1 + values).max() <= 1 for values in spectra)
        grows = sum(log_norm(row[place]) <= 0 for row in nine.branches)
        cell = found.isel(position=place)
        assert cell["images_holding"].values.tolist() == [eq5, euler, grows]
        assert cell["images_violating"].values.tolist() == [16 - eq5, 16 - euler, 16 - grows]
        assert cell["images_undecided"].values.tolist() == [0, 0, 0]
        assert cell["share_holding"].values == pytest.approx([eq5 / 16, euler / 16, grows / 16])


def test_transitions_are_not_tested(result):
    cells = result.dataset.isel(network=0, position=[3, 6])
    assert (cells["images_holding"].values == 0).all()
    assert (cells["images_violating"].values == 0).all()
    assert np.isnan(cells["share_holding"].values).all()


def test_exponents_are_logarithms_of_the_singular_values_of_the_product(nine, result):
    found = result.dataset.isel(network=0)
    for first, last in ((0, 2), (4, 5), (7, 8)):
        rows = []
        for row in nine.branches:
            product = np.eye(12)
            for place in range(first, last + 1):
                product = with_skip(row[place], False) @ product
            rows.append(np.log(np.linalg.svd(product, compute_uv=False)[:4]) / (last - first + 1))
        cell = found.isel(position=last)
        assert cell["lyapunov_exponents"].values == pytest.approx(np.median(rows, axis=0), **EXACT)
        stage = result.dataset.sel(stage=first // 3 + 1, measure="lyapunov_exponent").isel(group=0)
        mean, low, high = statistics.mean_interval([row[0] for row in rows])
        assert stage["stage_value"].item() == pytest.approx(float(mean), **EXACT)
        assert stage["stage_interval"].values == pytest.approx([float(low), float(high)], rel=1e-6)
    assert np.isnan(found.isel(position=[3, 6])["lyapunov_exponents"].values).all()


def test_growth_is_bounded_by_the_singular_values_of_the_blocks(nine, result):
    found = result.dataset.isel(network=0)
    rows = [
        np.mean([np.log(np.linalg.norm(with_skip(row[place], False), 2)) for place in (4, 5)])
        for row in nine.branches
    ]
    assert found["growth_bound"].values[5] == pytest.approx(np.median(rows), **EXACT)
    leading = found["lyapunov_exponents"].isel(exponent=0).values
    known = np.isfinite(leading)
    assert (leading[known] <= found["growth_bound"].values[known]).all()
    assert np.isnan(found["growth_bound"].values[~known]).all()


@pytest.mark.parametrize(
    ("diagonals", "told"),
    [
        (([2.0, 0.5], [0.9, 0.1]), "some nearby states part in every stage"),
        (([0.5, 0.2], [0.9, 0.1]), "nearby states draw together in every stage"),
        (([1.0, 0.2], [1.0, 0.1]), "whether any nearby states part is open in every stage"),
    ],
)
def test_growth_is_told_by_the_direction_that_is_stretched_most(diagonals, told):
    branches = [np.diag(diagonal) - np.eye(2) for diagonal in diagonals]
    found = without_figures([build(stages=(2,), images=3, branches=branches).input])
    assert told in line(found, "leading finite-time")


def test_the_error_of_the_exponents_is_said(nine, result):
    exponents = leaf(nine, "lyapunov")["lyapunov_exponents"].values
    largest = 1e-8 * np.nanmax(np.abs(exponents))
    assert words.small(largest) in line(result, "known to within")


def test_stage_values_are_means_over_within_stage_blocks(nine, result):
    cell = result.dataset.isel(group=0).sel(stage=2)
    own = [np.mean([log_norm(row[place]) for place in (4, 5)]) for row in nine.branches]
    mean, low, high = statistics.mean_interval(own)
    found = cell.sel(measure="log_norm")
    assert found["stage_value"].item() == pytest.approx(float(mean), **EXACT)
    assert found["stage_interval"].values == pytest.approx([float(low), float(high)], rel=1e-6)
    blocks = [
        np.mean([np.linalg.norm(with_skip(row[place], False), 2) for place in (4, 5)])
        for row in nine.branches
    ]
    found = cell.sel(measure="block_spectral_norm")
    assert found["stage_value"].item() == pytest.approx(np.mean(blocks), **EXACT)


def test_eigenvalues_in_the_dataset_are_those_of_the_branches(nine, result):
    found = result.dataset.isel(network=0, position=4, spectrum_image=3)
    drawn = found["eigenvalue_real"].values + 1j * found["eigenvalue_imag"].values
    true = np.linalg.eigvals(nine.branches[3][4])
    assert np.abs(drawn[:, None] - true[None]).min(axis=1).max() < 1e-12
    assert result.dataset["which"].values.tolist() == ["largest_magnitude"] * 6 + ["rightmost"] * 6


def test_training_is_told_from_where_it_began_to_where_it_ended(result):
    found = result.dataset.isel(network=0)
    assert found["step"].values.tolist() == [0, 10, 20]
    path = found["training_log_norm"].isel(position=4).sel(part="branch").values
    assert path == pytest.approx(path[-1] * np.array([0.5, 0.75, 1.0]))
    told = line(result, "log norm of the branch from step 0 to step 20", "4 fixed samples")
    within = found["training_log_norm"].sel(part="branch").isel(position=[4, 5]).values
    ends = [f"{np.median(within[place]):+.3f}" for place in (0, -1)]
    assert f"stage 2 (stage2.1–stage2.2) {ends[0]} to {ends[1]}" in told


def test_verdict_is_json_and_names_every_block(result):
    told = json.loads(json.dumps(result.verdict, allow_nan=False))
    assert told["outcome"] == "Eq. 5 violated"
    (group,) = told["findings"]["groups"]
    assert [row["stage"] for row in group["stages"]] == [1, 2, 3]
    assert set(MEASURES) < set(group["stages"][0])
    blocks = group["networks"][0]["conditions"][EQ5]["blocks"]
    assert [one["block"] for one in blocks][:4] == ["stage1.0", "stage1.1", "stage1.2", "stage2.1"]
    assert all(one["holds"] + one["violated"] + one["undecided"] == 16 for one in blocks)
    assert group["quality"]["not_square"] == ["stage2.0", "stage3.0"]


def test_the_dataset_is_written_and_read_again(result, tmp_path):
    result.dataset.to_netcdf(tmp_path / "dataset.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "dataset.nc", engine="h5netcdf") as again:
        xr.testing.assert_identical(again.load(), result.dataset)


def test_every_variable_has_a_meaning(result):
    assert all(one.attrs.get("long_name") for one in result.dataset.data_vars.values())


def test_a_stable_network_says_so_and_says_what_that_is_worth():
    made = without_figures([build("s", stages=(4,), gain=0.1, shift=-0.5).input])
    assert made.verdict["outcome"] == "Eq. 5 holds"
    assert "holds on all 16 test images in 4 of 4 blocks" in line(made, "s: RA Eq. 5")
    assert "nearby states draw together in every stage" in line(made, "leading finite-time")
    assert "Eq. 5 alone guarantees nothing" in made.summary
    assert "positive beyond its error in 0 of 64" in line(made, "s: the log norm is")


def test_a_network_that_grows_although_eq5_holds_is_told_as_such():
    """Strictly triangular matrices: every eigenvalue is −0.1, the log norm is about 1."""
    upper = np.triu(np.ones((6, 6)), 1)
    matrices = [upper - 0.1 * np.eye(6), upper.T - 0.1 * np.eye(6)] * 2
    made = build("t", stages=(4,), images=3, branches=matrices, condition=False)
    data = leaf(made, "spectrum")
    # numpy's eigenvalues of a defective matrix are good to ε^(1/6) only; their truth is known
    data["jacobian_eigenvalues"][:, :, 0] = complex(-0.1, 0)
    data["jacobian_spectral_abscissa"][:, :, 0] = -0.1
    found = without_figures([changed(made, "spectrum", data)])
    assert found.verdict["outcome"] == "Eq. 5 holds"
    assert "positive beyond its error in 12 of 12" in found.summary
    assert "while Eq. 5 holds in 12 of 12" in found.summary
    assert "nearby states part in every stage" in line(found, "leading finite-time")
    holding = found.dataset["images_holding"].isel(network=0).values
    assert holding[:, 0].tolist() == [3, 3, 3, 3]
    assert holding[:, 2].tolist() == [0, 0, 0, 0]


def test_the_counterexample_in_the_words_is_true():
    """FACTS C5: D alternating between diag(1, e) and diag(e, 1), each held a quarter period."""
    e, turn = 0.25, np.array([[0.0, 1.0], [-1.0, 0.0]])
    period = np.eye(2)
    for matrix in (np.diag([1, e]) @ turn, np.diag([e, 1]) @ turn):
        assert np.linalg.eigvals(matrix).real == pytest.approx([0, 0], abs=1e-15)
        # a quarter period of eigenvalues ±i√e: exp(tJ) = J/√e
        period = matrix / np.sqrt(e) @ period
    assert np.abs(np.linalg.eigvals(period)).max() == pytest.approx(1 / e)


def test_a_deep_network_is_told_by_stage():
    made = without_figures([build("deep", stages=(18, 18, 18), images=3, size=6, shift=-0.3).input])
    told = line(made, "share of images on which Eq. 5 holds")
    assert "stage 1 (stage1.0–stage1.17)" in told
    assert "stage 2 (stage2.1–stage2.17)" in told
    assert "18 blocks with an identity skip" in told
    assert "stage1.0 " not in made.summary
    assert all(len(one) < 700 for one in lines(made))


def test_two_networks_are_paired_by_image():
    one, two = build("a", group="a", shift=-0.5), build("b", group="b", gain=0.3, shift=-0.2)
    found = without_figures([one.input, two.input])
    change = [
        np.mean([log_norm(p[place]) - log_norm(q[place]) for place in (0, 1, 2)])
        for p, q in zip(one.branches, two.branches, strict=True)
    ]
    mean, low, high = statistics.mean_interval(change)
    rows = found.dataset
    (place,) = np.flatnonzero(
        (rows["contrast_measure"].values == "log_norm") & (rows["contrast_stage"].values == 1)
    )
    cell = rows.isel(contrast=place)
    assert cell["difference"].item() == pytest.approx(float(mean), **EXACT)
    assert cell["difference_interval"].values == pytest.approx([float(low), float(high)], rel=1e-6)
    assert cell["contrast_paired"].item() == "images"
    assert "paired by image" in line(found, "a minus b, log norm of the branch")


def of_seeds(label: str, count: int, **options):
    return [
        build(f"{label}-seed{seed}", group=label, seed=seed, images=4, **options)
        for seed in range(count)
    ]


def test_five_seeds_are_paired_and_have_an_interval():
    one, two = of_seeds("a", 5, shift=-0.5), of_seeds("b", 5, gain=0.3)
    found = without_figures([made.input for made in one + two])
    own = [
        [np.mean([[log_norm(row[p]) for p in (0, 1, 2)] for row in made.branches]) for made in side]
        for side in (one, two)
    ]
    expected = statistics.student_interval(np.subtract(*own))
    rows = found.dataset
    (place,) = np.flatnonzero(
        (rows["contrast_measure"].values == "log_norm") & (rows["contrast_stage"].values == 1)
    )
    cell = rows.isel(contrast=place)
    assert cell["difference"].item() == pytest.approx(float(expected[0]), **EXACT)
    assert cell["difference_interval"].values == pytest.approx(
        [float(b) for b in expected[1:]], rel=1e-6
    )
    assert "paired by seed, 5 seeds" in line(found, "a minus b, log norm of the branch")
    assert "mean over 5 seeds" in line(found, "a: RA Eq. 5")


def test_below_five_seeds_there_is_no_interval():
    found = without_figures([made.input for made in of_seeds("a", 2) + of_seeds("b", 2, gain=0.3)])
    assert np.isnan(found.dataset["stage_interval"].values).all()
    assert np.isnan(found.dataset["difference_interval"].values).all()
    assert "no interval below five common seeds" in found.summary
    assert "these 2 networks, no interval" in line(found, "a: RA Eq. 5")
    assert "[" not in line(found, "a: leading finite-time")


def test_groups_of_different_depth_stand_beside_each_other():
    found = without_figures(
        [build("a", group="a").input, build("b", group="b", stages=(5, 2)).input]
    ).dataset
    assert found.sizes["position"] == 9
    assert found["block"].values[1].tolist()[7:] == ["", ""]
    assert set(found["contrast_stage"].values.tolist()) == {1, 2}


def test_a_plain_network_is_not_tested_and_compares_whole_units_only():
    inputs = [build("r", group="r").input, build("p", group="p", plain=True).input]
    found = without_figures(inputs)
    assert "p is a plain network" in found.summary
    assert set(found.dataset["contrast_measure"].values) == {
        "block_spectral_norm",
        "lyapunov_exponent",
    }
    counts = found.dataset["images_violating"].isel(network=1).values
    assert np.nansum(counts) == 0
    alone = without_figures(inputs[1:])
    assert alone.verdict["outcome"] == "not tested"
    assert "Eq. 5 alone" not in alone.summary


def test_every_stage_in_a_sentence_is_named_by_its_blocks(result):
    inputs = [build("a", group="a").input, build("b", group="b", stages=(5, 2)).input]
    compared = without_figures(inputs)
    for found in (result, compared):
        named = re.findall(r"stage \d+(.{0,8})", found.summary)
        assert named
        assert all(after.startswith(" (stage") for after in named)
    told = line(compared, "a minus b, leading Lyapunov exponent")
    assert "stage 1 (stage1.0–stage1.2 / stage1.0–stage1.4)" in told
    assert "stage 2 (stage2.1–stage2.2 / stage2.1)" in told
    (group,) = result.verdict["findings"]["groups"]
    assert group["stages"][1]["blocks"] == ["stage2.0", "stage2.1", "stage2.2"]


def test_two_plain_networks_have_units_and_neither_branches_nor_blocks():
    inputs = [build(name, group=name, plain=True, training=(0, 5)).input for name in "pq"]
    found = without_figures(inputs)
    assert not re.search(r"\b(branch|block)(es|s)?\b", found.summary)
    assert "p minus q, σ_max of the unit, mean over within-stage units" in found.summary
    mixed = without_figures([inputs[0], build("r", group="r").input])
    assert "p minus r, σ_max of the block or unit, mean over within-stage blocks or units" in (
        mixed.summary
    )


def test_euler_is_stricter_than_eq5():
    """|1 + λ| ≤ 1 needs 2 Re λ ≤ −|λ|², so where it holds Eq. 5 does."""
    (net,) = without_figures([build(shift=-0.6, gain=0.5).input]).verdict["findings"]["groups"][0][
        "networks"
    ]
    euler = [one["holds"] for one in net["conditions"][EULER]["blocks"]]
    eq5 = [one["holds"] for one in net["conditions"][EQ5]["blocks"]]
    assert all(strict <= loose for strict, loose in zip(euler, eq5, strict=True))
    assert sum(euler) > 0
