"""Convert a network of single-layer blocks into the plain or residual one that equals it.

`x ↦ s + h·(A x + b)` is the plain layer with the weight `T(h·A)` and the bias `h·b`; back,
`A = T⁻¹(W)/h`. The blocks are always those of the residual network: of the one that is given, or of
the counterpart of the one that is given.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from resprobe import checkpoints, registry
from resprobe.blocks.discover import discover, unchanged
from resprobe.blocks.program import record
from resprobe.data import stratified
from resprobe.errors import InputError, ViolationError
from resprobe.example import run_bare
from resprobe.linalg.transfer import to_plain, to_residual
from resprobe.network import Network, is_registered, network, network_again
from resprobe.run_recipe import recipe_path
from resprobe.source import Source, code_of, from_run, read_recipe
from resprobe_models.certificate import (
    Comparison,
    Progress,
    Rounding,
    Run,
    as_it_runs,
    compare,
    in_dtype,
    rounding_of,
    without_skips,
)
from resprobe_models.single_layers import SingleLayer, single_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Blocks
    from resprobe.blocks.operations import Program

Direction = Literal["plain", "residual"]
# Samples of the pass that finds the blocks.
_EXAMPLE = 4


@dataclass(frozen=True)
class Request:
    """What to convert.

    Attributes:
        run: a run directory.
        to: what its network is to become.
        counterpart: what makes the other network, where that is not known; None where it is, or
            where there is none.
        arguments: of its factory.
        samples: on how many the outputs are compared.
        data_dir: of the data set's files, where they are no longer where they were.
        run_code: run the code that the run names.
    """

    run: Path
    to: Direction
    counterpart: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    samples: int = 64
    data_dir: Path | None = None
    run_code: bool = False


@dataclass(frozen=True)
class Conversion:
    """A network made ready to be converted; its checkpoints follow one by one.

    Attributes:
        source: of the given network, in float64; `dtype` is the run's.
        other: the network that takes the converted weights; where no counterpart is known, another
            of the given one.
        counterpart: whether `other` is a counterpart.
        layers: the blocks of the residual network of the two.
        example: the pass that they were found in.
        rounding: what the given network rounds.
        indices: of the samples that the outputs are compared on.
        to: see `Request`.
    """

    source: Source
    other: Network
    counterpart: bool
    layers: tuple[SingleLayer, ...]
    example: Program
    rounding: Rounding
    indices: NDArray[np.int64]
    to: Direction

    def convert(
        self, weights: Path, progress: Progress | None = None
    ) -> tuple[dict[str, Tensor], list[Comparison]]:
        """Convert a checkpoint and compare the outputs, in float64 and in the run's dtype.

        Args:
            weights: its safetensors file.
            progress: told after every batch.

        Returns:
            The state of the converted network in the run's dtype, and the comparisons.

        Raises:
            InputError: the file is not whole or not of this network.
            ViolationError: the outputs differ by more than rounding.
        """
        model = self.source.model.to(torch.float64)
        checkpoints.load_weights(weights, model)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        found = []
        # The run's dtype is the last one: `other` is left in it.
        for dtype in dict.fromkeys((torch.float64, self.source.dtype)):
            own = in_dtype(state, dtype)
            model.to(dtype).load_state_dict(own)
            other = self.other.model.to(dtype).eval()
            other.load_state_dict(converted(own, self.layers, self.to))
            found.append(
                compare(
                    self.source,
                    as_it_runs(self.source, model),
                    self._other_run(other),
                    dtype=dtype,
                    indices=self.indices,
                    rounding=self.rounding,
                    progress=progress,
                )
            )
            _require(found[-1], weights)
        return {name: value.clone() for name, value in other.state_dict().items()}, found

    def _other_run(self, model: nn.Module) -> Run:
        if self.counterpart:
            return as_it_runs(self.source, model)
        return without_skips(self.source, model, self.layers, self.example)


def converted(
    state: Mapping[str, Tensor], layers: tuple[SingleLayer, ...], to: Direction
) -> dict[str, Tensor]:
    """Give the state of the plain network that equals a residual one, or the other way round.

    Args:
        state: parameters and buffers by name; stays as it is.
        layers: the blocks of the residual network.
        to: which of the two is wanted.
    """
    entries = {layer.weight: layer.id_entries for layer in layers}
    if to == "plain":
        return to_plain(_multiplied(state, layers, 1), entries)
    return _multiplied(to_residual(state, entries), layers, -1)


def _multiplied(
    state: Mapping[str, Tensor], layers: tuple[SingleLayer, ...], power: Literal[1, -1]
) -> dict[str, Tensor]:
    """Multiply the weights and biases of layers by their step sizes, or divide them."""
    new = dict(state)
    for layer in layers:
        for name in filter(None, (layer.weight, layer.bias)):
            if layer.factor != 1:
                h = layer.factor
                new[name] = state[name] * h if power == 1 else state[name] / h
    return new


def prepare(request: Request, step: int) -> Conversion:
    """Load a run, find the blocks of its residual network, and build the other network.

    Args:
        request: what to convert.
        step: of one of its checkpoints.

    Raises:
        InputError: the run can't be loaded, is what it is to become, or has a block that is no
            single layer; the counterpart can't be made or does not fit.
    """
    _refuse_code(request)
    source, _ = from_run(
        request.run, step, data_dir=request.data_dir, device="cpu", run_code=request.run_code
    )
    owner = str(request.run)
    program, blocks = _recorded(source, source.model)
    table = dict(read_recipe(request.run)["model"])
    if request.to == "plain":
        _require_residual(blocks, owner)
        layers = single_layers(source.model, program, blocks, owner)
        example, made = program, _counterpart(request, table)
        other = made or network_again(table)
    else:
        if blocks.blocks and not blocks.plain:
            raise InputError(
                f"{owner} is a residual network already: block {blocks[0].name} has a skip; "
                "give --to plain, or a run of a plain network."
            )
        made = _counterpart(request, table)
        if made is None:
            raise InputError(
                f"{owner} does not say where skips belong; give the residual network with "
                "--counterpart FILE.py:FACTORY."
            )
        other, owner = made, f"the counterpart of {owner}"
        example, of_other = _recorded(source, other.model)
        _require_residual(of_other, owner)
        layers = single_layers(other.model, example, of_other, owner)
    _require_fit(request, source, other)
    count = min(request.samples, len(source.images))
    return Conversion(
        source,
        other,
        counterpart=made is not None,
        layers=layers,
        example=example,
        rounding=rounding_of(program, blocks),
        indices=stratified(source.images.labels, count, 0),
        to=request.to,
    )


def _refuse_code(request: Request) -> None:
    code = code_of(request.run)
    if code and not request.run_code:
        raise InputError(
            f"{recipe_path(request.run)} names code, {' and '.join(code)}, and what a run names is "
            "not run unasked; read it, and if you trust it give --run-code."
        )


def _recorded(source: Source, model: nn.Module) -> tuple[Program, Blocks]:
    """Record a network in float64 on a few samples and find its blocks."""
    own = replace(source, dtype=torch.float64)
    count = min(_EXAMPLE, len(source.images))
    args, kwargs, _ = own.inputs(0, count, np.arange(count))
    model.to(torch.float64).eval()
    source.select(run_bare(model, args, kwargs))
    with unchanged(model), torch.no_grad():
        program = record(model, args, kwargs)
        blocks = discover(model, program)
    if program.random_states:
        raise InputError(
            "the network draws random numbers in evaluation, so no two of its outputs are "
            "equal; switch that off in its factory."
        )
    return program, blocks


def _require_residual(blocks: Blocks, owner: str) -> None:
    if blocks.blocks and not blocks.plain:
        return
    if blocks.plain:
        found = "it is a plain network"
    else:
        found = f"it has no residual block, {len(blocks.refused)} additions were refused"
    raise InputError(
        f"{owner} has no skips that could be taken into its weights: {found}; give a residual "
        "network (`resprobe inspect` shows blocks and refusals)."
    )


def _counterpart(request: Request, table: Mapping[str, Any]) -> Network | None:
    """Build the counterpart: a registered network's own argument says it, else the user does."""
    name = str(table["name"])
    known = is_registered(name) and "residual" in _parameters(name)
    if not known:
        if request.counterpart is None:
            return None
        return network(request.counterpart, request.arguments)
    if request.counterpart is not None:
        raise InputError(
            f"{name} of {request.run} has a counterpart of its own, by its argument residual; "
            "leave --counterpart out."
        )
    return network_again({**table, "residual": request.to == "residual"})


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(registry.load("models", name)).parameters


def _require_fit(request: Request, source: Source, other: Network) -> None:
    missing, unexpected, shapes = checkpoints.misfits(
        source.model.state_dict(), other.model.state_dict()
    )
    found = (("it adds", missing), ("it lacks", unexpected), ("shape of", shapes))
    complaints = [f"{words} {checkpoints.some_names(names)}" for words, names in found if names]
    if complaints:
        raise InputError(
            f"the counterpart has other parameters than {request.run}: {'; '.join(complaints)}; "
            "expected the same names and shapes."
        )


def _require(found: Comparison, weights: Path) -> None:
    if not found.holds:
        raise ViolationError(
            f"{weights}: the converted network computes something else: in {found.dtype} its "
            f"outputs differ by {found.largest_difference:.3g}, expected at most "
            f"{found.bound:.3g} (rounding, at outputs up to {found.scale:.3g}); nothing was "
            "written. Compare the counterpart with the network, layer by layer."
        )
