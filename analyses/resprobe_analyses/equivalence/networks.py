"""Read what pairs, weights and epochs were recorded into plain arrays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from resprobe.errors import InputError
from resprobe.result import Input
from resprobe_analyses.equivalence import recipes
from resprobe_analyses.equivalence.curves import EPOCH_VALUES, Curve, squared_norm
from resprobe_analyses.equivalence.pairs import UNITS, Pair
from resprobe_analyses.equivalence.weights import HISTOGRAMS, LAYER_VALUES, State, state_of
from resprobe_analyses.reading import check_seeds, group_label, unique

if TYPE_CHECKING:
    import xarray as xr

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PAIR, WEIGHTS, PARTNER = "training/pair", "weights", "partner"
PAIR_VALUES = {
    f"{what}_{kind}": f"pair_{what}_{kind}"
    for what in ("output", "gradient", "weight")
    for kind in ("distance", "scale")
} | {"loss_distance": "pair_loss_distance"}


@dataclass(frozen=True)
class Member:
    """One of the two networks of a pair, or a network that has no partner.

    Attributes:
        residual: whether blocks have skips, None where nothing tells.
        curve: its epochs, None where none were recorded.
        states: distributions of its weights, by step, empty where `weights` was not collected.
    """

    residual: bool | None
    curve: Curve | None
    states: tuple[State, ...]


@dataclass(frozen=True)
class Network:
    """One run, and its partner where it has one.

    Attributes:
        label: short and unique.
        seed: of its training, None where unknown.
        step: the last that was recorded, None where unknown.
        dtype: of its arithmetic, "" where unknown.
        own: the network itself.
        partner: the one trained beside it, None where there is none.
        pair: what was recorded of both step by step, None where nothing was.
        changes: keys of the recipe in which the partner's training differs; with any, the pair is
            a negative control.
        recipe: resolved, empty where the run carries none.
    """

    label: str
    seed: int | None
    step: int | None
    dtype: str
    own: Member
    partner: Member | None
    pair: Pair | None
    changes: tuple[str, ...]
    recipe: recipes.Recipe

    @property
    def classes(self) -> Integers:
        """No images are compared."""
        return np.empty(0, np.int64)

    @property
    def control(self) -> bool:
        """Whether its partner was trained in another way on purpose."""
        return bool(self.changes)


@dataclass(frozen=True)
class Group:
    """Runs of one resolved recipe, trained with different seeds.

    Attributes:
        label: short and unique.
        networks: at least one.
        place: of the group where groups stand in the order in which inputs were given.
    """

    label: str
    networks: tuple[Network, ...]
    place: int

    def states(self, when: str, *, partner: bool = False) -> list[State]:
        """Give the weights of the networks at "start", step 0, or at the "end", the last later.

        Args:
            when: "start" or "end".
            partner: whether of the partners in place of the networks themselves.
        """
        members = [net.partner if partner else net.own for net in self.networks]
        states = [one.states for one in members if one is not None and one.states]
        if when == "start":
            return [own[0] for own in states if own[0].step == 0]
        return [own[-1] for own in states if own[-1].step != 0]

    @property
    def partners(self) -> bool:
        """Whether weights of the partners were collected."""
        return any(net.partner is not None and net.partner.states for net in self.networks)

    @property
    def control(self) -> bool:
        """Whether these are negative controls."""
        return self.networks[0].control


def read_groups(inputs: Sequence[Input]) -> tuple[Group, ...]:
    """Read all inputs, grouped by recipe; groups and networks stand in the order of their labels.

    Raises:
        InputError: no inputs, a recorded group that lacks a variable, an arithmetic whose rounding
            is not known, bins that differ, or one seed given twice in a group.
    """
    if not inputs:
        raise InputError("the analysis equivalence needs at least one input; none was given.")
    # so that no number but the sign of a difference depends on the order of the inputs
    given = sorted(
        inputs, key=lambda one: (one.label, one.group, -1 if one.seed is None else one.seed)
    )
    labels = unique([one.label for one in given])
    networks = [_read(one, label) for one, label in zip(given, labels, strict=True)]
    _check_bins(networks)
    places = {name: place for place, name in enumerate(dict.fromkeys(g.group for g in inputs))}
    groups = []
    for name in dict.fromkeys(one.group for one in given):
        own = [net for one, net in zip(given, networks, strict=True) if one.group == name]
        check_seeds(own)
        groups.append((group_label([net.label for net in own]), tuple(own), places[name]))
    titles = unique([label for label, _, _ in groups])
    return tuple(
        Group(title, own, place) for title, (_, own, place) in zip(titles, groups, strict=True)
    )


def _read(given: Input, label: str) -> Network:
    tree, recipe = given.tree, recipes.recipe_in(given.tree)
    dtype = str(recipes.value_in(recipe, "train.dtype", tree.attrs.get("dtype", "")))
    pair = _pair(given, dtype)
    own = _member(tree, recipe, label)
    other = tree.children.get(PARTNER)
    partner, changes = None, recipes.changed(recipe)
    if other is not None:
        told = recipes.recipe_in(other)
        partner = _member(other, told, f"{label}, partner")
        if partner.residual is None and own.residual is not None:
            partner = Member(not own.residual, partner.curve, partner.states)
        if told and own.residual is not None:
            changes = recipes.differences(recipe, told, residual=own.residual)
    steps = [] if pair is None else [int(pair.step[-1])]
    steps += [int(own.curve.step[-1])] if own.curve is not None else []
    steps += [state.step for state in own.states if state.step >= 0]
    return Network(
        label=label,
        seed=given.seed,
        step=max(steps, default=given.step),
        dtype=dtype,
        own=own,
        partner=partner,
        pair=pair,
        changes=changes,
        recipe=recipe,
    )


def _member(tree: xr.DataTree, recipe: recipes.Recipe, label: str) -> Member:
    states = _states(tree, label)
    return Member(
        residual=_residual(tree, recipe),
        curve=_curve(tree, recipe, states, label),
        states=states,
    )


def _node(tree: xr.DataTree, path: str) -> xr.Dataset | None:
    try:
        data = tree[path].to_dataset()
    except KeyError:
        return None
    return data if data.data_vars else None


def _residual(tree: xr.DataTree, recipe: recipes.Recipe) -> bool | None:
    """Tell from what was measured whether blocks have skips, else from the recipe."""
    places = [name for name in tree.children if name.startswith("step-")]
    for path in ("training/step", *(f"{place}/{WEIGHTS}" for place in places), WEIGHTS):
        data = _node(tree, path)
        if data is not None and "skip" in data.coords and data["skip"].size:
            return any(str(skip) != "none" for skip in data["skip"].values)
    told = recipes.value_in(recipe, "model.residual")
    return told if isinstance(told, bool) else None


def _pair(given: Input, dtype: str) -> Pair | None:
    data = _node(given.tree, PAIR)
    if data is None or not data.sizes.get("step"):
        return None
    if dtype not in UNITS:
        raise InputError(
            f"{given.label} was trained in {dtype or 'an unknown arithmetic'}, but the "
            f"rounding is known of {' and '.join(UNITS)}; train the pair in one of these."
        )
    _require(data, ["step", *PAIR_VALUES.values()], given.label, PAIR, "train the pair again")
    found = {name: _floats(data, stored) for name, stored in PAIR_VALUES.items()}
    loss = _node(given.tree, "training/step")
    return Pair(
        dtype=dtype,
        step=data["step"].values.astype(np.int64),
        loss=_loss(loss, data["step"].values),
        **found,
    )


def _loss(recorded: xr.Dataset | None, steps: Integers) -> Floats:
    """Give the losses of the batches at some steps, NaN where not recorded, shape (step,)."""
    found = np.full(len(steps), np.nan)
    if recorded is not None and "loss" in recorded and "step" in recorded:
        known = dict(zip(recorded["step"].values.tolist(), _floats(recorded, "loss"), strict=True))
        found[:] = [known.get(step, np.nan) for step in steps.tolist()]
    return found


def _states(tree: xr.DataTree, label: str) -> tuple[State, ...]:
    alone = _node(tree, WEIGHTS)
    places = {} if alone is None else {int(tree.attrs.get("checkpoint_step", -1)): alone}
    for name in sorted(child for child in tree.children if child.startswith("step-")):
        data = _node(tree, f"{name}/{WEIGHTS}")
        if data is not None:
            places[int(name.removeprefix("step-"))] = data
    found = []
    for step, data in places.items():
        wanted = [*LAYER_VALUES, *HISTOGRAMS, "layer", "layer_kind", "bin"]
        _require(data, wanted, label, WEIGHTS, "collect it again")
        values = {name: data[name].transpose("layer", ...).values for name in wanted[:-1]}
        found.append(state_of(step, values, np.asarray(data["bin"].values, np.float64)))
    return tuple(found)


def _curve(
    tree: xr.DataTree, recipe: recipes.Recipe, states: Sequence[State], label: str
) -> Curve | None:
    data = _node(tree, "training/epoch")
    if data is None or not data.sizes.get("epoch"):
        return None
    _require(data, ["step", *EPOCH_VALUES], label, "training/epoch", "train the run again")
    every, step = _squared_norm_of_all(tree)
    return Curve(
        step=data["step"].values.astype(np.int64),
        decay=recipes.decay_of(recipe),
        penalized=squared_norm(
            every,
            toward_identity=recipes.toward_identity(recipe),
            state=next((state for state in states if state.step == step), None),
        ),
        squared=every,
        normed=step,
        **{name: _floats(data, name) for name in EPOCH_VALUES},
    )


def _squared_norm_of_all(tree: xr.DataTree) -> tuple[float, int]:
    """Give ‖w‖² of all parameters after the last recorded step, and which step that is.

    NaN and -1 where none was recorded.
    """
    data = _node(tree, "training/step")
    if data is None or "parameter_norm" not in data or not data.sizes.get("step"):
        return float("nan"), -1
    last = data["parameter_norm"].isel(step=-1)
    norms = last.values.astype(np.float64)
    return float(np.square(norms).sum()), int(data["step"].values[-1])


def _floats(data: xr.Dataset, name: str) -> Floats:
    return np.asarray(data[name].values, np.float64)


def _require(data: xr.Dataset, names: Sequence[str], label: str, group: str, remedy: str) -> None:
    absent = [name for name in names if name not in data]
    if absent:
        raise InputError(f"{label}: {group!r} has no {absent[0]!r}; {remedy}.")


def _check_bins(networks: Sequence[Network]) -> None:
    states = [
        (net.label, state)
        for net in networks
        for one in (net.own, net.partner)
        if one is not None
        for state in one.states
    ]
    for (first, one), (second, other) in itertools.pairwise(states):
        if not np.array_equal(one.bins, other.bins):
            raise InputError(
                f"the histograms of {first} and {second} have different bins; collect `weights` of "
                "both with one version of resprobe."
            )
