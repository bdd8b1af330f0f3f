"""The family `lesion-greedy`: what is chosen, by which samples, and what it saves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from nets import STYLES, post_activation, trained_looking
from spanned import Classifier
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resprobe.blocks.flops import cost
from resprobe.blocks.intervene import Runner
from resprobe.errors import InputError
from resprobe.quantities import lesion_greedy
from resprobe.quantities.greedy_search import halfway_to_chance
from resprobe.quantities.halves import TEST, VALIDATION
from resprobe.quantities.lesion_greedy import LesionGreedy

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


# -- passes without blocks ----------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_lesions_of_a_pass_without_blocks_are_those_of_all_to_the_bit(style):
    net = trained_looking(post_activation(style, blocks=4)).eval()
    x = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    runner = Runner(net, x[:2])
    whole = runner.run(x)
    for dropped in ([2], [0, 3], [1, 2]):
        without = runner.run_without(dropped, x)
        assert torch.equal(without.output, whole.lesion_set(dropped))
        for block in range(4):
            assert torch.equal(without.lesion_set([block]), whole.lesion_set([*dropped, block]))
            expected = whole.lesion_set([*dropped, block])
            assert torch.equal(without.lesion_anew(runner.blocks[block]), expected)
    assert torch.equal(runner.run_without([], x).output, whole.output)


def test_a_pass_without_blocks_allows_lesions_only():
    runner = Runner(Classifier(), torch.randn(2, 6, dtype=torch.float64))
    without = runner.run_without([1], torch.randn(3, 6, dtype=torch.float64))
    with pytest.raises(InputError, match="only lesions can be made"):
        without.replace_sum(runner.blocks[0], torch.zeros(3, 6, dtype=torch.float64))
    with pytest.raises(InputError, match="give indices from 0 to 3"):
        runner.run_without([4], torch.randn(3, 6, dtype=torch.float64))


def test_random_draws_are_the_same_without_blocks():
    net = nn.Sequential(Classifier().float(), nn.Dropout(0.5)).train()
    x = torch.randn(4, 6)
    runner = Runner(net, x[:2])
    torch.manual_seed(3)
    without = runner.run_without([0, 2], x)
    torch.manual_seed(3)
    assert torch.equal(without.lesion_set([1]), runner.run(x).lesion_set([0, 1, 2]))


# -- what is chosen -----------------------------------------------------------------------------


class Plain(nn.Module):
    """Units without skips; a lesion puts the unit's input in the place of its output."""

    def __init__(self, units=3):
        super().__init__()
        torch.manual_seed(1)
        self.units = nn.ModuleList(
            [nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(units)]
        )
        self.head = nn.Linear(6, 3)
        self.plain_units = tuple(f"units.{unit}" for unit in range(units))
        self.double()

    def forward(self, x, dropped=()):
        for index, unit in enumerate(self.units):
            x = x if index in dropped else unit(x)
        return self.head(x)


SAMPLES = 150


