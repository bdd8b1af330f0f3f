"""Attribution of branches: on paper, against captum on a model with real taps, and by its laws."""

from __future__ import annotations

import itertools
import json
import warnings
from unittest import mock

import numpy as np
import pytest
import torch
import zoo_convolutional
import zoo_others
import zoo_transformers
from captum.attr import LayerConductance, LayerGradientXActivation, LayerIntegratedGradients
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import linear_stack, post_activation, trained_looking
from torch import nn

import resprobe as package
from resprobe.attribution import gradient_x_activation, integrated_gradients, layer_conductance
from resprobe.blocks.intervene import Runner
from resprobe.blocks.program import unfused
from resprobe.blocks.structure import Ref, leaves
from resprobe.errors import InputError
from resprobe.quantities import attribution as family
from resprobe.quantities.attribution import BlockAttribution

NETS = {**zoo_convolutional.NETS, **zoo_transformers.NETS, **zoo_others.NETS}
NAMES = tuple(str(number) for number in range(6))
# Sums of some hundred numbers of size one in float64, in another order.
ROUNDING = {"rtol": 1e-11, "atol": 1e-12}


def images(samples=3, seed=1, size=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((samples, 3, size, size), generator=generator, dtype=torch.float64)


def tapped(model, args, kwargs=None, **options):
    """Give the pass over a batch, and its taps."""
    with torch.no_grad():
        runner = Runner(model, args, kwargs, **options)
        runner.find_samples()
        whole = runner.run(args, kwargs, states=True, taps=True)
    return whole, whole.taps()


# -- on paper --------------------------------------------------------------------------------------


class Added(nn.Module):
    """x + h·Wx with the product made by the addition."""

    def __init__(self, linear, h):
        super().__init__()
        self.linear, self.h = linear, h

    def forward(self, x):
        return torch.add(x, self.linear(x), alpha=self.h)


@pytest.mark.parametrize("writing", ["scaled branch", "scaled by the addition"])
def test_of_a_linear_network_all_three_are_matrix_products(writing):
    h, target = 0.5, torch.tensor([0, 5, 3])
    model = linear_stack(width=6, blocks=4, h=h)
    if writing == "scaled by the addition":
        model = nn.Sequential(*[Added(block.linear, block.h) for block in model])
    weights = [block.linear.weight.detach() for block in model]
    x = torch.randn((3, 6), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    states = [x]
    for weight in weights:
        states.append(states[-1] + h * states[-1] @ weight.T)
    branches = [h * state @ weight.T for state, weight in zip(states, weights, strict=False)]
    rows = torch.eye(6, dtype=torch.float64)[target]
    through = []  # e_y' Π (1 + hW) over the blocks that follow
    for index in range(4):
        follow = rows
        for weight in reversed(weights[index + 1 :]):
            follow = follow + h * follow @ weight
        through.append((follow * branches[index]).sum(1))
    direct = torch.stack([(rows * branch).sum(1) for branch in branches], 1)

    _, taps = tapped(model, x)
    conductance = layer_conductance(taps, target, steps=1)
    product = gradient_x_activation(taps, target)
    joint = integrated_gradients(taps, target, steps=2)
    for found in (conductance, product):
        torch.testing.assert_close(found.blocks, torch.stack(through, 1), **ROUNDING)
    # captum's weights of the points are float32, and so is their sum
    torch.testing.assert_close(joint.blocks, direct, rtol=2e-7, atol=1e-12)
    torch.testing.assert_close(
        joint.blocks.sum(1), (rows * (states[-1] - x)).sum(1), rtol=1e-6, atol=0
    )
    assert conductance.delta.abs().max() < 1e-12
    assert joint.delta.abs().max() < 1e-6
    assert product.delta.isnan().all()


# -- against captum on a model whose branches are outputs of modules -------------------------------


class Tapped(nn.Module):
    """The layers of `post_activation` with a module behind each branch, and a gate before it."""

    def __init__(self, model):
        super().__init__()
        self.stem, self.blocks, self.head = model[0], model[1:-3], model[-3:]
        self.taps = nn.ModuleList(nn.Identity() for _ in self.blocks)

    def forward(self, x, gate=None):
        x = self.stem(x)
        for block, tap in zip(self.blocks, self.taps, strict=True):
            out = torch.relu(block.bn1(block.conv1(x)))
            out = block.bn2(block.conv2(out))
            out = tap(out if gate is None else gate * out)
            x = torch.relu(x + out)
        return self.head(x)


@pytest.fixture(scope="module")
def convolutional():
    model = trained_looking(post_activation(blocks=3)).double().eval()
    x, target = images(), torch.tensor([1, 4, 2])
    return model, Tapped(model), x, target, tapped(model, x)[1]


def by_block(parts):
    return torch.stack([part.detach().flatten(1).sum(1) for part in parts], 1)


def test_conductance_is_the_mean_of_captums_there_and_back(convolutional):
    _, own, x, target, taps = convolutional
    steps = 8  # captum rounds its points to float32

    def captum(start, end):
        # its other choices of points leave out the ends of the path
        options = {"target": target, "n_steps": steps, "method": "riemann_trapezoid"}
        methods = [LayerConductance(own, tap) for tap in own.taps]
        return by_block([one.attribute(end, start, **options) for one in methods])

    zero = torch.zeros_like(x)
    expected = (captum(zero, x) - captum(x, zero)) / 2
    found = layer_conductance(taps, target, steps=steps)
    torch.testing.assert_close(found.blocks, expected, **ROUNDING)


def test_all_branches_together_are_captums_list_of_layers(convolutional):
    _, own, x, target, taps = convolutional
    gate = torch.ones((len(x), 1, 1, 1), dtype=torch.float64)
    with warnings.catch_warnings():
        # of captum: that layers follow each other, and that it sets requires_grad
        warnings.simplefilter("ignore")
        method = LayerIntegratedGradients(lambda gate, x: own(x, gate), list(own.taps))
        parts, delta = method.attribute(
            gate, torch.zeros_like(gate), target=target, additional_forward_args=(x,), n_steps=9,
            internal_batch_size=len(x), return_convergence_delta=True,
        )  # fmt: skip
    found = integrated_gradients(taps, target, steps=9)
    torch.testing.assert_close(found.blocks, by_block(parts), **ROUNDING)
    torch.testing.assert_close(found.delta, delta, **ROUNDING)


def test_the_product_is_captums(convolutional):
    _, own, x, target, taps = convolutional
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = LayerGradientXActivation(own, list(own.taps)).attribute(x, target=target)
    found = gradient_x_activation(taps, target)
    torch.testing.assert_close(found.blocks, by_block(parts), **ROUNDING)


# -- against the integral --------------------------------------------------------------------------


class Smooth(nn.Module):
    """A residual network of tanh, whose path integral is smooth."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(5, 5) for _ in range(3))
        self.double()

    def branches(self, x):
        found = []
        for layer in self.layers:
            found.append(torch.tanh(layer(x)))
            x = x + found[-1]
        return found

    def after(self, index, x, branch):
        """Give the logits from the input and one branch, the others being computed."""
        for number, layer in enumerate(self.layers):
            x = x + (branch if number == index else torch.tanh(layer(x)))
        return x

    def forward(self, x):
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


def integral(model, x, target):
    """∫ ∂f/∂G·dG/dα dα by Gauss-Legendre with exact derivatives of both, a sample at a time."""
    points, weights = np.polynomial.legendre.leggauss(40)
    found = torch.zeros((len(x), len(model.layers)), dtype=torch.float64)
    for number, sample in enumerate(x):
        for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
            at = point * sample
            branches, moved = torch.func.jvp(model.branches, (at,), (sample,))
            for index, branch in enumerate(branches):

                def logit(branch, at=at, index=index, number=number):
                    return model.after(index, at, branch)[target[number]]

                gradient = torch.func.grad(logit)(branch.detach())
                found[number, index] += weight * (gradient * moved[index]).sum().detach()
    return found


def test_conductance_converges_to_the_integral_with_the_square_of_the_steps():
    model, target = Smooth(), torch.tensor([0, 3])
    x = 2 * torch.randn((2, 5), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    exact = integral(model, x, target)
    _, taps = tapped(model, x)
    errors, deltas = [], []
    for steps in (20, 40, 80):
        found = layer_conductance(taps, target, steps=steps)
        errors.append(float((found.blocks - exact).norm()))
        deltas.append(float(found.delta.norm()))
    for values in (errors, deltas):
        rates = [np.log2(a / b) for a, b in itertools.pairwise(values)]
        np.testing.assert_allclose(rates, 2, atol=0.1)
    assert errors[-1] < 1e-3 * float(exact.norm())


# -- every network ---------------------------------------------------------------------------------


def first_tensor(structure):
    return next(leaf for leaf in leaves(structure) if isinstance(leaf, (torch.Tensor, Ref)))


# One for each way in which branches, skips, additions and inputs differ.
WAYS = (
    "ResNet-18", "pre-activation ResNet-18", "ResNet with option A", "MobileNetV2",
    "Inception-ResNet", "HRNet", "weight-standardised ResNet", "shake-shake", "RepVGG", "ReZero",
    "ViT", "layer-scale ViT", "Swin", "gMLP", "torch's encoder, norm first", "torch's transformer",
    "GPT-2", "Llama", "parallel ways as x + (a + m)", "parallel ways as a + m + x",
    "parallel ways as sum([x, a, m])", "parallel ways with two norms", "encoder and decoder",
    "ALBERT", "one addition called three times", "mixture of experts", "DiT, condition broadcast",
    "Hamiltonian net", "Verlet in place", "residual LSTM", "WaveNet", "graph convolution",
    "ReLU in place after +=", "ReLU in place before", "keywords only", "a dataclass as output",
    "a function of one's own", "weighted skip", "residual in residual", "in double precision",
    "skip behind the norm", "sum with the channels last", "additive coupling",
)  # fmt: skip


@pytest.mark.parametrize("name", WAYS)
def test_with_taps_a_network_gives_the_same_bits_and_without_branches_those_of_the_lesion(name):
    entry = NETS[name]
    torch.manual_seed(0)
    model = entry["net"]().eval()
    args, kwargs = tuple(entry.get("args", ())), entry.get("kwargs", {})
    with torch.no_grad(), unfused():
        runner = Runner(model, args, kwargs, select=first_tensor)
        whole = runner.run(args, kwargs, taps=True)
        taps = whole.taps()
        assert torch.equal(taps(taps.x), whole.output)
        rest = taps.rest()
        assert torch.equal(rest(*rest.branches), whole.output)
        none = rest(*[torch.zeros_like(branch) for branch in rest.branches])
        dropped = runner.run(args, kwargs).lesion_set(range(len(runner.blocks)))
        assert torch.equal(none, dropped)


def from_library(name):
    """Give a tiny classifier of `transformers` with random weights, and a batch for it."""
    library = pytest.importorskip("transformers")
    torch.manual_seed(0)
    words = {
        "input_ids": torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]),
    }
    if name == "GPT-2":
        config = library.GPT2Config(
            vocab_size=32, n_positions=8, n_embd=8, n_layer=2, n_head=2, num_labels=3,
            pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        return library.GPT2ForSequenceClassification(config).eval(), words
    sizes = {
        "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 16, "num_labels": 3,
    }  # fmt: skip
    if name == "BERT":
        config = library.BertConfig(vocab_size=32, max_position_embeddings=8, **sizes)
        return library.BertForSequenceClassification(config).eval(), words
    pixels = torch.randn((2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    config = library.ViTConfig(image_size=8, patch_size=4, **sizes)
    return library.ViTForImageClassification(config).eval(), {"pixel_values": pixels}


@pytest.mark.parametrize("name", ["GPT-2", "BERT", "ViT"])
def test_networks_of_a_library_are_measured_as_they_run(name):
    model, inputs = from_library(name)
    target = torch.tensor([2, 0])
    with torch.no_grad():
        runner = Runner(model, (), inputs, select=lambda output: output["logits"])
        runner.find_samples()
        measurement = BlockAttribution(model, runner.blocks, NAMES)
        measurement.take_input(ids=runner.takes_ids)
        whole = runner.run((), inputs, taps=True)
        taps = whole.taps()
        assert torch.equal(taps(taps.x), model(**inputs).logits)
        rows = measurement.rows(whole, target)
        dropped = whole.lesion_set(range(4))
    assert torch.equal(rows["target_logit"], whole.output[[0, 1], target])
    conductance, joint, product = rows["block_attribution"].unbind(2)
    assert conductance.isnan().all() == runner.takes_ids == (name != "ViT")
    change = (whole.output - dropped)[[0, 1], target]
    # float32; 16 points of a smooth integral
    torch.testing.assert_close(joint.sum(1), change, rtol=0, atol=1e-5)
    assert (product.abs() > 0).all()


class Flat(nn.Module):
    """A model with one row of outputs for each sample, in double precision."""

    def __init__(self, model):
        super().__init__()
        self.model = model.double()

    def forward(self, *args, **kwargs):
        return first_tensor(self.model(*args, **kwargs)).flatten(1)


def doubled(structure):
    return tuple(t.double() if t.is_floating_point() else t for t in structure)


@pytest.mark.parametrize(
    "name",
    ["ViT", "GPT-2", "Inception-ResNet", "parallel ways as a + m + x", "ReLU in place after +=",
     "parallel ways as sum([x, a, m])", "weighted skip", "ReZero"],
)  # fmt: skip
def test_the_product_is_how_the_logit_answers_to_a_longer_branch(name):
    """d/dε of the logit with (1 + ε)·G in the place of G, by replays in float64."""
    torch.manual_seed(0)
    model, args = Flat(NETS[name]["net"]().eval()), doubled(NETS[name]["args"])
    with torch.no_grad(), unfused():
        whole = Runner(model, args).run(args, branches=True, taps=True)
        target = torch.arange(len(args[0])) % whole.output.shape[1]
        found = gradient_x_activation(whole.taps(), target).blocks
        for block in whole.blocks:
            branch, size = whole.tensors(block)[2], 1e-6
            longer, shorter = (whole.replace_branch(block, (1 + e) * branch) for e in (size, -size))
            change = ((longer - shorter) / (2 * size)).gather(1, target[:, None])[:, 0]
            # of numbers of size one, rounding at 1e-16 is divided by 1e-6
            torch.testing.assert_close(found[:, block.index], change, rtol=1e-6, atol=1e-8)


def test_the_sum_over_blocks_is_what_dropping_them_all_changes():
    """Of a smooth transformer whose residual stream is normalised at the end."""
    torch.manual_seed(0)
    model, args = Flat(NETS["ViT"]["net"]().eval()), doubled(NETS["ViT"]["args"])
    whole, taps = tapped(model, args)
    target = torch.tensor([2] * len(args[0]))
    with torch.no_grad():
        change = (whole.output - whole.lesion_set(range(len(whole.blocks))))[:, 2]
    errors = []
    for steps in (1, 4):
        found = integrated_gradients(taps, target, steps=steps)
        torch.testing.assert_close(found.delta, found.blocks.sum(1) - change, rtol=0, atol=1e-12)
        errors.append(float(found.delta.abs().max()))
    assert errors[1] < errors[0] / 100
    assert errors[0] < float(change.abs().min())


@settings(max_examples=8)
@given(st.integers(1, 3), st.integers(0, 100))
def test_a_sample_has_the_same_attribution_in_every_batch(cut, seed):
    model = trained_looking(post_activation(blocks=2)).double().eval()
    x, target = images(4, seed), torch.tensor([0, 1, 4, 4])
    with torch.no_grad(), mock.patch.object(family, "CONDUCTANCE_STEPS", 3):
        runner = Runner(model, x)
        measurement = BlockAttribution(model, runner.blocks, NAMES)

        def rows(start, stop):
            whole = runner.run(x[start:stop], taps=True, replays=False)
            return measurement.rows(whole, target[start:stop])

        together, apart = rows(0, 4), [rows(0, cut), rows(cut, 4)]
    for name, values in together.items():
        assert values.dtype == torch.float32
        cat = torch.cat([one[name] for one in apart])
        torch.testing.assert_close(cat, values, rtol=1e-6, atol=1e-7, equal_nan=True)


# -- what is refused, and what is left behind ------------------------------------------------------


def test_nothing_is_left_on_the_model():
    model = trained_looking(post_activation(blocks=2)).eval()
    model[0].weight.requires_grad_(False)
    wanted = [p.requires_grad for p in model.parameters()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x, target = images().float(), torch.tensor([0, 1, 2])
    _, taps = tapped(model, x)
    layer_conductance(taps, target, steps=2)
    integrated_gradients(taps, target, steps=2)
    gradient_x_activation(taps, target)
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not any(tap._forward_hooks for tap in taps.taps)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not x.requires_grad


def test_a_frozen_network_has_the_same_attributions(convolutional):
    _, _, x, target, taps = convolutional
    frozen = trained_looking(post_activation(blocks=3)).double().eval().requires_grad_(False)
    _, others = tapped(frozen, x)
    for method in (gradient_x_activation, lambda *given: layer_conductance(*given, steps=2)):
        assert torch.equal(method(taps, target).blocks, method(others, target).blocks)


class Units(nn.Sequential):
    plain_units = ("0", "1")


def test_a_plain_network_is_refused():
    model = Units(*[nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(2)]).eval()
    x = torch.ones(2, 6)
    with torch.no_grad():
        runner = Runner(model, x)
        measurement = BlockAttribution(model, runner.blocks, NAMES)
        with pytest.raises(InputError, match="the network is a plain one"):
            measurement.try_on(runner.run(x, taps=True))


def test_what_draws_random_numbers_is_refused():
    model = nn.Sequential(*linear_stack(), nn.Dropout(0.5)).train()
    x = torch.ones((2, 6), dtype=torch.float64)
    with torch.no_grad():
        runner = Runner(model, x)
        with pytest.raises(InputError, match="draws random numbers"):
            BlockAttribution(model, runner.blocks, NAMES).try_on(runner.run(x, taps=True))


class TwoHeads(nn.Module):
    """Gives what blocks made, and what they had no part in."""

    def __init__(self):
        super().__init__()
        self.blocks, self.head = linear_stack(), nn.Linear(6, 6).double()

    def forward(self, x):
        return {"deep": self.blocks(x), "shallow": self.head(x)}


def test_logits_that_no_branch_leads_to_are_refused():
    x = torch.ones((2, 6), dtype=torch.float64)
    with pytest.raises(InputError, match="depend on no branch"):
        tapped(TwoHeads(), x, select=lambda output: output["shallow"])
    assert len(tapped(TwoHeads(), x, select=lambda output: output["deep"])[1].taps) == 4


def test_several_outputs_without_a_choice_are_refused():
    with pytest.raises(InputError, match="give Runner a `select`"):
        tapped(TwoHeads(), torch.ones((2, 6), dtype=torch.float64))


class Ids(nn.Module):
    """A residual network on token ids with a mask."""

    def __init__(self):
        super().__init__()
        self.embedding, self.linear = nn.Embedding(9, 6), nn.Linear(6, 6)

    def forward(self, ids, mask):
        x = self.embedding(ids)
        x = x + torch.tanh(self.linear(x))
        return (x * mask[..., None]).sum(1)


def test_token_ids_have_no_path_but_the_other_methods():
    torch.manual_seed(0)
    model, ids = Ids().eval(), torch.arange(6).reshape(2, 3)
    mask = torch.tensor([[1.0, 1, 0], [1, 1, 1]])
    target = torch.tensor([5, 0])
    with torch.no_grad():
        runner = Runner(model, (ids, mask))
        measurement = BlockAttribution(model, runner.blocks, NAMES)
        measurement.take_input(ids=runner.takes_ids)
        whole = runner.run((ids, mask), taps=True)
        measurement.try_on(whole)
        rows = measurement.rows(whole, target)
        x = model.embedding(ids)
        branch = (torch.tanh(model.linear(x)) * mask[..., None]).sum(1)
    found = rows["block_attribution"]
    assert found[:, :, 0].isnan().all()
    expected = branch.gather(1, target[:, None])
    torch.testing.assert_close(found[:, :, 1], expected)  # the head is linear
    torch.testing.assert_close(found[:, :, 2], expected)
    assert rows["attribution_delta"][:, [0, 2]].isnan().all()
    attributes = measurement.group().variable("block_attribution").attributes
    assert "token ids" in attributes["not_measured"]
    assert "conductance_steps" not in attributes


def test_memory_is_that_of_a_few_points_however_many_there_are(convolutional):
    """The recorded views say how many samples there are, so a pass can't hold several points."""
    _, _, x, target, taps = convolutional
    seen = []
    handle = taps.taps[0].register_forward_hook(lambda *given: seen.append(len(given[2])))
    layer_conductance(taps, target, steps=11)
    handle.remove()
    assert seen == [len(x)] * 12


@pytest.mark.parametrize("name", ["ResNet-18", "ViT"])
def test_what_a_graph_holds_is_counted(name):
    """By which the collection decides how many samples it takes at once."""
    torch.manual_seed(0)
    model, args = Flat(NETS[name]["net"]().eval()), doubled(NETS[name]["args"])
    with torch.no_grad():
        runner = Runner(model, args)
        taps = runner.run(args, taps=True).taps()
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    held = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        taps.run(taps.x)
    counted = runner.kept_bytes(len(args[0]), replays=False, taps=True)
    # views, and tensors that are written over, count as often as they are made
    assert counted / 10 < sum(held.values()) < counted


# -- collected -------------------------------------------------------------------------------------


def test_collected_numbers_are_those_of_the_standardised_images(run, resprobe, monkeypatch):
    """From the files alone; an interrupted collection goes on to the same bits."""
    from resprobe.source import from_run
    from resprobe.store.writer import Writer

    monkeypatch.setattr(family, "CONDUCTANCE_STEPS", 4)
    monkeypatch.setattr(family, "GRADIENT_STEPS", 4)
    monkeypatch.setattr(BlockAttribution, "samples_at_once", 2)
    words = ("--quantity", "block_attribution", "--sample-indices", "7,3,400", "--quiet", "--json")
    append, calls = Writer.append, []

    def append_once(self, group, rows):
        if calls:
            raise KeyboardInterrupt
        calls.append(len(rows["sample"]))
        append(self, group, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "append", append_once)
        assert resprobe("collect", run, *words).exit_code != 0
    assert calls == [2]
    done = resprobe("collect", run, *words)
    assert done.exit_code == 0, done.output
    path = json.loads(done.stdout)["collected"][0]["path"]
    with package.open(path) as tree:
        found = tree["attribution"].to_dataset().load()
    assert found["sample"].values.tolist() == [3, 7, 400]
    assert found["method"].values.tolist() == list(family.METHODS)
    assert found["block_attribution"].dims == ("sample", "block", "method")
    assert found["block_attribution"].attrs["conductance_steps"] == 4
    assert found["attribution_delta"].dims == ("sample", "method")

    source, _ = from_run(run, "last")
    images = source.images.images[[3, 7, 400]]
    mean, std = (np.array(one)[:, None, None] for one in (source.mean, source.std))
    x = torch.from_numpy((images / (255.0 if images.dtype == np.uint8 else 1.0) - mean) / std)
    model, target = source.model.double(), torch.from_numpy(found["label"].values)
    whole, taps = tapped(model, x)
    logit = whole.output.gather(1, target[:, None])[:, 0]
    # the run is float32: its network rounds at some ten layers
    np.testing.assert_allclose(found["target_logit"], logit, rtol=0, atol=1e-6)
    for number, expected in enumerate(
        (
            layer_conductance(taps, target, steps=4),
            integrated_gradients(taps, target, steps=4),
            gradient_x_activation(taps, target),
        )
    ):
        own = found["block_attribution"].values[:, :, number]
        largest = float(expected.blocks.abs().max())
        np.testing.assert_allclose(own, expected.blocks, rtol=0, atol=1e-4 * largest)
