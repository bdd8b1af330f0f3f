"""What is measured: a network with weights, and the samples it is measured on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from resprobe import checkpoints, data_request
from resprobe.data import stratified
from resprobe.data_request import (
    DataRequest,
    DataSet,
    load_data_set,
    load_samples,
    load_training,
    request_again,
)
from resprobe.errors import InputError
from resprobe.network import Network, is_code, is_registered, network, network_again
from resprobe.reference import quoted
from resprobe.run_recipe import read_run_recipe, recipe_path
from resprobe.store.reader import is_run, recording_in

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from resprobe.data import Images


class Inputs(NamedTuple):
    """One batch as a network takes it.

    Attributes:
        args: positional arguments, each `(sample, …)`.
        kwargs: keyword arguments, likewise.
        labels: `(sample,)` int64.
    """

    args: tuple[Tensor, ...]
    kwargs: dict[str, Tensor]
    labels: Tensor


@dataclass
class Source:
    """A network ready to be measured.

    Attributes:
        model: in evaluation mode on `device`.
        images: the samples to measure it on.
        mean: of each channel, on the scale 0 to 1; inputs are standardised by it; empty for ids.
        std: likewise.
        device: where it is measured.
        dtype: of the inputs and weights.
        weights: SHA-256 of the file the weights came from, or of the state that was measured.
        attributes: provenance to store.
        model_spec: name and arguments of the model as JSON: weights alone don't decide what a
            network computes.
        output: which part of the model's output are the logits; None where that is clear.
        network: how the model was made, where it is not of a run.
        data: likewise what makes the samples again, for the `[data]` of source.toml.
        request: of the samples.
        training_subset: how many of the training images were trained on, and the seed of their
            draw; None for all.
        training_print: fingerprint of the training images; "" where it is not known.
        noisy: whether the run put noise on its training images, which is not repeated here.
        notes: what a person should know before reading the numbers.
    """

    model: nn.Module
    images: Images
    mean: list[float]
    std: list[float]
    device: torch.device
    dtype: torch.dtype
    weights: str
    attributes: dict[str, str | int | float] = field(default_factory=dict)
    model_spec: str = ""
    output: str | None = None
    network: Network | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    request: DataRequest | None = None
    training_subset: tuple[int, int] | None = None
    training_print: str = ""
    noisy: bool = False
    notes: list[str] = field(default_factory=list)

    def inputs(self, start: int, stop: int, indices: Any) -> Inputs:
        """Give one batch on the device: standardised images or features, ids as int64.

        Args:
            start: first place in `indices`.
            stop: place after the last.
            indices: of the samples that are measured, `(sample,)` int64.
        """
        import torch

        part = self.images.take(indices[start:stop])
        main = self._standardised(part) if self.mean else self._tensor(part.images)
        kwargs = {name: self._tensor(array) for name, array in part.extras.items()}
        labels = torch.from_numpy(part.labels).to(self.device)
        if part.name:
            return Inputs((), {part.name: main, **kwargs}, labels)
        return Inputs((main,), kwargs, labels)

    def training(self, count: int, seed: int) -> Source:
        """Give the same network with training images instead of samples, in a random order.

        Args:
            count: how many images are drawn, stratified; all where there are not so many.
            seed: of the draw and the order; a larger count keeps the images, not their order.

        Raises:
            InputError: the data bring no training images, or not those of the run.
        """
        import numpy as np

        if self.request is None:
            raise InputError(
                "there are no training images at hand; measure a run, or give --model with --data."
            )
        shape = self.images.images.shape
        images = load_training(self.request, shape[1] if len(shape) == 4 else 1)
        if self.training_subset is not None:
            images = images.take(stratified(images.labels, *self.training_subset))
        if self.training_print not in ("", images.fingerprint()):
            raise InputError(
                f"the training images of {self.request.name} are not those of the run (their "
                "fingerprints differ); give the same files with --data-dir."
            )
        drawn = stratified(images.labels, min(count, len(images)), seed)
        # In data-set order the batches of a set that is sorted by class would hold a class each.
        drawn = np.random.default_rng(seed).permutation(drawn)
        return replace(self, images=images.take(drawn))

    def select(self, output: Any) -> Any:
        """Give the logits of a model's output."""
        from resprobe.quantities.outputs import select_logits

        return select_logits(output, self.output)

    def _standardised(self, part: Images) -> Tensor:
        import torch

        values = torch.from_numpy(part.images).to(self.device)
        scale = 255.0 if values.dtype == torch.uint8 else 1.0
        by_channel = (-1, *(1,) * (values.ndim - 2))
        mean, std = (
            torch.tensor(numbers, dtype=self.dtype, device=self.device).reshape(by_channel)
            for numbers in (self.mean, self.std)
        )
        return (values.to(self.dtype) / scale - mean) / std

    def _tensor(self, array: Any) -> Tensor:
        import numpy as np
        import torch

        if array.dtype.kind == "f":
            return torch.from_numpy(array).to(self.device, self.dtype)
        return torch.from_numpy(array.astype(np.int64)).to(self.device)


