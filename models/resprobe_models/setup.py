"""From a recipe to what a step needs: data on the device, network, optimizer, generators."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from resprobe.data import Images, stratified
from resprobe.source import choose_device
from resprobe_models.datasets.batches import DeviceData, EpochPlan
from resprobe_models.loop import Epoch, Tally, Training
from resprobe_models.model_arguments import build_model, with_data_arguments
from resprobe_models.optimizers import make_optimizer
from resprobe_models.processes import ALONE, Processes
from resprobe_models.recipe import ModelTable, Recipe, TrainTable
from resprobe_models.schedule import learning_rates
from resprobe_models.training_data import evaluated, load_images, with_noise

ORDER, AUGMENTATION = 1, 2
# Test images whose Jacobians are followed while training.
FIXED_SAMPLES = 4


@dataclass
class Setup:
    """A recipe made ready to run.

    Attributes:
        recipe: resolved: also `in_channels` and `classes` are named.
        training: network and optimizer at step 0.
        train: training images on the device.
        test: those test images on the device that the network is evaluated on.
        fixed: indices in the data set, and images, of those whose Jacobians are followed.
        generators: `order` and `augmentation`, on the host.
        mean: of each channel of the training images without noise, 0 to 1.
        std: likewise.
        data_fingerprint: SHA-256 of the training images, noise included, and of all test images.
        classes: names of the classes.
    """

    recipe: Recipe
    training: Training
    train: DeviceData
    test: DeviceData
    fixed: tuple[np.ndarray[Any, Any], Images]
    generators: dict[str, torch.Generator]
    mean: list[float]
    std: list[float]
    data_fingerprint: str
    classes: tuple[str, ...]

    def draw_epoch(self) -> Epoch:
        """Draw the next epoch."""
        table = self.recipe.data
        states = {name: item.get_state() for name, item in self.generators.items()}
        plan = EpochPlan.draw(
            len(self.train),
            table.augment,
            table.pad,
            self.generators["order"],
            self.generators["augmentation"],
        )
        return Epoch(plan, Tally(self.train.labels.device), states)

    def fixed_samples(self) -> tuple[np.ndarray[Any, Any], torch.Tensor]:
        """Give the test images whose Jacobians are followed while training.

        They are the first of the draw that `resprobe collect` measures, from all test images.

        Returns:
            Their indices in the data set, int64, and the images as the network takes them.
        """
        indices, chosen = self.fixed
        pixels = torch.from_numpy(chosen.images).to(self.test.labels.device)
        return indices, self.test.standardised(pixels)

    def provenance(self) -> dict[str, Any]:
        """Give what a reader of the results must know beside the recipe, JSON-ready."""
        return {
            "mean": self.mean,
            "std": self.std,
            "classes": list(self.classes),
            "data_fingerprint": self.data_fingerprint,
            "threads": torch.get_num_threads(),
            "processes": self.training.processes.count,
            "device": str(self.train.labels.device),
            "dtype": self.recipe.train.dtype,
            "torch_version": str(torch.__version__),
        }

    def where(self) -> str:
        """Say in words where and how this runs."""
        parameters = sum(item.numel() for item in self.training.model.parameters())
        count = self.training.processes.count
        together = f"processes: {count}, " if count > 1 else ""
        return (
            f"{parameters:,} parameters, {len(self.train):,} training and {len(self.test):,} test "
            f"images{self._size()}, {self.train.labels.device}, {self.recipe.train.dtype}, "
            f"{together}threads: {torch.get_num_threads()}, seed {self.recipe.train.seed}"
        )

    def _size(self) -> str:
        side = self.recipe.data.resolution
        return f" of {side}×{side} pixels" if side else ""


def make_setup(recipe: Recipe, processes: Processes = ALONE) -> Setup:
    """Load the data, build the network and the optimizer.

    Args:
        recipe: `in_channels` and `classes` may be left to the data.
        processes: that will train together.

    Raises:
        InputError: the data are not there, the device is not, or the recipe does not fit them.
    """
    device = processes.device or choose_device(recipe.train.device)
    train, test = load_images(recipe.data)
    mean, std = train.standardisation()  # of the images without noise
    train = with_noise(train, recipe.data, std, recipe.train.seed)
    arguments = with_data_arguments(
        recipe.model.name,
        recipe.model.arguments,
        shape=train.images.shape[1:],
        classes=len(train.classes),
    )
    recipe = replace(recipe, model=ModelTable(recipe.model.name, arguments))
    data: dict[str, Any] = {
        "mean": mean,
        "std": std,
        "device": device,
        "dtype": torch.float64 if recipe.train.dtype == "float64" else torch.float32,
        "channels_last": recipe.train.channels_last,
    }
    on_device = DeviceData(train, **data)
    return Setup(
        recipe=recipe,
        training=make_training(recipe, device, processes, on_device.steps(recipe.train.batch_size)),
        train=on_device,
        test=DeviceData(evaluated(test, recipe.data), **data),
        fixed=_fixed(test),
        generators=generators(recipe.train.seed),
        mean=mean,
        std=std,
        data_fingerprint=f"{train.fingerprint()} {test.fingerprint()}",
        classes=train.classes,
    )


def generators(seed: int) -> dict[str, torch.Generator]:
    """Give the generators of the data order and of the augmentation.

    Their seeds are hashed from the run's, so that no stream of one run is a stream of another.
    """
    made = {}
    for name, stream in (("order", ORDER), ("augmentation", AUGMENTATION)):
        state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint32)
        made[name] = torch.Generator().manual_seed(int(state[0]))
    return made


def _fixed(test: Images) -> tuple[np.ndarray[Any, Any], Images]:
    indices = stratified(test.labels, min(FIXED_SAMPLES, len(test)), 0)
    return indices, test.take(indices)


def make_training(
    recipe: Recipe, device: torch.device, processes: Processes, steps_per_epoch: int
) -> Training:
    """Build the network and the optimizer; torch's global generator on the CPU is seeded anew.

    Args:
        recipe: resolved.
        device: of the network.
        processes: that will train together.
        steps_per_epoch: turns the schedule's epochs into steps.

    Raises:
        InputError: the recipe does not fit the network.
    """
    table = recipe.train
    # On the CPU in float32 first: every device and arithmetic then starts from the same weights.
    torch.manual_seed(table.seed)
    model = build_model(recipe.model.name, recipe.model.arguments)
    model.to(device=device, dtype=torch.float64 if table.dtype == "float64" else torch.float32)
    if table.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    optimizer = make_optimizer(table, recipe.schedule.learning_rate, model)
    rates = learning_rates(recipe.schedule, table.epochs * steps_per_epoch, steps_per_epoch)
    half = table.dtype == "bfloat16"

    def autocast() -> torch.autocast:
        # Without the cache of cast weights: each is used once a pass, and the cache would hide
        # the casts from whoever records the pass.
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=half, cache_enabled=False)

    return Training(model, optimizer, rates, autocast, table.clip_norm, processes)


@contextmanager
def torch_settings(table: TrainTable) -> Iterator[None]:
    """Set threads and determinism for the time of a run, and put both back.

    The CPU's global random state, which building the network seeds, is put back as well.
    """
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    random_state = torch.get_rng_state()
    try:
        if table.threads:
            torch.set_num_threads(table.threads)
        if table.deterministic:
            # cuBLAS reads this when it is first used; without it torch refuses its operations.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_rng_state(random_state)