def data(net, seed=0):
    """Inputs, and the labels that the network gives them, a tenth of them changed."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(SAMPLES, 6, generator=generator, dtype=torch.float64)
    labels = net(x).argmax(dim=1)
    wrong = torch.randperm(SAMPLES, generator=generator)[: SAMPLES // 10]
    labels[wrong] = (labels[wrong] + 1) % 3
    return x, labels


def measured(net, x, labels, told=None, size=20):
    """Search and measure as a collection does; `told` are the labels that passes are given."""
    runner = Runner(net, x[:4])
    family = LesionGreedy(net, runner.blocks, ["a", "b", "c"])
    indices = np.arange(len(x))
    family.divide(labels.numpy(), indices)
    asked = []

    def run(samples, without):
        asked.append(samples)
        return runner.run_without(without, x[samples]), (labels if told is None else told)[samples]

    nothing = {"greedy_lesion": np.zeros(len(runner.blocks)), "greedy_lesion_drops": 0}
    steps = list(family.search(run, size, nothing, complete=False))
    family.take_samples(indices)
    rows = {k: v.numpy() for k, v in family.rows(runner.run(x), labels).items()}
    family.add({**rows, "label": labels.numpy()})
    return rows, family.totals(), steps, asked


def by_hand(net, x, labels, half):
    """Drop modules of the plain model, every one in turn, on the whole validation half."""
    x, labels = x[half == VALIDATION], labels[half == VALIDATION]
    blocks = len(getattr(net, "blocks", ())) or len(net.units)

    def errors(dropped):
        logits = net(x, dropped)
        wrong = int((logits.argmax(dim=1) != labels).sum())
        return wrong, float(nn.functional.cross_entropy(logits, labels))

    limit = halfway_to_chance(errors(())[0] / len(x), labels.numpy())
    order = []
    while len(order) < blocks and errors(order)[0] / len(x) < limit:
        rest = [block for block in range(blocks) if block not in order]
        order.append(min(rest, key=lambda block: errors([*order, block])))
    return order, [errors(order[: drop + 1])[0] / len(x) for drop in range(len(order))]


@pytest.mark.parametrize("make", [lambda: Classifier(blocks=5, h=0.4), Plain])
def test_the_blocks_are_those_of_dropping_modules_by_hand(make):
    net = make()
    x, labels = data(net)
    rows, totals, steps, _ = measured(net, x, labels)
    half = rows["sample_half"]
    order, errors = by_hand(net, x, labels, half)
    drops = totals["greedy_lesion_drops"]
    assert 1 <= drops == len(order)
    assert totals["greedy_lesion"][:drops].tolist() == order
    assert (totals["greedy_lesion"][drops:] == -1).all()
    error = totals["greedy_lesion_error"]
    np.testing.assert_allclose(error[:drops, VALIDATION], errors, rtol=1e-12)
    assert np.isnan(error[drops:]).all()
    for drop in range(drops):
        logits = net(x, order[: drop + 1])
        right = (logits.argmax(dim=1) == labels).numpy()
        np.testing.assert_array_equal(rows["greedy_lesion_correct"][:, drop] == 1, right)
        assert error[drop, TEST] == pytest.approx((~right)[half == TEST].mean(), rel=1e-12)
        loss = nn.functional.cross_entropy(logits, labels, reduction="none")
        np.testing.assert_allclose(rows["greedy_lesion_loss"][:, drop], loss, rtol=1e-12)
    assert (rows["greedy_lesion_correct"][:, drops:] == -1).all()
    assert [len(step.found) for step in steps].count(2) == drops


def test_the_choice_sees_no_sample_of_the_test_half():
    net = Classifier(blocks=5, h=0.4)
    x, labels = data(net, seed=1)
    rows, totals, _, asked = measured(net, x, labels)
    tested = np.flatnonzero(rows["sample_half"] == TEST)
    told = labels.clone()
    told[tested] = labels[np.random.default_rng(0).permutation(tested)]
    assert not torch.equal(told, labels)
    _, other, _, _ = measured(net, x, labels, told)
    np.testing.assert_array_equal(other["greedy_lesion"], totals["greedy_lesion"])
    *passes, one = asked  # the last pass counts operations
    assert len(one) == 1
    assert not np.isin(np.concatenate(passes), tested).any()


def test_one_sample_can_not_be_divided():
    family = LesionGreedy(Classifier(), Runner(Classifier(), torch.randn(2, 6).double()).blocks, [])
    with pytest.raises(InputError, match="1 sample leaves one half empty; give more --samples"):
        family.divide(np.array([0, 1, 0]), np.array([2]))


# -- what it saves ------------------------------------------------------------------------------


class Conv(nn.Module):
    """A stem, a block of two convolutions, a transition with a projection, a block, a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.first = nn.Sequential(
            nn.Conv2d(4, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 4, 1),
        )
        self.down = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.projection = nn.Conv2d(4, 8, 1, stride=2)
        self.shared = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.first(x)
        x = self.projection(x) + self.down(x.relu())
        x = x + self.shared(x).relu()
        x = x + self.shared(x).tanh()
        return self.head(x.mean((2, 3)))