def choose_device(name: str) -> torch.device:
    """Give the device of a name; `auto` is a GPU where there is one.

    Raises:
        InputError: there is no such device here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"device {name!r} cannot be used here ({reason}): take auto or cpu."
        ) from error
    return device


def from_run(
    run: Path,
    which: Literal["last", "best"] | int,
    *,
    data_dir: Path | None = None,
    device: str = "auto",
    run_code: bool = False,
) -> tuple[Source, int]:
    """Make ready a checkpoint of a run that `train` or `collect --model` wrote.

    Args:
        run: the run directory.
        which: "last", "best" (lowest recorded test error) or a step.
        data_dir: of the data set's files, where they are no longer where they were.
        device: "auto", "cpu", "cuda", …
        run_code: run the code that the run names as its model or data; else that is refused.

    Returns:
        The source and the checkpoint's step.

    Raises:
        InputError: it is no run, it names code that may not run, or recipe, checkpoint or data
            are missing or damaged.
    """
    recipe = read_recipe(run)
    code = _code_in(recipe)
    if code and not run_code:
        raise InputError(
            f"{recipe_path(run)} names code, {' and '.join(code)}, and what a run names is not "
            f"run unasked; read it, and if you trust it give `resprobe collect {run} --run-code`."
        )
    step = checkpoints.resolve(run, which)
    info = checkpoints.read_info(run, step)
    try:
        mean, std = _statistics(info)
        fingerprint = str(info["data_fingerprint"])
        trained = recipe.get("train", {})  # a foreign model's run has none
        request = request_again(recipe["data"], data_dir)
        table, output = recipe["model"], recipe.get("output")
        made = network_again(table)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{recipe_path(run)} or {_weights_of(run, step).with_suffix('.json')} is not as it was "
            f"written ({quoted(error)}); take both from a copy of the run."
        ) from error
    images = load_samples(request)
    if images.fingerprint() != fingerprint.rsplit(" ", maxsplit=1)[-1]:
        raise InputError(
            f"the test images of {request.name} are not those of the run {run} (their "
            "fingerprints differ); give the same files with --data-dir."
        )
    channels = images.images.shape[1] if images.images.ndim > 1 else 1
    if len(mean) not in (0, 1, channels):
        raise InputError(
            f"{_weights_of(run, step).with_suffix('.json')} has {len(mean)} means for {channels} "
            "channels; take it from a copy of the run."
        )
    path = _weights_of(run, step)
    if trained.get("dtype") == "float64":
        made.model.double()  # before it is loaded, or the weights would be rounded to float32
    checkpoints.load_weights(path, made.model)
    dtype = dtype_of(made.model)
    data = DataSet(images, mean, std, str(info.get("standardised", "")))
    source = _source(made, data, device=choose_device(device), dtype=dtype, output=output)
    become_run(source, run, step)
    source.request = request
    if recipe["data"].get("subset"):
        source.training_subset = (
            int(recipe["data"]["subset"]),
            int(recipe["data"].get("subset_seed", 0)),
        )
    noise = recipe["data"]
    source.noisy = bool(noise.get("input_noise"))
    if not source.noisy and not noise.get("label_noise"):
        source.training_print = fingerprint.split(" ", maxsplit=1)[0]
    if "seed" in trained:
        source.attributes["seed"] = int(trained["seed"])
    return source, step


def _statistics(info: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Give the mean and deviation of each channel that a checkpoint was trained with."""
    mean, std = ([float(value) for value in info[name]] for name in ("mean", "std"))
    finite = all(map(math.isfinite, (*mean, *std))) and min(std, default=1.0) > 0
    if len(mean) != len(std) or not finite:
        raise ValueError(f"mean = {mean}, std = {std}")
    return mean, std


def become_run(source: Source, run: Path, step: int) -> None:
    """Say of a source that it is a checkpoint of a run, whose weights it has."""
    path = _weights_of(run, step)
    with path.open("rb") as stream:
        source.weights = hashlib.file_digest(stream, "sha256").hexdigest()
    source.attributes.pop("source", None)
    source.attributes["weights_sha256"] = source.weights
    source.attributes["recipe"] = read_run_recipe(run)[0]
    source.attributes["checkpoint_step"] = step


