"""Random residual networks in float64 on which identities of forward passes are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resprobe import registry

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Kind:
    """A kind of residual network.

    Attributes:
        name: in words.
        make: the factory; called with `arguments` and the step size `h`.
        arguments: of the factory.
        shape: of a sample.
    """

    name: str
    make: Callable[..., nn.Module]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = (3, 16, 16)


def kinds_without_activation() -> tuple[Kind, ...]:
    """Give bundled kinds whose I is the identity: convolutional ones and a fully connected one."""
    cifar, connected = (registry.load("models", name) for name in ("cifar-resnet", "fc-resnet"))
    pre = {"depth": 14, "width_factor": 0.5, "reading": "A"}
    return (
        Kind("pre-activation, padded shortcut", cifar, pre),
        Kind("pre-activation, pooled shortcut", cifar, {**pre, "shortcut": "pooled"}),
        Kind("pre-activation, projection", cifar, {**pre, "shortcut": "projection"}),
        Kind("without BN", cifar, {**pre, "batch_norm": False}),
        Kind("fully connected", connected, {"depth": 20, "in_features": 6}, (6,)),
    )


def kind_with_activation() -> Kind:
    """Give the bundled kind of Zhang et al. (2019): a ReLU behind the sum, projections."""
    arguments = {"depth": 14, "width_factor": 0.5, "activation": "post", "shortcut": "projection"}
    return Kind("post-activation, projection", registry.load("models", "cifar-resnet"), arguments)


def random_network(kind: Kind, h: float, seed: int) -> nn.Module:
    """Build a network in float64 and evaluation mode; its weights depend on `seed` alone.

    Means, variances and affine parameters of every batch normalisation are random too, as after
    training, so that none of them is a factor of one.
    """
    import torch

    with seeded(seed):
        network = kind.make(h=h, **kind.arguments)
        with torch.no_grad():
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    assert module.running_mean is not None
                    assert module.running_var is not None
                    module.running_mean.normal_(0, 0.1)
                    module.running_var.uniform_(0.5, 1.5)
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_(0, 0.1)
    return network.double().eval()


def random_batch(kind: Kind, samples: int, seed: int) -> Tensor:
    """Give normal features, `(sample, *kind.shape)` float64."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, *kind.shape, dtype=torch.float64, generator=generator)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from torch's global generator as from `seed`; afterwards it is as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