def test_parameters_and_flops_are_those_of_the_layers_by_hand():
    net, x = Conv().eval(), torch.randn(1, 2, 8, 6)
    runner = Runner(net, torch.randn(2, 2, 8, 6))
    one = runner.run(x)
    whole = cost(one, net)
    # 2 · in · out · kernel · places of the output
    flops = {
        "stem": 2 * 2 * 4 * 9 * 48,
        "first": 2 * 4 * 6 * 9 * 48 + 2 * 6 * 4 * 48,
        "down": 2 * 4 * 8 * 9 * 12,
        "projection": 2 * 4 * 8 * 12,
        "shared": 2 * 4 * 8 * 9 * 12,  # each group reads half of the channels
        "head": 2 * 8 * 3,
    }
    assert whole.flops == sum(flops.values()) + flops["shared"]
    with FlopCounterMode(display=False) as counter:
        net(x)
    assert whole.flops == counter.get_total_flops()
    assert whole.parameters == sum(p.numel() for p in net.parameters())

    def saved(*blocks):
        left = cost(one, net, blocks)
        return whole.parameters - left.parameters, whole.flops - left.flops

    assert saved(0) == (4 * 6 * 9 + 2 * 6 + 6 * 4 + 4, flops["first"])
    assert saved(1) == (4 * 8 * 9 + 8, flops["down"])  # its projection stays
    assert saved(2) == saved(3) == (0, flops["shared"])  # the other one still needs the weights
    assert saved(2, 3) == (8 * 4 * 9 + 8, 2 * flops["shared"])
    assert saved(0, 1, 2, 3)[1] == sum(flops[k] for k in ("first", "down")) + 2 * flops["shared"]


def test_the_units_of_a_plain_network_are_saved_whole():
    net = Plain()
    one = Runner(net, torch.randn(2, 6).double()).run(torch.randn(1, 6).double())
    whole, left = cost(one, net), cost(one, net, [0, 1])
    assert whole.flops - left.flops == 2 * 2 * 6 * 6
    assert whole.parameters - left.parameters == 2 * (36 + 6)
    assert left.flops == 2 * 6 * 6 + 2 * 6 * 3


def test_attention_is_counted():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            heads = x.reshape(len(x), 5, 2, 2).transpose(1, 2)
            found = nn.functional.scaled_dot_product_attention(heads, heads, heads)
            return self.head((x + found.transpose(1, 2).reshape(x.shape)).mean(1))

    net, x = Attention().eval(), torch.randn(1, 5, 4)
    # two products of each head, 5 × 2 by 2 × 5 and 5 × 5 by 5 × 2
    assert cost(Runner(net, torch.randn(2, 5, 4)).run(x), net).flops == (
        2 * 2 * (2 * 5 * 5 * 2) + 2 * 4 * 3
    )


# -- from the command line ----------------------------------------------------------------------

ASKED = ("--quantity", "greedy_lesion", "--samples", 120, "--quiet")


def collected_file(run: Path) -> Path:
    (path,) = (run / "collected").glob("*/lesion-greedy.h5*")
    return path


def read(run: Path) -> xr.Dataset:
    path = collected_file(run)
    with xr.open_dataset(path, group="lesion-greedy", engine="h5netcdf") as found:
        return found.load()


@pytest.fixture(scope="module")
def whole(trained, resprobe, tmp_path_factory):
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("greedy") / "run"))
    result = resprobe("collect", run, *ASKED)
    assert result.exit_code == 0, result.output
    return run


def test_the_file_passes_the_check_and_agrees_with_its_rows(whole, resprobe):
    assert resprobe("check", whole).exit_code == 0
    found = read(whole)
    drops = int(found["greedy_lesion_drops"])
    order = found["greedy_lesion"].values
    assert len(set(order[:drops])) == drops
    for half in (VALIDATION, TEST):
        own = found.isel(sample=found["sample_half"].values == half)
        assert abs(own.sizes["sample"] - 60) <= 10
        expected = (own["greedy_lesion_correct"].values == 0)[:, :drops].mean(axis=0)
        told = found["greedy_lesion_error"].values[:drops, half]
        np.testing.assert_allclose(told, expected, rtol=1e-12)
    assert found["half"].values.tolist() == ["validation", "test"]
    assert found["drop"].values.tolist() == list(range(1, found.sizes["block"] + 1))
    assert found["sample_half"].attrs["flag_meanings"] == "validation test"
    assert found["model_flops"] > found["branch_flops"].sum() > 0
    last = found["greedy_lesion_flops"].values[drops - 1]
    assert last == found["branch_flops"].values[order[:drops]].sum()


