"""Two equivalent networks in lockstep: the run's own, and its partner on the same mini-batches.

A residual network of single-layer blocks with the weights r and the plain one with p = T(r) are one
function (`resprobe.linalg.transfer`). As long as weight decay pulls p where it pulls r, gradient
descent moves both alike, and only rounding separates them.

Source: Yu and Tomasi (2019), "Identity connections in residual nets improve noise stability",
Sec. 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from resprobe.checkpoints import misfits
from resprobe.errors import InputError, UnknownNameError
from resprobe.linalg.transfer import to_plain, to_residual
from resprobe_models import optimizers
from resprobe_models.interruption import Wish
from resprobe_models.loop import Epoch, Step, StepRecorder, Training
from resprobe_models.model_arguments import argument_hints
from resprobe_models.optimizers import id_entries
from resprobe_models.recipe import PairTable, Recipe, ScheduleTable, apply_overrides
from resprobe_models.setup import Setup, make_training

# What the two may be trained by otherwise: all else is the batches, the arithmetic, or the weights
# that they begin with.
CHANGEABLE = (
    *(f"train.{key}" for key in ("optimizer", *optimizers.KEYS)),
    *(f"train.{key}" for key in ("weight_decay", "wd_scale", "decay_toward", "clip_norm")),
    *(f"schedule.{field.name}" for field in dataclasses.fields(ScheduleTable)),
)
_ASKED = "pair.network = equivalent"


def partner_recipe(recipe: Recipe) -> Recipe | None:
    """Give the recipe of a run's partner, None where it asks for none.

    It is the run's with `model.residual` the other way round and with weight decay that pulls to
    the same network; then come `pair.changes`.

    Raises:
        InputError: the run's recipe has no equivalent partner, or a change is none that keeps both
            in lockstep.
    """
    if recipe.pair.network == "none":
        return None
    if "residual" not in argument_hints(recipe.model.name):
        raise InputError(
            f"{_ASKED}: {recipe.model.name} has no argument residual, so it has no plain "
            "counterpart; take simplified-resnet."
        )
    if recipe.record.every == 0:
        raise InputError(
            f"{_ASKED} with record.every = 0, which records nothing, so the two would never be "
            "compared; give record.every = 1 or more."
        )
    residual = bool(recipe.model.arguments["residual"])
    decays = recipe.train.weight_decay * recipe.train.wd_scale > 0
    if decays and not residual and recipe.train.decay_toward == "zero":
        raise InputError(
            f"{_ASKED}: weight decay pulls this plain network to zero and its residual partner to "
            "the identity, so they would not stay equal; give train.decay_toward = identity or "
            "train.weight_decay = 0."
        )
    partner = replace(
        recipe,
        model=replace(recipe.model, arguments={**recipe.model.arguments, "residual": not residual}),
        train=replace(recipe.train, decay_toward="identity" if residual and decays else "zero"),
        pair=PairTable(),
    )
    return apply_overrides(partner, _allowed(recipe.pair.changes))


def _allowed(changes: tuple[str, ...]) -> tuple[str, ...]:
    for change in changes:
        key = change.partition("=")[0].strip()
        if key not in CHANGEABLE:
            raise UnknownNameError("key that pair.changes may change", key, CHANGEABLE)
    return changes


def partner_setup(setup: Setup) -> Setup | None:
    """Make the partner of a run that is set up: on the same data, beginning as the same function.

    Args:
        setup: of the run, at its start; stays as it is, and so does torch's random state.

    Returns:
        None where its recipe asks for none.

    Raises:
        InputError: several processes train together, or the network does not name its ID entries,
            or has other parameters with a skip than without.
    """
    recipe, processes = partner_recipe(setup.recipe), setup.training.processes
    if recipe is None:
        return None
    if processes.count > 1:
        raise InputError(
            f"{_ASKED}: a pair is trained by one process, and {processes.count} were started; "
            "start one."
        )
    ours = setup.training.model
    entries = id_entries(ours, _ASKED)
    device, random_state = setup.train.labels.device, torch.get_rng_state()
    steps = setup.train.steps(recipe.train.batch_size)
    training = make_training(recipe, device, processes, steps)
    torch.set_rng_state(random_state)
    move = to_residual if recipe.model.arguments["residual"] else to_plain
    state = move(ours.state_dict(), entries)
    if any(misfits(state, training.model.state_dict())):
        raise InputError(
            f"{_ASKED}: {recipe.model.name} has other parameters with a skip than without, so "
            "neither can begin as the other."
        )
    training.model.load_state_dict(state)
    return replace(setup, recipe=recipe, training=training)


class Lockstep:
    """Takes every step of an epoch with the partner too, and compares the two.

    Args:
        setup: of the run.
        partner: of its partner.
        epoch: of the partner: the draws of the run's, moved on here.
        recorder: of the partner's own run.
    """

    def __init__(
        self, setup: Setup, partner: Setup, epoch: Epoch, recorder: StepRecorder | None
    ) -> None:
        self._ours, self._theirs = setup.training, partner.training
        self._epoch, self._recorder = epoch, recorder
        # Whoever trains the first network asks whether to stop.
        self._take_step = Step(self._theirs, Wish())
        self._losses = (torch.empty(()), torch.empty(()))
        identity = _flat(_identity(self._ours.model))
        residual = setup.recipe.model.arguments["residual"]
        self._shifts = (identity, 0.0) if residual else (0.0, identity)
        self._theirs.model.train()

    def step(self, images: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Take the partner's step on a batch; `loss` is the run's on it."""
        own, correct, _ = self._take_step(images, labels, len(labels))
        self._losses = loss.detach(), own.detach()
        self._epoch.batches += 1
        self._epoch.tally.add(own, correct, len(labels))
        if self._recorder is not None:
            self._recorder.step(own.detach(), accuracy=correct / len(labels))

    def distances(self) -> dict[str, Tensor]:
        """Give the quantities of family `pair` of the last step, 0-d float64 on the device."""
        ours, theirs = self._ours, self._theirs
        loss, other = self._losses
        compared = {
            "output": (ours.logits.double(), theirs.logits.double()),
            "gradient": (_gradients(ours), _gradients(theirs)),
            "weight": (_weights(ours) + self._shifts[0], _weights(theirs) + self._shifts[1]),
        }
        figures = {"pair_loss_distance": loss.double() - other.double()}
        for name, (one, two) in compared.items():
            figures[f"pair_{name}_distance"] = (one - two).abs().max()
            figures[f"pair_{name}_scale"] = one.abs().max()
        return figures

    def finite(self) -> bool:
        """Whether the partner's loss over the epoch so far is a number."""
        return self._epoch.tally.figures().finite


def _identity(model: nn.Module) -> list[Tensor]:
    """Give ρ by parameter: 1 at the ID entries, 0 elsewhere."""
    entries: Mapping[str, Tensor] = id_entries(model, _ASKED)
    return [
        entries[name].to(parameter) if name in entries else torch.zeros_like(parameter)
        for name, parameter in model.named_parameters()
    ]


def _flat(tensors: list[Tensor]) -> Tensor:
    """Give all entries as one float64 vector."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).double()


def _weights(training: Training) -> Tensor:
    return _flat(list(training.model.parameters()))


def _gradients(training: Training) -> Tensor:
    return _flat(
        [
            torch.zeros_like(item) if item.grad is None else item.grad
            for item in training.model.parameters()
        ]
    )
