"""Block tables of architectures written from their papers, decoys, and the ways to write a sum."""

import re
from random import Random

import pytest
import torch
import zoo_convolutional
import zoo_decoys
import zoo_others
import zoo_transformers
from torch import nn

from resprobe import find_blocks

NETS = {**zoo_convolutional.NETS, **zoo_transformers.NETS, **zoo_others.NETS}
KNOWN = "net train args kwargs skips activations scales transitions stages names refused"
reentrant_without_gradient = pytest.mark.filterwarnings(
    "ignore:None of the inputs have requires_grad=True:UserWarning"
)


def built(record):
    torch.manual_seed(0)
    return record["net"]().train(record.get("train", False))


def found(record):
    return find_blocks(built(record), *record.get("args", ()), **record.get("kwargs", {}))


def spread(value, count):
    return list(value) if isinstance(value, list) else [value] * count


def refusals(blocks):
    return "; ".join(f"{addition}: {reason}" for addition, reason in blocks.refused)


def test_every_zoo_name_and_key_is_used_once():
    zoos = (zoo_convolutional, zoo_transformers, zoo_others)
    assert len(NETS) == sum(len(zoo.NETS) for zoo in zoos)
    assert all({"net", "skips"} <= set(record) <= set(KNOWN.split()) for record in NETS.values())


@reentrant_without_gradient
@pytest.mark.parametrize("name", NETS)
def test_the_blocks_are_those_of_the_paper(name):
    record = NETS[name]
    blocks = found(record)
    skips = record["skips"]
    table = [(block.name, block.skip, block.activation, block.scale) for block in blocks]
    assert len(blocks) == len(skips), f"{table}; refused {refusals(blocks)}"
    for block, skip in zip(blocks, skips, strict=True):
        assert skip in (None, block.skip), table
    if "activations" in record:
        expected = spread(record["activations"], len(skips))
        assert [block.activation for block in blocks] == expected, table
    if "scales" in record:
        expected = spread(record["scales"], len(skips))
        assert [block.scale for block in blocks] == pytest.approx(expected), table
    if "names" in record:
        assert [block.name for block in blocks] == record["names"]
    if "transitions" in record:
        changing = [
            number for number, block in enumerate(blocks) if block.input_shape != block.output_shape
        ]
        assert changing == record["transitions"]
    if "stages" in record:
        assert len({block.stage for block in blocks}) == record["stages"]
    refused = record.get("refused")
    if refused == 0:
        assert not blocks.refused
    elif refused:
        assert len(blocks.refused) >= refused, refusals(blocks)


@reentrant_without_gradient
@pytest.mark.parametrize("name", NETS)
def test_tables_are_well_formed(name):
    blocks = list(found(NETS[name]))
    assert [block.index for block in blocks] == list(range(len(blocks)))
    assert len({block.name for block in blocks}) == len(blocks)
    stage, place, shape = -1, 0, None
    for block in blocks:
        if block.output_shape != shape:
            stage, place, shape = stage + 1, 0, block.output_shape
        assert (block.stage, block.index_in_stage) == (stage, place)
        place += 1
        if block.skip in ("identity", "scaled"):
            assert block.input_shape == block.output_shape


@reentrant_without_gradient
@pytest.mark.parametrize("name", NETS)
def test_nothing_is_left_behind_and_the_answer_repeats(name):
    record = NETS[name]
    net = built(record)
    attributes = {key: set(vars(module)) for key, module in net.named_modules()}
    state = {key: value.clone() for key, value in net.state_dict().items()}
    random = torch.get_rng_state()
    args, kwargs = record.get("args", ()), record.get("kwargs", {})
    first = find_blocks(net, *args, **kwargs)
    second = find_blocks(net, *args, **kwargs)
    assert first.blocks == second.blocks
    assert first.refused == second.refused
    assert {key: set(vars(module)) for key, module in net.named_modules()} == attributes
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    for module in net.modules():
        assert module.training == record.get("train", False)
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


@pytest.mark.parametrize("name", zoo_decoys.DECOYS)
def test_decoys_are_no_blocks(name):
    make, args, pattern = zoo_decoys.DECOYS[name]
    torch.manual_seed(0)
    blocks = find_blocks(make().eval(), *args)
    assert [(block.name, block.skip, block.scale) for block in blocks] == []
    for addition, reason in blocks.refused:
        assert addition
        assert reason
    if pattern is not None:
        assert any(re.search(pattern, reason) for _, reason in blocks.refused), refusals(blocks)


class Written(nn.Module):
    """x + f(x) with the sum written in a given way, between two other layers."""

    def __init__(self, combine, activation):
        super().__init__()
        self.entry, self.a, self.b = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.combine, self.activation = combine, activation

    def forward(self, x):
        x = self.entry(x)
        out = self.combine(x, self.b(torch.relu(self.a(x))))
        return torch.relu(out) if self.activation == "post" else out


@pytest.mark.parametrize("activation", ["pre", "post"])
@pytest.mark.parametrize("writing", zoo_decoys.WRITINGS)
def test_a_block_is_found_however_its_sum_is_written(writing, activation):
    combine, scale = zoo_decoys.WRITINGS[writing]
    torch.manual_seed(0)
    net = nn.Sequential(Written(combine, activation), Written(combine, activation)).eval()
    blocks = find_blocks(net, zoo_decoys.image())
    assert [block.name for block in blocks] == ["0", "1"], refusals(blocks)
    assert {block.skip for block in blocks} == {"identity"}
    assert {block.activation for block in blocks} == {activation}
    assert [block.scale for block in blocks] == pytest.approx([scale, scale])
    assert {block.output_shape for block in blocks} == {(4, 8, 8)}


@pytest.mark.parametrize("seed", range(40))
def test_blocks_drawn_at_random_are_told_from_what_is_between_them(seed):
    torch.manual_seed(seed)
    net, expected, said = zoo_decoys.mixture(Random(seed))
    blocks = find_blocks(net, zoo_decoys.image())
    table = [(block.name, block.skip, block.activation) for block in blocks]
    assert table == [row[:3] for row in expected], said
    assert [block.scale for block in blocks] == pytest.approx([row[3] for row in expected]), said


def test_one_sample_and_many_give_the_same_table():
    for name in ("ResNet-18", "ViT", "Hamiltonian net", "Swin"):
        record = NETS[name]
        net = built(record)
        (x,) = record["args"]
        one, many = find_blocks(net, x[:1]), find_blocks(net, x.repeat(3, 1, 1, 1))
        assert [(b.name, b.skip, b.scale, b.output_shape) for b in one] == [
            (b.name, b.skip, b.scale, b.output_shape) for b in many
        ]