@pytest.mark.parametrize("stop", [("_measure", 5), ("rows", 2)])
def test_an_interrupted_collection_goes_on(whole, run, resprobe, monkeypatch, stop):
    """In the search from the last block that was dropped, in the rows from the last batch."""
    from resprobe import session

    (during, call), begun, tried = stop, [], []
    for name in ("_measure", "rows"):
        original = getattr(LesionGreedy, name)

        def stopping(self, *given, name=name, original=original):
            begun.append(name)
            if name == "_measure" and given[3]:
                tried.append(len(given[2]))  # beside so many dropped ones blocks are tried
            if name == during and begun.count(name) == call:
                raise KeyboardInterrupt
            return original(self, *given)

        monkeypatch.setattr(LesionGreedy, name, stopping)
    monkeypatch.setattr(session, "BATCH", 40)
    assert resprobe("collect", run, *ASKED).exit_code != 0
    assert collected_file(run).suffix == ".partial"
    before, stopped, tried_before = read(run), len(begun), len(tried)
    drops = int(before["greedy_lesion_drops"])
    assert drops > 0
    assert before.sizes["sample"] == (40 if during == "rows" else 0)
    assert resprobe("collect", run, *ASKED).exit_code == 0
    found, expected = read(run), read(whole)
    assert all(dropped >= drops for dropped in tried[tried_before:])
    known = before["greedy_lesion"].values[:drops]
    np.testing.assert_array_equal(found["greedy_lesion"].values[:drops], known)
    if during == "rows":
        assert begun[stopped:] == ["rows", "rows"]
    # other batches round otherwise; what is counted is the same
    for name in ("greedy_lesion", "greedy_lesion_correct", "greedy_lesion_error", "sample_half"):
        np.testing.assert_array_equal(found[name].values, expected[name].values, err_msg=name)


def test_the_estimate_counts_the_search(whole, resprobe, monkeypatch):
    """By a clock on which every block that is tried on a sample takes a second."""
    clock, original = [0.0], LesionGreedy._measure

    def timed(self, run, places, dropped, candidates):
        clock[0] += len(places) * len(candidates)
        return original(self, run, places, dropped, candidates)

    monkeypatch.setattr(LesionGreedy, "_measure", timed)
    monkeypatch.setattr(lesion_greedy, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    words = [word for word in ASKED if word != "--quiet"]
    result = resprobe("collect", whole, *words, "--overwrite", "--estimate", "--json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert (found["family"], found["samples"]) == ("lesion-greedy", 120)
    there = read(whole)
    chosen_by, blocks = int((there["sample_half"] == VALIDATION).sum()), there.sizes["block"]
    # with n blocks left, n lesions of n / 2 blocks each: the sum of n (n - 1) / 2 over all n, where
    # the first step alone is n (n - 1) / 2 lesions of a block
    assert found["seconds"] >= chosen_by * blocks * (blocks + 1) / 3


def test_equal_settings_are_kept_and_one_sample_is_refused(whole, resprobe, tree_hash, monkeypatch):
    before = tree_hash(whole)
    assert "kept as it was" in resprobe("collect", whole, *ASKED).stdout
    with monkeypatch.context() as patch:
        patch.setattr(lesion_greedy, "SEARCH_RULE", "another one")
        refused = resprobe("collect", whole, *ASKED)
    assert refused.exit_code == 2
    assert "measured with other settings" in refused.stderr
    refused = resprobe("collect", whole, *ASKED[:2], "--samples", 1, "--overwrite")
    assert refused.exit_code == 2
    assert "1 sample leaves one half empty" in refused.stderr
    assert tree_hash(whole) == before
