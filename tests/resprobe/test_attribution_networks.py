"""Attribution of branches in many networks: bits, derivatives and sums, by replays and lesions."""

from __future__ import annotations

import pytest
import torch
import zoo_convolutional
import zoo_others
import zoo_transformers
from tapped import tapped
from torch import nn

from resprobe.blocks.intervene import Runner
from resprobe.blocks.program import unfused
from resprobe.blocks.structure import Ref, leaves
from resprobe.quantities.attribution import BlockAttribution
from resprobe.quantities.attribution_methods import gradient_x_activation, integrated_gradients

NETS = {**zoo_convolutional.NETS, **zoo_transformers.NETS, **zoo_others.NETS}
NAMES = tuple(str(number) for number in range(6))


def first_tensor(structure):
    return next(leaf for leaf in leaves(structure) if isinstance(leaf, (torch.Tensor, Ref)))


# One for each way in which branches, skips, additions and inputs differ.
WAYS = (
    "ResNet-18", "ResNet with option A", "Inception-ResNet", "HRNet", "shake-shake", "RepVGG",
    "ReZero", "ViT", "gMLP", "torch's transformer", "GPT-2", "parallel ways as x + (a + m)",
    "parallel ways as a + m + x", "parallel ways as sum([x, a, m])", "parallel ways with two norms",
    "encoder and decoder", "one addition called three times", "mixture of experts",
    "DiT, condition broadcast", "Hamiltonian net", "Verlet in place", "residual LSTM", "WaveNet",
    "graph convolution", "ReLU in place after +=", "ReLU in place before", "keywords only",
    "a dataclass as output", "a function of one's own", "weighted skip", "residual in residual",
    "in double precision", "skip behind the norm", "sum with the channels last",
    "additive coupling",
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
