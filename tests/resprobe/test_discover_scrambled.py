"""Discovery must not read names: the zoo under nonsense and under exchanged names."""

from pathlib import Path

import pytest
import torch
from scramble import scramble

from resprobe import find_blocks

HERE = Path(__file__).parent
ZOOS = ("zoo_convolutional", "zoo_transformers", "zoo_others")
DISGUISES = ((0, False), (1, False), (2, True))
pytestmark = pytest.mark.filterwarnings(
    "ignore:None of the inputs have requires_grad=True:UserWarning"
)


def records(module, words):
    return getattr(module, words.get("NETS", "NETS"))


def blocks_of(record, words):
    """Give the paths of the net's modules in their order, and the blocks."""
    torch.manual_seed(0)
    net = record["net"]().train(record.get("train", False))
    kwargs = {words.get(key, key): value for key, value in record.get("kwargs", {}).items()}
    paths = [path or "model" for path, _ in net.named_modules()]
    return paths, find_blocks(net, *record.get("args", ()), **kwargs)


def places(paths, blocks):
    """Give the blocks' names with the place of the module instead of its path."""
    names = (block.name.partition(":") for block in blocks)
    return [(paths.index(path), number) for path, _, number in names]


def table(blocks):
    return [
        (b.stage, b.index_in_stage, b.skip, b.activation, b.scale, b.input_shape, b.output_shape)
        for b in blocks
    ]


@pytest.fixture(scope="module", params=ZOOS)
def zoo(request):
    module = __import__(request.param)
    return request.param, {name: blocks_of(record, {}) for name, record in module.NETS.items()}


@pytest.mark.parametrize(("seed", "mislead"), DISGUISES)
def test_other_names_change_nothing_but_the_names(zoo, seed, mislead):
    file, known = zoo
    module, words = scramble(HERE / f"{file}.py", seed, mislead)
    scrambled = records(module, words)
    assert list(scrambled) == list(known)
    for name, record in scrambled.items():
        known_paths, known_blocks = known[name]
        paths, blocks = blocks_of(record, words)
        assert table(blocks) == table(known_blocks), name
        assert places(paths, blocks) == places(known_paths, known_blocks), name
        assert len(blocks.refused) == len(known_blocks.refused), name


@pytest.mark.parametrize(("seed", "mislead"), DISGUISES)
def test_decoys_under_other_names_are_no_blocks(seed, mislead):
    module, words = scramble(HERE / "zoo_decoys.py", seed, mislead)
    for name, (make, args, _) in getattr(module, words.get("DECOYS", "DECOYS")).items():
        torch.manual_seed(0)
        assert len(find_blocks(make().eval(), *args)) == 0, name


def test_no_name_that_a_file_defines_survives(tmp_path):
    source = (
        "from torch import nn\n"
        "class ResidualBlock(nn.Module):\n"
        "    def __init__(self, width, bias=True):\n"
        "        super().__init__()\n"
        "        self.branch = nn.Linear(width, width, bias=bias)\n"
        "        self.register_buffer('step', self.branch.weight.new_ones(1))\n"
        "    def forward(self, skip):\n"
        "        out = self.branch(skip)\n"
        "        return skip + self.step * out\n"
        "NETS = {'net': lambda: ResidualBlock(4, bias=False)}\n"
    )
    (tmp_path / "small.py").write_text(source)
    own = {"ResidualBlock", "width", "bias", "branch", "step", "skip", "out", "self", "NETS"}
    for seed in (0, 1):
        module, words = scramble(tmp_path / "small.py", seed)
        assert set(words) == own
        net = records(module, words)["net"]()
        assert not own & set(vars(module))
        assert [name for name, _ in net.named_children()] == [words["branch"]]
        assert [name for name, _ in net.named_buffers()] == [words["step"]]
        assert net.get_submodule(words["branch"]).bias is None
    module, words = scramble(tmp_path / "small.py", 2, mislead=True)
    assert set(words.values()) == own - {"self"} | {words["self"]}
    assert all(old != new for old, new in words.items())
    assert len(find_blocks(records(module, words)["net"](), torch.ones(2, 4))) == 1
