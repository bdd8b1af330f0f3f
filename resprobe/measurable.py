"""Networks that can't be measured are refused by name, with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from resprobe.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

# Modules of packages whose layers compute with packed integers. Told by name: none need be there.
_QUANTISED = (
    "torch.ao.nn.quantized",
    "torch.ao.nn.intrinsic.quantized",
    "torch.nn.quantized",
    "bitsandbytes",
    "torchao",
)
_DEQUANTISE = "load the network unquantised, in float32 or float64"


def refuse_unmeasurable(model: nn.Module) -> None:
    """Refuse a network whose forward pass can't be recorded and replayed operation by operation.

    Raises:
        InputError: it is compiled, scripted, sharded, quantised, without values or on several
            devices; named, with the way out.
    """
    import torch

    # Asked first, and of the root alone: the wrappers below pretend to be what they wrap.
    if _is_a(model, "OptimizedModule", "torch._dynamo"):
        raise InputError(
            "the model is compiled (torch.compile), which hides its operations: give the module "
            "that was compiled, model._orig_mod."
        )
    for path, module in model.named_modules():
        where = f"its module {path}" if path else "the model"
        kind = type(module).__name__
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(
                f"{where} is scripted (TorchScript), which hides its operations: give the eager "
                "module that it was made of."
            )
        if getattr(module, "_compiled_call_impl", None) is not None or _is_a(
            module, "OptimizedModule", "torch._dynamo"
        ):
            raise InputError(
                f"{where} is compiled (module.compile()), which hides its operations: make it "
                "without compiling."
            )
        if _is_a(module, "FullyShardedDataParallel", "torch.distributed") or _is_a(
            module, "FSDPModule", "torch.distributed"
        ):
            raise InputError(
                f"{where} is sharded (FSDP), so no process has all of its weights: gather them "
                "with get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)), "
                "save them, and give the bare module with --weights."
            )
        if any(type(module).__module__.startswith(name) for name in _QUANTISED):
            raise InputError(f"{where} is quantised ({kind}): {_DEQUANTISE}.")
    _refuse_parameters(model)


def unwrapped(model: nn.Module) -> tuple[nn.Module, str]:
    """Give the network inside data parallelism, and a note that says so ("" for any other)."""
    for name in ("DistributedDataParallel", "DataParallel"):
        if _is_a(model, name, "torch.nn.parallel"):
            inner: nn.Module = model.module  # type: ignore[assignment]  # both wrappers have it
            return inner, f"the model is wrapped in {name}: its .module is measured"
    return model, ""


def _refuse_parameters(model: nn.Module) -> None:
    """Refuse tensors that are sharded, packed, without values, or apart from each other."""
    from torch.nn.parameter import is_lazy

    devices: dict[str, str] = {}
    for name, tensor in _tensors(model):
        if is_lazy(tensor):
            raise InputError(
                f"{name} is lazy, without a shape yet: run the model once on an example in its "
                "factory."
            )
        if _is_a(tensor, "DTensor", "torch.distributed"):
            raise InputError(
                f"{name} is a DTensor, spread over processes (FSDP or tensor parallelism): gather "
                "the weights with get_model_state_dict(…, full_state_dict=True), save them, and "
                "give the bare module with --weights."
            )
        package = type(tensor).__module__.split(".")[0]
        if package in ("torchao", "bitsandbytes") or tensor.is_quantized:
            raise InputError(
                f"{name} is quantised ({type(tensor).__name__}, {tensor.dtype}): {_DEQUANTISE}."
            )
        devices.setdefault(str(tensor.device), name)
    for name, parameter in model.named_parameters():
        if parameter.is_complex():
            raise InputError(
                f"{name} is of {parameter.dtype}: norms and angles are those of real features; "
                "give a model with real parameters, such as real and imaginary parts apart."
            )
        if not parameter.is_floating_point() or parameter.element_size() < 2:
            raise InputError(f"{name} is of {parameter.dtype}, so quantised: {_DEQUANTISE}.")
    if "meta" in devices:
        raise InputError(
            f"{devices['meta']} is on the device meta, without values: make the model on the CPU."
        )
    if len(devices) > 1:
        places = " and ".join(f"{name} on {device}" for device, name in devices.items())
        raise InputError(
            f"the model is on several devices ({places}): move it to one, such as "
            "model.to('cpu'), or load it without device_map."
        )


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _is_a(thing: object, name: str, package: str) -> bool:
    """Whether a class of this name from that package is among the thing's own; imports nothing."""
    return any(
        kind.__name__ == name and kind.__module__.startswith(package)
        for kind in type(thing).__mro__
    )