def from_parts(
    model_name: str,
    model_arguments: Mapping[str, Any],
    weights: Path | None,
    request: DataRequest,
    *,
    device: str = "auto",
    output: str | None = None,
) -> Source:
    """Make ready any network with data to measure it on.

    Args:
        model_name: see `resprobe.network`.
        model_arguments: of its factory.
        weights: a file or a transformers folder; None measures it as its factory gave it.
        request: of the data.
        device: "auto", "cpu", "cuda", …
        output: which part of the model's output are the logits.

    Raises:
        UnknownNameError: the model or data set is unknown.
        InputError: weights or data are missing, damaged or do not fit.
    """
    from resprobe.weights import load, state_digest

    if weights is None and is_registered(model_name):
        raise InputError(f"{model_name} has no weights of its own: give them with --weights.")
    if weights is not None and not weights.exists():
        raise InputError(f"{weights} does not exist; give the file of the model's weights.")
    data = load_data_set(request)
    made = network(model_name, model_arguments, weights)
    digest = load(weights, made.model) if weights is not None else state_digest(made.model)
    source = _source(
        made, data, device=choose_device(device), dtype=dtype_of(made.model), output=output
    )
    source.weights = digest
    source.attributes["weights_sha256"] = digest
    source.data = replace(request, sha256=data.sha256).table()
    source.request = request
    source.notes += made.notes
    if weights is None:
        source.notes.append(f"no --weights: {model_name} is measured as its factory gave it")
    if data.told:
        source.notes.append(
            f"{request.name} has no training split: {data.standardised}; --normalize gives other "
            "values"
        )
    arguments_text = ", ".join(f"{name} = {value}" for name, value in model_arguments.items())
    source.attributes["source"] = (
        f"model {model_name} ({arguments_text}), weights {weights or 'of the factory'}, data "
        f"{request.name}"
    )
    return source


def read_recipe(run: Path) -> dict[str, Any]:
    """Read the resolved recipe of a run, or the source of a foreign model's.

    Raises:
        InputError: it is no run directory, or the recipe is damaged.
    """
    if recording_in(run) is not None:
        raise InputError(
            f"{run} holds what was recorded of a training, but no model: measure a checkpoint with "
            "`resprobe collect --model … --weights … --data … -o OUT`."
        )
    if not run.is_dir() or not is_run(run):
        raise InputError(
            f"{run} is no run directory (it holds no recipe.toml); give the directory that "
            "`resprobe train -o` wrote."
        )
    return read_run_recipe(run)[1]


def code_of(run: Path) -> list[str]:
    """Give the code that a run names as its model or data, which measuring it would run.

    Raises:
        InputError: see `read_recipe`.
    """
    return _code_in(read_recipe(run))


def collect_command(run: Path) -> str:
    """Give the command that measures a run, with --run-code where it needs that."""
    try:
        flag = " --run-code" if code_of(run) else ""
    except InputError:
        flag = ""  # the command itself says what is wrong
    return f"resprobe collect {run}{flag}"


def _code_in(recipe: Mapping[str, Any]) -> list[str]:
    found = []
    for kind, runs in (("model", is_code), ("data", data_request.is_code)):
        table = recipe.get(kind)
        name = table.get("name") if isinstance(table, Mapping) else None
        if isinstance(name, str) and runs(name):
            found.append(name if name.isprintable() else repr(name))  # it goes to a terminal
    return found


def _weights_of(run: Path, step: int) -> Path:
    return run / checkpoints.FOLDER / f"{checkpoints.stem(step)}.safetensors"


def dtype_of(model: nn.Module) -> torch.dtype:
    """Give float64 for a network that is all of it, else float32."""
    import torch

    kinds = {p.dtype for p in model.parameters()}
    return torch.float64 if kinds == {torch.float64} else torch.float32


def _source(
    made: Network,
    data: DataSet,
    *,
    device: torch.device,
    dtype: torch.dtype,
    output: str | None,
) -> Source:
    attributes: dict[str, str | int | float] = {
        "model": made.spec,
        "data_fingerprint": data.images.fingerprint(),
        "standardisation_mean": " ".join(map(repr, data.mean)),
        "standardisation_std": " ".join(map(repr, data.std)),
    }
    if data.standardised:
        attributes["standardised"] = data.standardised
    if output:
        attributes["output"] = output
    return Source(
        model=made.model.to(device=device, dtype=dtype).eval(),
        images=data.images,
        mean=data.mean,
        std=data.std,
        device=device,
        dtype=dtype,
        weights="",
        attributes=attributes,
        model_spec=made.spec,
        output=output,
        network=made,
    )
