"""The exact studies hold, and each fails when what it measures is broken."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import pytest
import study_versions
import torch
from exact_evidence import EXACT, failed, measured, study
from hypothesis import given
from hypothesis import strategies as st
from resprobe_analyses.reproduce.ledger import read_ledger
from resprobe_analyses.studies import (
    ENTRIES,
    ml_e8,
    ml_t2,
    ml_t5,
    zh_e4,
)
from resprobe_analyses.studies.exact import equal, within
from resprobe_analyses.studies.exact_networks import (
    Kind,
    kind_with_activation,
    kinds_without_activation,
    random_batch,
    random_network,
    seeded,
)
from torch import nn

from resprobe import registry

FIGURES = {"RA-E21": {"modulus"}, "YT-T3": {"table"}, "ZH-F1": {"euler"}}


@pytest.mark.parametrize("name", EXACT)
def test_an_exact_study_says_what_it_claims_and_what_would_contradict_it(name):
    record = study(name)
    assert record.id == name
    assert record.exact
    assert record.printed
    for text in (record.claim, record.source, record.contradicted_by, *record.errata):
        assert text.endswith(".") or text == record.source
    assert record.scales.keys() == {"smoke", "small"}
    for (setting,) in record.scales.values():
        assert (setting.data, setting.sweep) == ("exact", None)
        assert 0 < setting.core_minutes < 1


@pytest.mark.parametrize("name", EXACT)
def test_an_exact_study_holds(name):
    evidence = measured(name)
    assert len(evidence.checks) > 4
    assert failed(evidence) == []
    names = [check.name for check in evidence.checks]
    assert len(set(names)) == len(names)
    assert evidence.samples == {}
    assert evidence.notes
    assert evidence.figures.keys() == FIGURES.get(name, set())
    assert (evidence.dataset is None) == (name not in FIGURES)


@pytest.mark.parametrize("name", EXACT)
def test_an_exact_study_checks_what_its_rows_in_the_kept_ledger_say(name):
    """Its rule is code, of which no fingerprint is taken: what is expected stands in its rows."""
    rows = read_ledger(study_versions.LEDGER.parent).rows.values()
    present = {check.name: (check.expected, check.bound) for check in measured(name).checks}
    for row in rows:
        if (row["id"], row["version"]) == (name, study(name).version):
            told = {check["name"]: (check["expected"], check["bound"]) for check in row["checks"]}
            assert told.keys() == present.keys()
            for key, (expected, bound) in present.items():
                assert told[key][0] == expected
                assert told[key][1] == (None if bound is None else pytest.approx(bound, rel=1e-9))


def test_the_studies_are_listed_without_torch():
    modules = [ENTRIES[name].partition(":")[0] for name in EXACT]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- what the checks are made of -----------------------------------------------------------------


def test_a_distance_that_is_no_number_does_not_hold():
    assert within("d", 1.0, 1.0, expected="equal").holds
    assert not within("d", float("nan"), 1.0, expected="equal").holds
    assert not within("d", 1.1, 1.0, expected="equal").holds


def test_whole_numbers_are_written_with_commas():
    check = equal("n", 1_922_394, 19_22_395)
    assert (check.measured, check.expected, check.holds) == ("1,922,394", "1,922,395", False)


def test_seeded_draws_leave_the_generator_as_it_was():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(0):
        first = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with seeded(0):
        assert torch.equal(torch.rand(2), first)


# -- ML-T5, ML-T2 ---------------------------------------------------------------------------------


def test_ml_t5_fails_with_projections_in_place_of_shortcuts_without_parameters(monkeypatch):
    shallow = {row: counts for row, counts in ml_t5.TABLE.items() if row[1] == 14}
    monkeypatch.setattr(ml_t5, "TABLE", shallow)

    def count(depth, width_factor, classes, reading):
        with torch.device("meta"):
            network = registry.load("models", "cifar-resnet")(
                depth=depth,
                width_factor=width_factor,
                classes=classes,
                reading=reading,
                shortcut="projection",
            )
        return sum(parameter.numel() for parameter in network.parameters())

    evidence = ml_t5.measure(count)
    assert len(failed(evidence)) == len(evidence.checks) == 8


def test_ml_t5_fails_at_the_one_number_that_is_off():
    printed = {(depth, factor): counts for (_, depth, factor), counts in ml_t5.TABLE.items()}

    def count(depth, width_factor, classes, reading):
        off = (depth, width_factor, classes, reading) == (122, 1.0, 100, "B")
        return printed[depth, width_factor][classes == 100] + off

    assert failed(ml_t5.measure(count)) == ["ResNet-122, CIFAR-100, reading B"]


@pytest.mark.parametrize(
    "formula",
    [
        lambda k: 1 - Fraction(2 ** (k + 1) - 1, 2 ** (k * (k + 1))),
        lambda k: 1 - Fraction(2 ** (k + 1) - 1, 2**k * (k + 2)),
        lambda k: ml_t2.saved_in_equal_cycles(k + 1),
    ],
    ids=["another exponent", "another number of cycles", "shifted"],
)
def test_ml_t2_fails_with_another_formula(formula):
    assert failed(ml_t2.measure(formula))


def test_ml_t2_fails_with_another_table(monkeypatch):
    monkeypatch.setitem(ml_t2.TABLE, 3, 54)
    assert failed(ml_t2.measure()) == ["3 interpolations, in whole per cent"]


@given(st.integers(0, 8), st.integers(1, 50))
def test_equal_cycles_save_what_the_formula_says(interpolations, length):
    epochs = length * (interpolations + 1)
    walked = ml_t2.saved_by_epochs(epochs, range(length, epochs, length))
    assert walked == ml_t2.saved_in_equal_cycles(interpolations)


def test_the_papers_own_schedule_saves_seven_sixteenths():
    """Chang et al. (2018), Sec. 5: 160 epochs, interpolated after 60 and 110."""
    # (60·1/4 + 50·1/2 + 50)/160 = 90/160
    assert ml_t2.saved_by_epochs(160, (60, 110)) == Fraction(7, 16)


# -- ML-E8, ZH-E4 ---------------------------------------------------------------------------------


class Residual(nn.Module):
    """A block of `skip·x + change·F(x)`."""

    def __init__(self, width, skip, change):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.skip, self.change = skip, change

    def forward(self, x):
        return self.skip * x + self.change * self.inner(x)


def kind_of(skip, change):
    """Networks of three blocks whose factors follow from h."""

    def make(h):
        blocks = [Residual(5, skip(h), change(h)) for _ in range(3)]
        return nn.Sequential(nn.Linear(4, 5), *blocks, nn.Linear(5, 2))

    return Kind("written here", make, shape=(4,))


def test_ml_e8_as_printed_fails():
    kinds = kinds_without_activation()[-1:]
    evidence = ml_e8.measure(kinds, sign=1)
    assert failed(evidence) == [
        f"fully connected, h = {h}: Y(t2') - Y(t2) against +G, relative" for h in ("1", "0.1")
    ]
    assert failed(ml_e8.measure(kinds)) == []


def test_ml_e8_fails_where_an_activation_follows_the_sum():
    kind = kind_with_activation()
    small = replace(kind, arguments={**kind.arguments, "depth": 8})
    # There the change is that of relu(s + G), which is not G.
    assert len(failed(ml_e8.measure([small]))) >= len(ml_e8.STEP_SIZES)


def test_ml_e8_leaves_the_network_as_it_was():
    kind = kind_of(lambda h: 1.0, lambda h: h)
    network, batch = random_network(kind, 0.5, seed=0), random_batch(kind, 3, seed=1)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    removals = ml_e8.remove_each(network, batch)
    assert len(removals) == 3
    for parameter, value in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
    # What is off with the printed sign is 2·G, over the largest |Y(t2')| + |G|.
    x = network[0](batch)
    change = 0.5 * network[1].inner(x)
    expected = 2 * change.abs().max() / (x.abs().max() + change.abs().max())
    assert removals[0].printed == pytest.approx(expected.item(), rel=1e-12)


def test_zh_e4_holds_for_a_network_written_here_and_fails_with_a_wrong_skip_or_step():
    right = kind_of(lambda h: 1.0, lambda h: h)
    assert failed(zh_e4.measure([right])) == []
    scaled_skip = kind_of(lambda h: h, lambda h: h)
    squared = kind_of(lambda h: 1.0, lambda h: h**2)
    for wrong in (scaled_skip, squared):
        names = failed(zh_e4.measure([wrong]))
        assert len(names) == 6  # both equations at each step size but h = 1
        assert not any("h = 1:" in name for name in names)
    damped = kind_of(lambda h: 0.9, lambda h: h)
    assert len(failed(zh_e4.measure([damped]))) == 8


def test_zh_e4_fails_without_blocks():
    plain = Kind("plain", lambda h: nn.Sequential(nn.Linear(4, 5), nn.ReLU()), shape=(4,))
    evidence = zh_e4.measure([plain])
    assert len(failed(evidence)) == len(evidence.checks) == len(zh_e4.STEP_SIZES)


def test_random_networks_have_statistics_of_their_own():
    kind = kinds_without_activation()[0]
    network = random_network(kind, 1.0, seed=0)
    assert not network.training
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        assert norm.running_mean.abs().min() > 0
        assert (norm.weight - 1).abs().min() > 0
        assert norm.weight.dtype == torch.float64
    again = random_network(kind, 0.1, seed=0)
    for mine, theirs in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, theirs)
