"""Networks that can't be recorded are refused by name, with the way out."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from resprobe.errors import InputError
from resprobe.measurable import refuse_unmeasurable, unwrapped


def net():
    return nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))


def with_child(name, package):
    """A network with a module of a class that only looks like that of a package."""
    kind = type(name, (nn.Module,), {})
    kind.__module__ = package
    return nn.Sequential(nn.Linear(3, 3), kind())


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that it will drop TorchScript
        return nn.Sequential(torch.jit.script(nn.Linear(3, 3)))


def compiled_in_place():
    model = net()
    model[0].compile(backend="eager")
    return model


def on_two_devices():
    model = net()
    model[2].to("meta")
    return model


def of_integers():
    model = net()
    model[0].weight = nn.Parameter(torch.ones(3, 3, dtype=torch.int8), requires_grad=False)
    return model


def of_eight_bit_floats():
    model = net()
    packed = torch.ones(3, 3).to(torch.float8_e4m3fn)
    model[0].weight = nn.Parameter(packed, requires_grad=False)
    return model


def packed_by(package):
    def make():
        kind = type("Packed", (nn.Parameter,), {})
        kind.__module__ = package
        model = net()
        model[0]._parameters["weight"] = kind(torch.ones(3, 3))
        return model

    return make


def spread():
    kind = type("DTensor", (nn.Parameter,), {})
    kind.__module__ = "torch.distributed.tensor"
    model = net()
    model[0]._parameters["weight"] = kind(torch.ones(3, 3))
    return model


FSDP = "torch.distributed.fsdp.fully_sharded_data_parallel"
CASES = {
    "compiled": (lambda: torch.compile(net(), backend="eager"), "model._orig_mod"),
    "a compiled part": (
        lambda: nn.Sequential(torch.compile(net(), backend="eager")),
        "its module 0 is compiled",
    ),
    "compiled in place": (compiled_in_place, "its module 0 is compiled"),
    "scripted": (scripted, "its module 0 is scripted"),
    "sharded": (lambda: with_child("FullyShardedDataParallel", FSDP), "(FSDP).*full_state_dict"),
    "sharded anew": (lambda: with_child("FSDPModule", "torch.distributed.fsdp"), "(FSDP)"),
    "spread tensors": (spread, "0.weight is a DTensor.*full_state_dict"),
    "quantised by torch": (
        lambda: with_child("Linear", "torch.ao.nn.quantized.modules.linear"),
        r"its module 1 is quantised \(Linear\)",
    ),
    "quantised by bitsandbytes": (
        lambda: with_child("Linear4bit", "bitsandbytes.nn.modules"),
        r"quantised \(Linear4bit\).*unquantised",
    ),
    "parameters of bitsandbytes": (packed_by("bitsandbytes.nn"), "0.weight is quantised"),
    "tensors of torchao": (packed_by("torchao.dtypes"), "0.weight is quantised"),
    "integers": (of_integers, "0.weight is of torch.int8, so quantised"),
    "eight-bit floats": (of_eight_bit_floats, "torch.float8_e4m3fn, so quantised"),
    "without values": (lambda: net().to("meta"), "device meta"),
    "partly without values": (on_two_devices, "2.weight is on the device meta"),
}


@pytest.mark.parametrize("what", CASES)
def test_it_is_refused_by_name_with_the_way_out(what):
    make, expected = CASES[what]
    with pytest.raises(InputError, match=expected.replace("(FSDP)", r"\(FSDP\)")):
        refuse_unmeasurable(make())


class Elsewhere(nn.Parameter):
    """A parameter that says it is on a second device; this machine may have one alone."""

    @property
    def device(self):
        return torch.device("cuda:1")


def test_a_model_on_two_devices_is_refused_with_a_tensor_on_each():
    model = net()
    model[2]._parameters["weight"] = Elsewhere(torch.ones(2, 3))
    with pytest.raises(InputError, match=r"0\.weight on cpu and 2\.weight on cuda:1"):
        refuse_unmeasurable(model)


def test_quantised_layers_of_torch_itself_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that they will move to torchao
        try:
            small = torch.ao.quantization.quantize_dynamic(net(), {nn.Linear})
        except (RuntimeError, AttributeError):
            pytest.skip("this torch has no quantised engine")
    with pytest.raises(InputError, match="quantised"):
        refuse_unmeasurable(small)


@pytest.mark.parametrize(
    "model",
    [net(), net().double(), net().half(), nn.Sequential(), nn.Embedding(3, 2), nn.BatchNorm2d(2)],
    ids=lambda model: type(model).__name__,
)
def test_an_ordinary_model_is_accepted(model):
    refuse_unmeasurable(model)


def test_data_parallelism_is_taken_off_and_that_is_said():
    model = net()
    inner, note = unwrapped(nn.DataParallel(model))
    assert inner is model
    assert "DataParallel" in note
    assert unwrapped(model) == (model, "")


def test_distributed_data_parallelism_is_told_by_its_class_alone():
    kind = type("DistributedDataParallel", (nn.Module,), {})
    kind.__module__ = "torch.nn.parallel.distributed"
    wrapper = kind()
    wrapper.module = net()
    inner, note = unwrapped(wrapper)
    assert inner is wrapper.module
    assert "DistributedDataParallel" in note
