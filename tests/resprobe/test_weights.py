"""Weights that a user was handed: every format, wrappers, ties, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from resprobe.checkpoints import complete_ties, without_ties
from resprobe.errors import InputError
from resprobe.weights import load, state_digest


class Tied(nn.Module):
    """Embedding and output share one tensor, as in a language model."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Tied()


STATE = {name: tensor.clone() for name, tensor in net(1).state_dict().items()}
UNTIED = {name: tensor for name, tensor in STATE.items() if name != "head.weight"}


def prefixed(prefix, state=UNTIED):
    return {prefix + name: tensor for name, tensor in state.items()}


def split(place: Path) -> Path:
    """A transformers folder whose weights are in two parts."""
    folder = place / "parts"
    folder.mkdir()
    names = list(UNTIED)
    parts = {"model-1.safetensors": names[:2], "model-2.safetensors": names[2:]}
    for part, own in parts.items():
        save_file({name: UNTIED[name] for name in own}, folder / part)
    index = {"weight_map": {name: part for part, own in parts.items() for name in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def folder_with(name, write):
    def make(place: Path) -> Path:
        (place / "folder").mkdir()
        (place / "folder" / "config.json").write_text("{}", encoding="utf-8")
        write(place / "folder" / name)
        return place / "folder"

    return make


def safetensors(state):
    def make(place: Path) -> Path:
        save_file(state, place / "w.safetensors")
        return place / "w.safetensors"

    return make


def torch_file(content, name="w.pt"):
    def make(place: Path) -> Path:
        torch.save(content, place / name)
        return place / name

    return make


GOOD = {
    "safetensors": safetensors(UNTIED),
    "safetensors of a wrapped model": safetensors(prefixed("module.")),
    "torch": torch_file(STATE),
    "torch in an old form": lambda place: (
        torch.save(STATE, place / "w.th", _use_new_zipfile_serialization=False) or place / "w.th"
    ),
    "torch under state_dict": torch_file({"state_dict": STATE, "epoch": 3}, "w.ckpt"),
    "torch under model": torch_file({"model": STATE, "optimizer": {"lr": 0.1}}),
    "nested twice": torch_file({"state_dict": {"model": STATE}}),
    "data parallel": torch_file(prefixed("module.", STATE)),
    "compiled": torch_file(prefixed("_orig_mod.", STATE)),
    "compiled, then data parallel": torch_file(prefixed("module._orig_mod.", STATE)),
    "data parallel, then compiled": torch_file(prefixed("_orig_mod.module.", STATE)),
    "a folder": folder_with("model.safetensors", lambda path: save_file(UNTIED, path)),
    "a folder of torch": folder_with("pytorch_model.bin", lambda path: torch.save(STATE, path)),
    "a folder of parts": split,
    "without batch counters": torch_file(
        {n: t for n, t in STATE.items() if not n.endswith("num_batches_tracked")}
    ),
    "in half precision": torch_file(
        {n: t.bfloat16().float() if t.is_floating_point() else t for n, t in STATE.items()}
    ),
}


@pytest.mark.parametrize("what", GOOD)
def test_every_form_of_a_state_is_loaded_exactly(what, tmp_path):
    model = net()
    digest = load(GOOD[what](tmp_path), model)
    assert len(digest) == 64
    for name, tensor in model.state_dict().items():
        expected = STATE[name]
        if what == "in half precision" and tensor.is_floating_point():
            expected = expected.bfloat16().float()
        assert torch.equal(tensor, expected), name
    assert model.head.weight is model.embedding.weight


class Holder(nn.Module):
    """A model whose one part has the name that data parallelism gives."""

    def __init__(self, part):
        super().__init__()
        self.module = part


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_part_called_module_is_no_wrapper(depth, prefix, tmp_path):
    model, filled = net(), net(1)
    for _ in range(depth):
        model, filled = Holder(model), Holder(filled)
    state = filled.state_dict()
    del state[f"{'module.' * depth}norm.num_batches_tracked"]  # as torch before 0.4.1
    load(torch_file(prefixed(prefix, state))(tmp_path), model)
    assert state_digest(model) == state_digest(filled)


def test_an_empty_state_is_refused(tmp_path):
    with pytest.raises(InputError, match="missing mask, embedding"):
        load(torch_file({})(tmp_path), net())


def test_the_digest_of_a_file_is_its_own_and_that_of_a_folder_of_all_its_parts(tmp_path):
    file = GOOD["torch"](tmp_path)
    assert load(file, net()) == hashlib.sha256(file.read_bytes()).hexdigest()
    folder = split(tmp_path)
    first = load(folder, net())
    changed = {name: tensor + 1 for name, tensor in UNTIED.items()}
    last = list(UNTIED)[2:]
    save_file({name: changed[name] for name in last}, folder / "model-2.safetensors")
    assert load(folder, net()) != first


class Harmful:
    """What a file of weights must never be able to do."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (os.system, (f"touch {self.trace}",))


def changed(**values):
    state = {name: tensor.clone() for name, tensor in UNTIED.items()}
    for keyword, value in values.items():
        name = keyword.replace("__", ".")
        if value is None:
            del state[name]
        else:
            state[name] = value
    return state


def index_of(text):
    return folder_with(
        "model.safetensors.index.json", lambda path: path.write_text(text, encoding="utf-8")
    )


MANY = {f"extra.{number}": torch.zeros(1) for number in range(9)}
BAD = {
    "missing": (safetensors(changed(embedding__weight=None)), "missing embedding.weight"),
    "unexpected": (safetensors({**UNTIED, **MANY}), "extra.3 and 5 more. Give the model and the"),
    "of another shape": (
        safetensors(changed(norm__bias=torch.zeros(4))),
        "shape of norm.bias (4,) instead of (3,)",
    ),
    "all three": (
        safetensors(
            {**changed(norm__bias=torch.zeros(4), norm__weight=None), "odd": torch.ones(1)}
        ),
        "missing norm.weight; unexpected odd; shape of norm.bias",
    ),
    "not finite": (
        safetensors(changed(norm__bias=torch.tensor([0.0, float("nan"), 1.0]))),
        "not finite in norm.bias",
    ),
    "infinite": (
        torch_file(changed(norm__bias=torch.tensor([0.0, float("inf"), 1.0]))),
        "not finite in norm.bias",
    ),
    "not there": (lambda place: place / "gone.pt", "gone.pt does not exist"),
    "an empty folder": (lambda place: place, "is a folder without model.safetensors"),
    "an index that is none": (index_of("[]"), "can't be read as an index"),
    "an index without its parts": (
        index_of('{"weight_map": {"a": "gone.safetensors"}}'),
        "gone.safetensors, which is not there",
    ),
    "an index that leads elsewhere": (
        index_of('{"weight_map": {"a": "../w.safetensors"}}'),
        "../w.safetensors, which is not there",
    ),
    "numbers": (torch_file({"a": 3}), "no state dictionary of tensors"),
    "a tensor": (torch_file(torch.ones(3)), "no state dictionary of tensors"),
    "a whole model": (torch_file(nn.Linear(2, 2)), "loading it could run code"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_fit_is_refused_and_the_model_left_as_it_was(what, tmp_path):
    make, expected = BAD[what]
    model = net()
    before = state_digest(model)
    with pytest.raises(InputError) as raised:
        load(make(tmp_path), model)
    assert expected in str(raised.value)
    assert state_digest(model) == before


@pytest.mark.parametrize("form", ["pickle", "zip", "old", "folder"])
def test_no_code_in_a_file_of_weights_ever_runs(form, tmp_path):
    trace = tmp_path / "harmed"
    content = {"state_dict": {"weight": Harmful(trace)}}
    path = tmp_path / "w.pt"
    if form == "folder":
        (tmp_path / "folder").mkdir()
        torch.save(content, tmp_path / "folder" / "pytorch_model.bin")
        path = tmp_path / "folder"
    elif form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(InputError, match="refused"):
        load(path, net())
    assert not trace.exists()


def test_a_state_without_ties_can_be_stored_and_completed_again(tmp_path):
    state = net(3).state_dict()
    kept = without_ties(state)
    assert set(state) - set(kept) == {"head.weight"}
    save_file(kept, tmp_path / "w.safetensors")  # refuses shared memory
    complete_ties(kept, net().state_dict())
    assert torch.equal(kept["head.weight"], kept["embedding.weight"])


def test_floats_of_one_byte_are_loaded(tmp_path):
    model = nn.Linear(2, 2)
    state = {
        name: torch.ones_like(t).to(torch.float8_e5m2) for name, t in model.state_dict().items()
    }
    torch.save(state, tmp_path / "w.pt")
    load(tmp_path / "w.pt", model)
    assert torch.equal(model.weight, torch.ones(2, 2))


def test_equal_tensors_that_are_not_one_are_not_tied():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].load_state_dict(model[0].state_dict())
    assert set(without_ties(model.state_dict())) == set(model.state_dict())
    stored = {"0.weight": torch.ones(2, 2)}
    complete_ties(stored, model.state_dict())
    assert list(stored) == ["0.weight"]


def test_a_state_s_digest_sees_names_shapes_and_values():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.load_state_dict(first.state_dict())
    assert state_digest(first) == state_digest(second)
    with torch.no_grad():
        second.bias[1] += 1
    assert state_digest(first) != state_digest(second)
    assert state_digest(nn.Sequential(first)) != state_digest(first)


@pytest.fixture(scope="module")
def gpt2():
    """A tiny GPT-2 classifier of transformers."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=1, n_embd=4, n_head=1, vocab_size=7, n_positions=8, bos_token_id=0, eos_token_id=0
    )
    return transformers, config


def test_a_transformers_folder_as_it_was_saved_is_loaded(gpt2, tmp_path, capsys):
    transformers, config = gpt2
    first = transformers.GPT2LMHeadModel(config)
    first.save_pretrained(tmp_path)
    model = transformers.GPT2LMHeadModel(config)
    capsys.readouterr()
    load(tmp_path, model)
    assert state_digest(model) == state_digest(first)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert capsys.readouterr().err == "", "no bars and reports of transformers"


def test_the_names_of_a_base_model_and_older_buffers_are_converted(gpt2, tmp_path):
    """The published GPT-2 has no prefix and carries masks that nobody reads any more."""
    transformers, config = gpt2
    first = transformers.GPT2LMHeadModel(config)
    state = {n.removeprefix("transformer."): t for n, t in first.state_dict().items()}
    del state["lm_head.weight"]
    state["h.0.attn.bias"] = torch.ones(1, 1, 8, 8)
    save_file(state, tmp_path / "model.safetensors")
    model = transformers.GPT2LMHeadModel(config)
    load(tmp_path, model)
    assert state_digest(model) == state_digest(first)


def test_a_configuration_in_half_precision_costs_no_digits(gpt2, tmp_path):
    from resprobe.network import network

    transformers, config = gpt2
    first = transformers.GPT2ForSequenceClassification(config)
    first.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "dtype": "float16"}))
    made = network("transformers:GPT2ForSequenceClassification", {}, tmp_path).model
    load(tmp_path, made)
    assert state_digest(made) == state_digest(first)


def test_transformers_weights_that_lack_a_head_are_refused(gpt2, tmp_path):
    transformers, config = gpt2
    transformers.GPT2Model(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"does not fit the model: missing score\.weight"):
        load(tmp_path, transformers.GPT2ForSequenceClassification(config))


def test_transformers_weights_of_another_shape_are_refused(gpt2, tmp_path):
    transformers, config = gpt2
    transformers.GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    other = transformers.GPT2Config(**{**config.to_dict(), "num_labels": 5})
    with pytest.raises(InputError, match=r"shape of score\.weight \(2, 4\) instead of \(5, 4\)"):
        load(tmp_path, transformers.GPT2ForSequenceClassification(other))


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_trainer_s_checkpoint_is_loaded_from_under_its_names(key, prefix, tmp_path):
    path, model = tmp_path / "w.pt", net()
    torch.save({key: prefixed(prefix), "epoch": 3, "optimizer": {}}, path)
    load(path, model)
    assert all(torch.equal(value, STATE[name]) for name, value in model.state_dict().items())


def test_a_checkpoint_without_a_state_says_what_it_holds(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"weights_of_it": prefixed(""), "epoch": 3}, path)
    with pytest.raises(InputError, match="only weights_of_it, epoch"):
        load(path, net())
